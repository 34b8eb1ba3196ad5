"""One user's HTTP client: what journeys call, measured and recorded."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol, TypedDict, Unpack
from urllib.parse import urlencode

import orjson

from loadkit.drivers.base import Meter, NoResponse, TransportError
from loadkit.drivers.http.headers import RequestHeaders, encode
from loadkit.drivers.http.paths import know, known, quoted
from loadkit.drivers.http.response import Response
from loadkit.recording.sample import OK, Sample

__all__ = ["Backend", "HttpClient", "Options", "Session", "Verb"]

_AGENT = "loadkit/0.1"
_JSON = b"content-type: application/json\r\n"
_FORM = b"content-type: application/x-www-form-urlencoded\r\n"
_sample = tuple.__new__
"""Makes a `Sample` of its fields in order: 0.25 µs, where calling the class takes 0.5."""


class Options(TypedDict, total=False):
    """What an operation may be told besides its method and path."""

    json: Any
    data: Mapping[str, str]
    content: bytes | None
    headers: Mapping[str, str]
    params: Mapping[str, Any]
    label: str
    expect: Collection[int]
    timeout: float
    record: bool


class Verb(Protocol):
    """`HttpClient.get` and its like, as users have them."""

    def __call__(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """Do one operation on a path; see `HttpClient.request`."""
        ...


class Session(Protocol):
    """One user's way to the service; one request at a time."""

    def request(
        self,
        method: str,
        path: str,
        headers: RequestHeaders,
        more: bytes,
        body: bytes | None,
        deadline: float,
    ) -> Awaitable[Response]:
        """Send a request and wait for its answer.

        Args:
            method: "GET" …
            path: with its query, from the root: "/api/v1/widgets/7?fresh=1".
            headers: the user's, sent with each request.
            more: this request's own, as they stand on the wire; b"" for none.
            body: None for no body at all.
            deadline: the moment, on the monotonic clock, at which to give up.

        Raises:
            TransportError: no whole answer came.

        """
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Backend(Protocol):
    """What makes sessions: the driver, or a fake of it."""

    def session(self) -> Session:
        """A new user's session; nothing is sent yet."""
        ...

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> Session:
        """A session over an `httpx.AsyncClient` with these options; `note` is called with each request."""
        ...


