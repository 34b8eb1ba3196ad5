"""One user's HTTP client: journeys call it, and it measures and records each request."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any, Protocol, TypedDict, Unpack
from urllib.parse import urlencode

import orjson
from stringzilla import count

from loadkit.criterion import FOREIGN_DATA, OTHERS_DATA
from loadkit.drivers.base import Meter, NoResponse, TransportError
from loadkit.drivers.canaries import Canaries, TenantSearch
from loadkit.drivers.http.exchanges import described
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.paths import know, known, quoted
from loadkit.drivers.http.response import BodyError, Response
from loadkit.drivers.http.traces import sampled, traces
from loadkit.drivers.masking import Mask
from loadkit.recording.exact import own_canary
from loadkit.recording.examples import Exchange
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import REQUEST

__all__ = ["Backend", "HttpClient", "Options", "Session", "Verb"]

_AGENT = "loadkit/0.1"
_JSON = b"content-type: application/json\r\n"
_FORM = b"content-type: application/x-www-form-urlencoded\r\n"
_sample = tuple.__new__
"""Creates a `Sample` from its fields in order: 0.25 µs, while calling the class takes 0.5 µs."""


class Options(TypedDict, total=False):
    """The options of an operation besides its method and path."""

    json: Any
    data: Mapping[str, str]
    content: bytes | None
    headers: Mapping[str, str]
    params: Mapping[str, Any]
    label: str
    expect: Collection[int]
    timeout: float
    record: bool
    tenant: str


class Verb(Protocol):
    """The type of `HttpClient.get` and the other verbs, which users also have."""

    def __call__(self, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """Execute one operation on a path; see `HttpClient.request`."""
        ...


class Session(Protocol):
    """One user's connection to the service; one request at a time."""

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
            headers: the user's; the request's own headers have replaced those of the same name.
            more: encoded header lines with other names; b"" for none.
            body: None for no body.
            deadline: when to give up, on the monotonic clock.

        Raises:
            TransportError: no complete answer arrived.

        """
        ...

    def close(self) -> None:
        """Release its resources."""
        ...


class Backend(Protocol):
    """Creates sessions: the driver or a fake."""

    @property
    def instance_header(self) -> str:
        """The header of an answer that names the instance; "" for none."""
        ...

    @property
    def canaries(self) -> Canaries:
        """The canaries of the tenants."""
        ...

    @property
    def mask(self) -> Mask:
        """The known secrets, for examples."""
        ...

    def session(self) -> Session:
        """Create the session of a new user; nothing is sent yet."""
        ...

    def httpx_session(self, note: Callable[[], None], options: dict[str, Any]) -> Session:
        """Create a session with an `httpx.AsyncClient`; `note` is called on each request."""
        ...


class HttpClient:
    """Sends requests when they are due, and records each by its label."""

    def __init__(self, meter: Meter, backend: Backend) -> None:
        self.headers = RequestHeaders(
            {
                "user-agent": _AGENT,
                "accept": "*/*",
                "accept-encoding": "gzip, deflate",
                "x-run-id": meter.run_id,
            }
        )
        """The headers of each request. Journeys may replace them, the host and the content type."""
        self._meter = meter
        self._backend = backend
        self._session = backend.session()
        self._traces = traces()
        self._search = backend.canaries.search_for(meter.tenant)
        self._lacks_search = backend.canaries.lacks_search(meter.tenant)
        self._slow_from = meter.requests.slow_from

    def request(self, method: str, path: str, **how: Unpack[Options]) -> Coroutine[Any, Any, Response]:
        """Execute one operation; awaiting it returns the answer with any status.

        Args:
            method: "GET" …
            path: from the service's base address: "/api/v1/widgets/7".
            how: options:
                json: body, encoded as JSON.
                data: body, encoded as a form.
                content: body, sent unchanged.
                headers: for this request only; they replace the user's headers of the same name.
                    Names are case-insensitive.
                params: appended to the path as its query.
                label: the label under which the operation is counted; default: method and path,
                    with ids replaced by "{id}".
                expect: statuses of 400 and above that are not failures.
                timeout: seconds; default: the plan's.
                record: False leaves the operation out of the record.
                tenant: the tenant whose data is expected, if the user acts for another tenant than
                    its own.

        Raises:
            NoResponse: no answer arrived. The failure is already recorded; do not catch it.
            ValueError: a header contains a line break, or is one that the client computes
                (content-length, transfer-encoding, connection).

        """
        return self._request(method, path, **how)

    def instance_of(self, answer: Response) -> str:
        """The instance that sent an answer; "" if the answer does not name it."""
        header = self._backend.instance_header
        return answer.headers.get(header, "") if header else ""

    # Arguments are positional, because each keyword-only one costs a dict look-up per call. The
    # code of `Meter.begin` and `Operation` is repeated here: two calls and a coroutine would take a
    # tenth of the time of a request.
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
        tenant: str | None = None,
    ) -> Response:
        meter = self._meter
        if meter.pending is not None:
            meter.settle()
        is_recorded = meter.is_recorded
        if meter.is_open and is_recorded:
            # An arrival becomes a recorded operation.
            meter.intended = await meter.turn() if record else meter.now()
        intended = meter.intended
        if intended >= meter.sends_until:
            meter.leave()
        if label is None:
            label, path = known.get((method, path)) or know(method, path)
        else:
            path = quoted(path)
        if params:
            path = f"{path}?{urlencode(params)}"
        sent = self.headers.overlaid(headers) if headers else self.headers
        recorder, requests = meter.recorder, meter.requests
        is_recorded = record and is_recorded
        has_names = content is None
        more = b""
        if not sent.has_trace:
            more = next(self._traces)
            if is_recorded and recorder.traces_due:
                recorder.traces_due -= 1
                more = sampled(more)
        if json is not None:
            content = orjson.dumps(json)
            if not sent.has_type:
                more += _JSON
        elif data is not None:
            content = urlencode(data).encode()
            if not sent.has_type:
                more += _FORM

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
        meter.has_thought, meter.unrecorded_failure = False, ""
        try:
            response = await self._session.request(
                method,
                path,
                sent,
                more,
                content,
                begun + (meter.timeout if timeout is None else timeout),
            )
        except TransportError as failure:
            meter.intended = meter.free = failure.at
            meter.has_failed = True
            meter.count_shortage(failure.kind)
            exchange = _format_exchange, self._backend, method, path, sent, more, content, has_names, None
            if not is_recorded:
                meter.unrecorded_failure, meter.exchange = failure.kind, exchange
            else:
                requests.completions.given_up(failure.at)
                sample = Sample(
                    label, failure.kind, intended, begun, failure.at, 0, meter.tenant, meter.region, lateness
                )
                requests.samples.append(sample)
                meter.record_example(sample, REQUEST, exchange)
            raise NoResponse(failure.kind) from None
        except asyncio.CancelledError:  # the run ended before an answer arrived, or the journey gave up
            now = meter.intended = meter.free = meter.now()
            meter.has_failed = True
            if is_recorded:
                requests.completions.given_up(now)
            if is_recorded and not meter.is_cut:
                sample = Sample(
                    label, "unfinished", intended, begun, now, 0, meter.tenant, meter.region, lateness
                )
                requests.samples.append(sample)
                exchange = _format_exchange, self._backend, method, path, sent, more, content, has_names, None
                meter.record_example(sample, REQUEST, exchange)
            raise
        except Exception:  # the request cannot be sent: a mistake of the journey
            if is_recorded:
                requests.completions.given_up(meter.now())
            raise
        end = meter.free = response.at
        # An unrecorded operation does not hide that the arrival waited for a user.
        meter.intended = end if is_recorded or intended >= free else end - (free - intended)
        response.label = label
        # The example of a failed arrival or journey shows an unrecorded answer. It does so also if
        # the body of the answer caused the failure.
        meter.exchange = (
            _format_exchange,
            self._backend,
            method,
            path,
            sent,
            more,
            content,
            has_names,
            response,
        )
        if is_recorded:
            requests.completions.answered(end)
            held_back = response.held_back
            status = response.status_code
            outcome = OK if status < 400 or status in expect else f"status {status}"
            meter.pending_record = requests
            meter.is_slow = end - intended > self._slow_from.get(label, 0.0)
            meter.pending = response.sample = _sample(
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
        elif response.status_code >= 400 and response.status_code not in expect:
            meter.has_failed, meter.unrecorded_failure = True, f"status {response.status_code}"
        search, lacks_search = self._search, self._lacks_search
        if tenant is not None:
            canaries = self._backend.canaries
            search, lacks_search = canaries.search_for(tenant), canaries.lacks_search(tenant)
        if search is not None:
            # The code of `TenantSearch.found` is repeated here: three calls would take a twentieth
            # of the time of a request. A head that lacks the beginning announces no encoded body.
            beginning, body = search.beginning, response.body
            if response.head.lacks is beginning and (
                not (number := count(body, beginning))
                or (search.is_own_found and number == count(body, search.own))
            ):
                recorder.searched += 1
            else:
                self._search_for_other_tenants(response, search, begun)
        elif lacks_search:
            recorder.not_searched += 1
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
        """Switch to an `httpx.AsyncClient` with these options, for features that the client lacks.

        Examples are a proxy, digest authentication and redirects:
        ``user.use_httpx(auth=httpx.DigestAuth(name, password))``. The methods and the record stay
        the same. Each operation costs the generator far more, and the run reports how many
        operations used httpx.
        """
        self._session.close()
        # These headers replace the user's default ones. httpx would prefer the defaults otherwise,
        # because they come with each request.
        self.headers.update(options.pop("headers", None) or {})
        self._session = self._backend.httpx_session(self._note_httpx, options)

    def close(self) -> None:
        """Close its connection."""
        self._session.close()

    def _search_for_other_tenants(self, response: Response, search: TenantSearch, begun: float) -> None:
        """Search the headers and the body of an answer for the data of other tenants.

        The answer may be unrecorded. A hit does not change the answer's recorded sample.
        """
        meter, head = self._meter, response.head
        recorder = meter.recorder
        tenant = search.found(head.opening)
        if search.beginning and not head.is_encoded and not count(head.opening, search.beginning):
            head.lacks = search.beginning
        if not tenant:
            try:
                content = response.content if head.is_encoded else response.body
            except BodyError:
                recorder.not_searched += 1
                return  # a journey that reads the body gets the error
            tenant = search.found(content)
            if search.finds_own(head.opening) or search.finds_own(content):
                recorder.counts[own_canary(search.tenant)] += 1
        recorder.searched += 1
        if tenant:
            kind = f"{FOREIGN_DATA} ({tenant})"
            recorder.counts[OTHERS_DATA] += 1
            recorder.counts[kind] += 1
            where = response.label, kind, begun, begun, response.at, response.size, meter.tenant, meter.region
            meter.record_example(Sample(*where), REQUEST, meter.exchange)

    def _note_httpx(self) -> None:
        self._meter.recorder.httpx_requests += self._meter.is_recorded


def _format_exchange(backend: Backend, *exchange: Any) -> Exchange:
    return described(*exchange, instance_header=backend.instance_header, mask=backend.mask)
