"""A virtual user: does what a journey says, one operation after the other, and measures each."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from urllib.parse import urlencode

import orjson

from loadkit.clock import Clock
from loadkit.drivers.base import Driver, TransportError
from loadkit.drivers.http.headers import RequestHeaders, encode
from loadkit.drivers.http.paths import know, known, quoted
from loadkit.drivers.http.response import Response, StatusError
from loadkit.errors import ConfigurationError
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK, Sample
from loadkit.target import Account
from loadkit.users.arrival_queue import ArrivalQueue
from loadkit.users.pacer import Pacer
from loadkit.workload.workload import MixEntry, Plan

if TYPE_CHECKING:
    from loadkit.users.journey import Journey

__all__ = ["ARRIVAL_LABEL", "JOURNEY_LABEL", "UserFinished", "NoResponse", "WorkerContext", "User"]

ARRIVAL_LABEL = "(arrival)"
"""Under which a failed arrival is counted."""
JOURNEY_LABEL = "(journey)"
"""Under which an error in a journey's own code is counted."""

_AGENT = "loadkit/0.1"
_JSON = b"content-type: application/json\r\n"
_FORM = b"content-type: application/x-www-form-urlencoded\r\n"
_sample = tuple.__new__
"""Makes a `Sample` of its fields in order: 0.25 µs, where calling the class takes 0.5."""
_MISTAKE_PAUSE = 0.1
"""Seconds that a user pauses, besides thinking, where a journey raised an error."""


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


class NoResponse(Exception):  # noqa: N818  it is no error of the journey's: it says where it ended
    """An operation got no answer; the user begins a new journey."""


class UserFinished(BaseException):
    """The user's time is over. No `Exception`, so that a journey does not catch it."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What all users of one worker share."""

    plan: Plan
    clock: Clock
    driver: Driver
    recorder: Recorder
    pacer: Pacer
    run_id: str


