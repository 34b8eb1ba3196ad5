"""A user's life cycle: it prepares, repeats its journey, and leaves when its time is over."""

import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path

from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import BodyError, StatusError
from loadkit.errors import located
from loadkit.recording.sample import Sample
from loadkit.users.journey import Arrive, Journey
from loadkit.users.pacer import Pacer, on_grid
from loadkit.users.user import User

__all__ = ["ARRIVAL_LABEL", "JOURNEY_LABEL", "Lifecycle"]

ARRIVAL_LABEL = "(arrival)"
"""The label of failed arrivals."""
JOURNEY_LABEL = "(journey)"
"""The label of failed assertions, and of bodies that were read after their operation was counted."""
_MISTAKE_PAUSE = 0.1
"""Seconds that a user pauses, besides its think time, after an error in a journey."""
_ARRIVAL_PAUSE = 1.0
"""Seconds until a user whose arrival failed tries again."""


class Lifecycle:
    """Runs one user's journeys."""

    __slots__ = ("_pace", "_pacer", "user")

    def __init__(self, user: User, pacer: Pacer, pace: float = 0.0) -> None:
        """Take a user that has done nothing yet.

        Args:
            user: the user.
            pacer: wakes the user.
            pace: seconds from the start of one journey to the start of the next; 0 for think times
                instead.

        """
        self.user = user
        self._pacer = pacer
        self._pace = pace

    async def arrive(self, arrive: Arrive) -> None:
        """Prepare (log in, say) without recording; count a failure, and retry after a second."""
        meter = self.user.meter
        while True:
            begun = meter.now()
            try:
                await arrive(self.user)
            except Exception as error:
                is_service = isinstance(error, NoResponse | StatusError)
                self._count(ARRIVAL_LABEL, str(error) if is_service else _outcome(error), begun)
                await self._pacer.until(meter.now() + _ARRIVAL_PAUSE)
            else:
                return

    async def follow(self, journey: Journey, *, is_once: bool = False) -> None:
        """Repeat a journey with pauses in between, or run it once. Errors are counted.

        Raises:
            UserFinished: the user's time is over.

        """
        user, meter = self.user, self.user.meter
        function, arguments = journey.function, user.arguments
        while True:
            meter.began = meter.intended
            meter.has_failed = False
            try:
                await (function(user, **arguments) if arguments else function(user))
            except (NoResponse, StatusError):
                pass  # the operation was already counted
            except BodyError as error:
                if not meter.fail(error.kind, error.at):  # its operation was counted before a think
                    meter.settle()
                    self._count(JOURNEY_LABEL, error.kind, meter.now())
                    await self._recover()
            except AssertionError as error:  # the author's own check of the service
                meter.settle()
                if not meter.has_failed:
                    self._count(JOURNEY_LABEL, _outcome(error), meter.now())
                await self._recover()
            except Exception as error:
                meter.settle()
                if not meter.has_failed:  # else a failed answer, which is counted, can be its cause
                    self._blame(journey, error)
                await self._recover()
            if meter.pending is not None:
                meter.settle()
            if user.renewal is not None and meter.now() >= user.renewal[0]:
                await self._renew(user.renewal[1])
            if is_once:
                return
            pause = self._rest()
            if pause is not None:
                await pause

    def cut(self) -> None:
        """Do not record operations that are unanswered when the user's task is cancelled."""
        self.user.meter.is_cut = True

    def _rest(self) -> Awaitable[None] | None:
        """The pause between two journeys; None if there is none, to save a coroutine per journey.

        It follows the plan's pace, else it is a think time, unless the journey ended with one.
        """
        meter = self.user.meter
        if self._pace:
            meter.intended = max(meter.intended, on_grid(meter.began + self._pace))
            return meter.pause()
        return None if meter.has_thought else meter.think()

    async def _renew(self, renew: Callable[[], Awaitable[None]]) -> None:
        user, meter = self.user, self.user.meter
        is_recorded, has_thought = meter.is_recorded, meter.has_thought
        due, meter.is_recorded = user.renewal, False
        try:
            await renew()
        except (NoResponse, StatusError, BodyError):
            pass  # later operations will be refused, and those are counted
        else:
            if user.renewal is due:
                user.renewal = None
        finally:
            meter.is_recorded, meter.has_thought = is_recorded, has_thought
            meter.intended = meter.free = meter.now()

    def _blame(self, journey: Journey, error: Exception) -> None:
        """Count an error in the code of a journey. It is no failed operation of the service."""
        folder = Path(inspect.getfile(journey.function)).parent
        sentence = f'the journey "{journey.title}" itself failed: {located(error, folder)}'
        self.user.meter.recorder.journey_failed(sentence)

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

    def _count(self, label: str, outcome: str, begun: float) -> None:
        meter = self.user.meter
        sample = Sample(label, outcome, begun, begun, meter.now(), 0, meter.tenant, meter.region)
        meter.requests.samples.append(sample)


def _outcome(error: Exception) -> str:
    return error.kind if isinstance(error, BodyError) else f"error: {type(error).__name__}"
