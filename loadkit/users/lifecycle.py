"""A user's life cycle: it prepares, repeats its journey, and leaves when its time is over."""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import BodyError, StatusError
from loadkit.errors import located
from loadkit.recording.examples import DeferredExchange
from loadkit.recording.sample import Sample
from loadkit.recording.timing import REQUEST
from loadkit.users.journey import Arrive, Journey
from loadkit.users.meter import Meter
from loadkit.users.pacer import Pacer, on_grid
from loadkit.users.user import User

__all__ = ["ARRIVAL_LABEL", "JOURNEY_LABEL", "Lifecycle"]

ARRIVAL_LABEL = "(arrival)"
"""The label of failed arrivals."""
JOURNEY_LABEL = "(journey)"
"""The label of failed assertions, and of failed unrecorded operations that end a journey."""
_MISTAKE_PAUSE = 0.1
"""Seconds that a user pauses, besides its think time, after an error or when it is idle.

Also the minimum seconds from a renewal that failed at the end of a journey to the next attempt."""
_MOST_IDLE = 100
"""Consecutive journeys without an operation after which a user pauses; about 0.1 ms of CPU time.

A user whose journey sometimes has an operation does not pause."""
_ARRIVAL_PAUSE = 1.0
"""Seconds until a user whose arrival failed tries again."""