class User:
    """Somebody who uses the service: an account, a connection, and what a journey needs to speak and to pause.

    Pauses are made with `think`, never with a sleep: the time of an operation counts from when it should have started.
    """

    def __init__(self, number: int, entry: MixEntry, account: Account | None, context: WorkerContext) -> None:
        plan = context.plan
        self.number = number
        """0, 1, 2 … over the whole run, whatever worker the user lives in."""
        self.region = entry.region
        self.random = random.Random(f"{plan.seed}:{number}")
        """For choices of the journey; the plan's seed and the number fix it."""
        self.run_id = context.run_id
        self.state: dict[str, Any] = {}
        """Free for the journey's author; lives as long as the user."""
        self.headers = RequestHeaders(
            {
                "user-agent": _AGENT,
                "accept": "*/*",
                "accept-encoding": "gzip, deflate",
                "x-run-id": context.run_id,
            }
        )
        """Sent with each request."""
        self._account = account
        self._tenant = account.tenant if account is not None else ""
        self._arguments: dict[str, Any] = dict(entry.arguments)
        self._recorder = context.recorder
        self._pacer = context.pacer
        self._now = context.clock.now
        self._driver = context.driver
        self._session = self._driver.session()
        self._timeout = plan.timeout
        self._think = plan.workload.think
        self._pace = plan.workload.pace
        self._began = 0.0
        self._arrival_queue: ArrivalQueue | None = None
        self._is_recorded = False
        self._is_cut = False
        self._has_thought = True
        self._intended = 0.0
        self._free = 0.0
        self._until = float("inf")
        self._measured: Sample | None = None
        self._renewal: tuple[float, Callable[[], Awaitable[None]]] | None = None

    # --- what a journey uses

    @property
    def account(self) -> Account:
        """Who the user logs in as.

        Raises:
            ConfigurationError: the environment has no accounts.

        """
        if self._account is None:
            raise ConfigurationError("the journey asks for an account, the environment file names none")
        return self._account

    @property
    def tenant(self) -> str:
        """The account's tenant; "" where there is none."""
        return self._tenant

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
            JourneyBroken: no answer came. It has been counted; let it pass.

        """
        return self._request(method, path, **how)

    # Arguments by position: each that may only be given by name is looked up in a dict with every call.
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
        if self._measured is not None:
            self._settle()
        arrival_queue = self._arrival_queue
        if arrival_queue is not None and self._is_recorded:
            self._free = self._now()
            self._intended = await arrival_queue.turn()
        intended = self._intended
        if intended >= self._until:
            raise UserFinished
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

        recorder = self._recorder
        is_recorded = record and self._is_recorded
        begun = self._now()
        free = self._free
        lateness = begun - (intended if intended > free else free)  # noqa: FURB136  max() takes twice as long
        if is_recorded:
            if arrival_queue is None:
                recorder.scheduled += 1
            else:
                arrival_queue.served[label] += 1
            recorder.sent += 1
            recorder.completion_log.sent(begun)
        self._has_thought = False
        try:
            response = await self._session.request(
                method,
                path,
                self.headers,
                more,
                content,
                begun + (self._timeout if timeout is None else timeout),
            )
        except TransportError as failure:
            self._intended = self._free = failure.at
            if is_recorded:
                recorder.completion_log.given_up(failure.at)
                recorder.out_of_descriptors += failure.kind == "no socket"
                recorder.samples.append(
                    Sample(
                        label,
                        failure.kind,
                        intended,
                        begun,
                        failure.at,
                        0,
                        self._tenant,
                        self.region,
                        lateness,
                    )
                )
            raise NoResponse(failure.kind) from None
        except asyncio.CancelledError:  # the run is over, and no answer came by then
            now = self._now()
            if is_recorded:
                recorder.completion_log.given_up(now)
            if is_recorded and not self._is_cut:
                recorder.samples.append(
                    Sample(label, "unfinished", intended, begun, now, 0, self._tenant, self.region, lateness)
                )
            raise
        except Exception:  # what was asked for cannot be sent: the journey's mistake
            if is_recorded:
                recorder.completion_log.given_up(self._now())
            raise
        end = self._intended = self._free = response.at
        if is_recorded:
            recorder.completion_log.answered(end)
            held_back = response.held_back
            status = response.status_code
            outcome = OK if status < 400 or status in expect else f"status {status}"
            self._measured = _sample(
                Sample,
                (
                    label,
                    outcome,
                    intended,
                    begun + held_back,
                    end,
                    response.size,
                    self._tenant,
                    self.region,
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

    def check(self, holds: bool, what: str) -> None:
        """Where `holds` is False, the operation that was just done counts as failed: "check: `what`".

        Raises:
            RuntimeError: there is no such operation: checks stand right behind it, before the user thinks.

        """
        if holds or not self._is_recorded:
            return
        if self._measured is None:
            raise RuntimeError(f'check "{what}" stands behind no operation')
        self._measured = self._measured._replace(outcome=f"check: {what}")

    def use_httpx(self, **options: Any) -> None:
        """From now on, ask through an `httpx.AsyncClient` made with these options, for what the load's own client cannot do.

        A proxy, digest authentication, redirects: ``user.use_httpx(auth=httpx.DigestAuth(name, password))``. The user's
        methods stay what they are, and so does the record; but each operation costs the generator far more, and the run
        says how many did.
        """
        self._session.close()
        self._session = self._driver.httpx_session(self._note_httpx, options)

    def renew_after(self, seconds: float, renew: Callable[[], Awaitable[None]]) -> None:
        """Have `renew` called, once, between two journeys when so many seconds are over: tokens are refreshed there.

        What it does is not recorded, and no later operation's time counts it. Where the service fails it, it is tried
        again after the next journey.
        """
        self._renewal = (self._now() + seconds, renew)

    async def think(self) -> None:
        """Pause as long as the plan says users do; where arrivals set the pace, not at all."""
        pause = self._thought()
        if pause is not None:
            await pause

    # --- what the engine uses

    def pace(self, arrival_queue: ArrivalQueue) -> None:
        """From now on, start each recorded operation when an arrival comes through `arrival_queue`."""
        self._arrival_queue = arrival_queue

    def start(self, intended: float, until: float) -> None:
        """From now on, record; the next operation should start at `intended`, none at or after `until`."""
        self._is_recorded = True
        self._intended = intended
        self._free = self._now()
        self._until = until

    def cut(self) -> None:
        """What is unanswered when the user's task is cancelled is nobody's fault: leave it out of the record."""
        self._is_cut = True

    async def arrive(self, arrive: "Callable[[User], Any]") -> None:
        """Get ready (log in, say), unrecorded; a failure is counted, and after a second it is tried again."""
        while True:
            begun = self._now()
            try:
                await arrive(self)
            except Exception as error:
                is_service = isinstance(error, NoResponse | StatusError)
                kind = str(error) if is_service else f"error: {type(error).__name__}"
                self._recorder.samples.append(
                    Sample(ARRIVAL_LABEL, kind, begun, begun, self._now(), 0, self._tenant, self.region)
                )
                await self._pacer.until(self._now() + 1.0)
            else:
                return

    async def follow(self, journey: "Journey", *, is_once: bool = False) -> None:
        """Go through a journey again and again, pausing in between, or once. What breaks it is counted.

        Raises:
            Departure: the user's time is over.

        """
        function, arguments = journey.function, self._arguments
        while True:
            self._began = self._intended
            try:
                await (function(self, **arguments) if arguments else function(self))
            except (NoResponse, StatusError):
                pass  # it was counted with the operation
            except Exception as error:
                await self._recover(error)
            if self._measured is not None:
                self._settle()
            if self._renewal is not None and self._now() >= self._renewal[0]:
                await self._renew(self._renewal[1])
            if is_once:
                return
            pause = self._rest()
            if pause is not None:
                await pause

    async def _renew(self, renew: Callable[[], Awaitable[None]]) -> None:
        is_recorded, has_thought = self._is_recorded, self._has_thought
        due, self._is_recorded = self._renewal, False
        try:
            await renew()
        except (NoResponse, StatusError):
            pass  # without it operations will be refused, and those are counted
        else:
            if self._renewal is due:
                self._renewal = None
        finally:
            self._is_recorded, self._has_thought = is_recorded, has_thought
            self._intended = self._free = self._now()

    def close(self) -> None:
        """Hand over the last sample and let go of the connection."""
        self._settle()
        self._session.close()

    # --- within

    def _rest(self) -> Awaitable[None] | None:
        """The pause between two journeys: as the plan's pace has it, else a thought, unless the journey ended with one.

        None where there is nothing to wait for: users who do not pause are spared a coroutine with each journey.
        """
        if self._pace:
            self._intended = max(self._intended, self._began + self._pace)
            return self._pause()
        return None if self._has_thought else self._thought()

    def _thought(self) -> Awaitable[None] | None:
        if self._measured is not None:
            self._settle()
        self._has_thought = True
        if self._arrival_queue is not None:
            return None
        think = self._think
        if not think.mean:
            return self._pause()
        if think.distribution == "exponential":
            pause = self.random.expovariate(1.0 / think.mean)
        else:
            pause = think.low + (think.high - think.low) * self.random.random()
        self._intended += pause
        return self._pause()

    def _pause(self) -> Awaitable[None] | None:
        """Until the next operation should start; None where that is now."""
        if self._intended >= self._until:
            raise UserFinished
        return self._pacer.until(self._intended) if self._intended > self._now() else None

    def _note_httpx(self) -> None:
        self._recorder.httpx_requests += self._is_recorded

    def _settle(self) -> None:
        """The last operation, if there is one, is beyond doubt: no check can speak of it any more.

        The hot path asks first: a call that finds nothing costs with each answer.
        """
        if self._measured is not None:
            self._recorder.samples.append(self._measured)
            self._measured = None

    async def _recover(self, error: Exception) -> None:
        """Count a journey's mistake, and pause, so that one without any operation does not spin."""
        self._settle()
        now = self._now()
        self._recorder.samples.append(
            Sample(
                JOURNEY_LABEL, f"error: {type(error).__name__}", now, now, now, 0, self._tenant, self.region
            )
        )
        self._intended = self._free = now + _MISTAKE_PAUSE
        self._has_thought = False
        if self._intended >= self._until:
            raise UserFinished
        await self._pacer.until(self._intended)

    def __repr__(self) -> str:
        return f"<User {self.number}{f' of {self._tenant}' if self._tenant else ''}>"


def _names_type(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "content-type" for name in headers)