class HttpClient:
    """Sends requests when they are due, and records each under its label."""

    def __init__(self, meter: Meter, backend: Backend) -> None:
        self.headers = RequestHeaders(
            {
                "user-agent": _AGENT,
                "accept": "*/*",
                "accept-encoding": "gzip, deflate",
                "x-run-id": meter.run_id,
            }
        )
        """Sent with each request."""
        self._meter = meter
        self._backend = backend
        self._session = backend.session()

    def request(self, method: str, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """Do one operation; what is awaited is the answer, whatever its status.

        Args:
            method: "GET" …
            path: from the service's base address: "/api/v1/widgets/7".
            how: more about it:
                json: sent as the body, as JSON.
                data: sent as the body, as a form.
                content: sent as the body, as it is.
                headers: of this request only, besides the user's.
                params: put behind the path as its query.
                label: under which it is counted; else the method and the path, ids in it replaced by "{id}".
                expect: statuses of 400 and above that are no failures here.
                timeout: seconds; else the plan's.
                record: False leaves it out of the record.

        Raises:
            NoResponse: no answer came. It has been counted; let it pass.

        """
        return self._request(method, path, **how)

    # Arguments by position: each that may only be given by name is looked up in a dict with every call. And what
    # `Meter.begin` and `Operation` do stands here once more: two calls and a coroutine are a tenth of a request.
    async def _request(
        self,
        method: str,
        path: str,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        label: str | None = None,
        expect: Collection[int] = (),
        timeout: float | None = None,
        record: bool = True,
    ) -> Response:
        meter = self._meter
        if meter.pending is not None:
            meter.settle()
        is_recorded = meter.is_recorded
        if meter.is_open and is_recorded:
            meter.intended = await meter.turn()
        intended = meter.intended
        if intended >= meter.until:
            meter.leave()
        if label is None:
            label, path = known.get((method, path)) or know(method, path)
        else:
            path = quoted(path)
        if params:
            path = f"{path}?{urlencode(params)}"
        more = b""
        if json is not None:
            content, more = orjson.dumps(json), _JSON
        elif data is not None:
            content, more = urlencode(data).encode(), _FORM
        if headers:
            more = encode(headers) if _names_type(headers) else more + encode(headers)

        recorder, requests = meter.recorder, meter.requests
        is_recorded = record and is_recorded
        begun = meter.now()
        free = meter.free
        lateness = begun - (intended if intended > free else free)  # noqa: FURB136  max() takes twice as long
        if is_recorded:
            if meter.is_open:
                meter.served(label)
            else:
                recorder.scheduled += 1
            recorder.sent += 1
            requests.completions.sent(begun)
        meter.has_thought = False
        try:
            response = await self._session.request(
                method,
                path,
                self.headers,
                more,
                content,
                begun + (meter.timeout if timeout is None else timeout),
            )
        except TransportError as failure:
            meter.intended = meter.free = failure.at
            if is_recorded:
                requests.completions.given_up(failure.at)
                recorder.out_of_descriptors += failure.kind == "no socket"
                requests.samples.append(
                    Sample(
                        label,
                        failure.kind,
                        intended,
                        begun,
                        failure.at,
                        0,
                        meter.tenant,
                        meter.region,
                        lateness,
                    )
                )
            raise NoResponse(failure.kind) from None
        except asyncio.CancelledError:  # the run is over, and no answer came by then
            now = meter.now()
            if is_recorded:
                requests.completions.given_up(now)
            if is_recorded and not meter.is_cut:
                requests.samples.append(
                    Sample(label, "unfinished", intended, begun, now, 0, meter.tenant, meter.region, lateness)
                )
            raise
        except Exception:  # what was asked for cannot be sent: the journey's mistake
            if is_recorded:
                requests.completions.given_up(meter.now())
            raise
        end = meter.intended = meter.free = response.at
        if is_recorded:
            requests.completions.answered(end)
            held_back = response.held_back
            status = response.status_code
            outcome = OK if status < 400 or status in expect else f"status {status}"
            meter.pending_record = requests
            meter.pending = _sample(
                Sample,
                (
                    label,
                    outcome,
                    intended,
                    begun + held_back,
                    end,
                    response.size,
                    meter.tenant,
                    meter.region,
                    lateness + held_back,
                ),
            )
        return response

    def get(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """`request` with GET."""
        return self._request("GET", path, **how) if how else self._request("GET", path)

    def post(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """`request` with POST."""
        return self._request("POST", path, **how) if how else self._request("POST", path)

    def put(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """`request` with PUT."""
        return self._request("PUT", path, **how) if how else self._request("PUT", path)

    def patch(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """`request` with PATCH."""
        return self._request("PATCH", path, **how) if how else self._request("PATCH", path)

    def delete(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """`request` with DELETE."""
        return self._request("DELETE", path, **how) if how else self._request("DELETE", path)

    def use_httpx(self, **options: Any) -> None:
        """From now on, ask through an `httpx.AsyncClient` made with these options, for what the load's own client cannot do.

        A proxy, digest authentication, redirects: ``user.use_httpx(auth=httpx.DigestAuth(name, password))``. The
        methods stay what they are, and so does the record; but each operation costs the generator far more, and the run
        says how many did.
        """
        self._session.close()
        self._session = self._backend.httpx_session(self._note_httpx, options)

    def close(self) -> None:
        """Close its connection."""
        self._session.close()

    def _note_httpx(self) -> None:
        self._meter.recorder.httpx_requests += self._meter.is_recorded


def _names_type(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "content-type" for name in headers)