class Lifecycle:
    """Runs one user's journeys."""

    __slots__ = ("_is_new", "_next_renewal", "_pace", "_pacer", "code_errors", "user")

    def __init__(self, user: User, pacer: Pacer, pace: float = 0.0) -> None:
        """Create the life cycle of a new user.

        Args:
            user: the user.
            pacer: wakes the user.
            pace: seconds from the start of one journey to the start of the next; 0 for think times
                instead.

        """
        self.user = user
        self.code_errors: set[str] | None = None
        """The errors in the journeys' code that this user has met; None if there are none."""
        self._is_new = True
        self._next_renewal = 0.0
        self._pacer = pacer
        self._pace = pace
        user.meter.renew_if_due = self.renew_if_due

    async def arrive(self, arrive: Arrive, slots: AbstractAsyncContextManager[Any] | None = None) -> None:
        """Prepare (for example, log in) without recording; count a failure, and retry after 1 s.

        `slots`: limits concurrent attempts. A user who pauses does not occupy a slot. Otherwise, a
        few users whose accounts are refused would keep out all others.
        """
        slots = nullcontext() if slots is None else slots
        while True:
            async with slots:
                error = await self.arrive_once(arrive)
            if error is None:
                return
            await self._pacer.until(self.user.meter.now() + _ARRIVAL_PAUSE)

    async def arrive_once(self, arrive: Arrive) -> Exception | None:
        """Prepare without recording. Count and return a failure of the service or of the code."""
        self._begin()
        meter = self.user.meter
        begun, meter.has_failed, meter.exchange = meter.now(), False, None
        try:
            await arrive(self.user)
        except Exception as error:
            exchange = _exchange_of(error, meter)
            if self._is_code_error(error):
                self._count_code_error("the preparation of users (arrive)", arrive, error)
            else:
                self._count(ARRIVAL_LABEL, _outcome(error), begun, exchange)
            return error
        finally:
            meter.exchange = None  # else the log-in's answer would stay in memory
        return None

    async def follow(self, journey: Journey, *, is_once: bool = False) -> None:
        """Repeat a journey with pauses in between, or run it once. Errors are counted.

        Raises:
            UserFinished: the user's time is over.

        """
        user, meter = self.user, self.user.meter
        function, arguments = journey.function, user.arguments
        idle = 0
        self._begin()
        # A token can have expired while the user was absent.
        if user.renewal is not None and meter.now() >= max(user.renewal[0], self._next_renewal):
            due, begun = meter.intended, meter.now()
            await self.renew_if_due()
            # No operation includes the time of a renewal, but a wait for this user stays.
            meter.intended = due + meter.now() - begun
        while True:
            meter.recorder.journeys += 1
            meter.began = meter.intended
            meter.has_failed, meter.unrecorded_failure, meter.exchange = False, "", None
            try:
                await (function(user, **arguments) if arguments else function(user))
            except (NoResponse, StatusError):
                if meter.unrecorded_failure:  # else the operation was already counted
                    self._count(JOURNEY_LABEL, meter.unrecorded_failure, meter.now(), meter.exchange)
                    await self._recover()
            except BodyError as error:
                sample = error.response.sample
                if sample is None:
                    self._count(JOURNEY_LABEL, error.kind, meter.now(), _exchange_of(error, meter))
                if sample is None or not meter.fail(sample, error.kind):
                    await self._recover()
            except Exception as error:
                exchange = meter.exchange
                meter.settle()
                if self._is_code_error(error):
                    self._count_code_error(f'the journey "{journey.title}"', function, error)
                elif meter.unrecorded_failure:
                    self._count(JOURNEY_LABEL, meter.unrecorded_failure, meter.now(), exchange)
                elif not meter.has_failed:
                    self._count(JOURNEY_LABEL, _outcome(error), meter.now(), exchange)
                await self._recover()
            if meter.pending is not None:
                meter.settle()
            await self.renew_if_due()
            if is_once:
                return
            pause = self._rest()
            if pause is not None:
                idle = 0
                await pause
                # A token can have expired during a long pause.
                if user.renewal is not None and meter.now() >= self._next_renewal:
                    await self.renew_if_due()
            elif meter.intended != meter.began:
                idle = 0
            elif (idle := idle + 1) > _MOST_IDLE:
                await self._idle()

    def cut(self) -> None:
        """Do not record operations that are unanswered when the user's task is cancelled."""
        self.user.meter.is_cut = True

    def _rest(self) -> Awaitable[None] | None:
        """The pause between two journeys; None if there is none, to save a coroutine per journey.

        The plan's pace determines it. Without a pace, it is a think time, unless the journey ended
        with one.
        """
        meter = self.user.meter
        if self._pace:
            meter.intended = max(meter.intended, on_grid(meter.began + self._pace))
            return meter.pause()
        return None if meter.has_thought else meter.think()

    async def renew_if_due(self) -> None:
        """Renew what expires, such as a token, without recording it: see `User.renew_after`."""
        user, meter = self.user, self.user.meter
        due = user.renewal
        if due is None or meter.now() < due[0]:
            return
        meter.settle()
        is_recorded, has_thought = meter.is_recorded, meter.has_thought
        had_failed, failure, exchange = meter.has_failed, meter.unrecorded_failure, meter.exchange
        meter.is_recorded = meter.has_failed = False
        renew = due[1]
        # In an open load it can be infinite: no arrival is known yet.
        meter.intended = min(meter.intended, meter.now())
        try:
            await renew()
        except Exception as error:
            # A failure of the service is not counted here: it will refuse later operations, which
            # are counted.
            self._next_renewal = meter.now() + _MISTAKE_PAUSE
            if self._is_code_error(error):
                self._count_code_error("the renewal of users (renew_after)", renew, error)
        else:
            if user.renewal is due:
                user.renewal = None
        finally:
            meter.is_recorded, meter.has_thought = is_recorded, has_thought
            meter.has_failed, meter.unrecorded_failure, meter.exchange = had_failed, failure, exchange
            meter.intended = meter.free = meter.now()

    def _begin(self) -> None:
        """Count the user once."""
        if self._is_new:
            self._is_new = False
            self.user.meter.recorder.users += 1

    def _is_code_error(self, error: Exception) -> bool:
        """Is it an error in the author's code, and not an error of the service?

        An assertion is the author's check of the service. After a failed operation, which is
        counted, an error can be its consequence.
        """
        is_service = isinstance(error, NoResponse | StatusError | BodyError | AssertionError)
        return not is_service and not self.user.meter.has_failed

    def _count_code_error(self, what: str, code: Callable[..., Any], error: Exception) -> None:
        """Count an error in the author's code. It is not a failed operation of the service."""
        sentence = f"{what} itself failed: {located(error, _folder_of(code))}"
        if self.code_errors is None:
            self.code_errors = set()
        self.user.meter.recorder.journey_failed(sentence, self.code_errors)

    async def _recover(self) -> None:
        """Pause after an error, so that a journey does not spin without operations."""
        meter = self.user.meter
        meter.settle()
        now = meter.now()
        meter.intended = meter.free = now + _MISTAKE_PAUSE
        meter.has_thought = False
        if meter.intended >= meter.until:
            meter.leave()
        await self._pacer.until(meter.intended)

    async def _idle(self) -> None:
        """Pause after journeys without an operation, so that other users and the worker can run."""
        meter = self.user.meter
        moment = meter.now() + _MISTAKE_PAUSE
        if not meter.is_open:  # else an arrival determines when the next operation is due
            meter.intended = meter.free = moment
            if moment >= meter.until:
                meter.leave()
        await self._pacer.until(moment)

    def _count(self, label: str, outcome: str, begun: float, exchange: DeferredExchange | None) -> None:
        """Count a failure that is not a recorded operation; `exchange` shows it."""
        meter = self.user.meter
        sample = Sample(label, outcome, begun, begun, meter.now(), 0, meter.tenant, meter.region)
        meter.requests.samples.append(sample)
        # Not the method of `JourneyMeter`: the journey did not record it as an operation.
        Meter.record_example(meter, sample, REQUEST, exchange)


def _outcome(error: Exception) -> str:
    if isinstance(error, BodyError):
        return error.kind
    return str(error) if isinstance(error, NoResponse | StatusError) else f"error: {type(error).__name__}"


def _exchange_of(error: Exception, meter: Meter) -> DeferredExchange | None:
    """The exchange that shows an error: the latest one; None if the error has another answer."""
    exchange = meter.exchange
    if exchange is None or (
        isinstance(error, BodyError) and all(each is not error.response for each in exchange)
    ):
        return None
    return exchange


def _folder_of(code: Callable[..., Any]) -> Path:
    """The folder of the file that defines a function."""
    try:
        return Path(inspect.getfile(inspect.unwrap(code))).parent
    except TypeError:  # such as a partial function
        return Path()
