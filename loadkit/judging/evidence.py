"""What a run shows, looked up once: made for a run, and handed on to all that judge it or show it.

The steady window, the operations, the generator's health and the users held are looked up when they are first asked
for, and kept. `Case` is one criterion on one part of this evidence.
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Scope, ScopeKind
from loadkit.judging import window as steady
from loadkit.judging.health import NO_TIME_LIMIT, Health, health, held_per_second
from loadkit.judging.omission import correct_omission
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind
from loadkit.recording.traffic import Traffic, series_of, traffic_of
from loadkit.recording.worker_second import IN_FLIGHT, WorkerSecond
from loadkit.verdict import Window
from loadkit.workload.phases import judged_phase
from loadkit.workload.plan import Scaling
from loadkit.workload.workload import Model

__all__ = ["EVERYTHING", "Case", "Evidence"]

EVERYTHING = Scope()
"""All operations."""
_KEPT = 16
"""Selections of operations that are kept: an hour's of a thousand users takes a hundred megabytes."""
_SMALL = 1500
"""Operations below which a part of the traffic borrows the whole's design effect."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class Evidence:
    """One run with what was looked up in it."""

    def __init__(self, run: Run) -> None:
        """Take a run, which must not change from now on; nothing is looked up yet."""
        self.run = run
        self._window = cache(partial(steady.window, run))
        self._health = cache(partial(health, run))
        self._held = cache(partial(held_per_second, run))
        self._operations = lru_cache(_KEPT)(partial(_operations, run))
        self._corrected = lru_cache(_KEPT)(partial(_corrected, run, self._operations))

    @property
    def window(self) -> Window | None:
        """The steady window that criteria are judged on; None where there is none."""
        return self._window()

    @property
    def whole(self) -> Window:
        """All of the run, ramps included."""
        return steady.whole(self.run)

    def window_of(self, phase: str) -> Window | None:
        """The steady window of a phase, by name; None where there is none."""
        judged = judged_phase(self.run.plan)
        return self.window if judged is not None and judged.name == phase else self._window(phase)

    def as_stated(self) -> "Evidence":
        """The same, as if the plan had stated the load that was put on. What was looked up does not depend on it."""
        stated = copy(self)
        stated.run = replace(self.run, plan=replace(self.run.plan, scaling=Scaling()))
        return stated

    @property
    def is_closed(self) -> bool:
        """Is the load one of users, who wait for their answers?"""
        return self.run.plan.workload.model is Model.CLOSED

    def traffic(
        self,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
        *,
        successes_only: bool = False,
    ) -> Traffic:
        """The operations of a scope that began in a window, as they came; in the whole run where none is given."""
        return self._operations(scope, window or self.whole, kind, successes_only)

    def corrected(
        self,
        limit: float,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
    ) -> Traffic:
        """The same, corrected for coordinated omission by stalls longer than `limit` (seconds) where the load is closed."""
        window = window or self.whole
        if not self.is_closed:
            return self.traffic(scope, window, kind)
        return self._corrected(limit, scope, window, kind)

    def ended(self, scope: Scope, window: Window) -> tuple[Integers, Integers]:
        """Operations that ended in each second of a window, and those of them that failed; both of shape (`seconds`,)."""
        series = series_of(scope, self.run)
        second, outcome, _, count = self.run.table.select(Kind.COMPLETED, series, window.start, window.end)
        place, failed = second - window.start, outcome != 0
        return (
            np.bincount(place, count, window.seconds).astype(np.int64),
            np.bincount(place[failed], count[failed], window.seconds).astype(np.int64),
        )

    def health(self, window: Window, limit: float = NO_TIME_LIMIT) -> Health:
        """How far the generator was itself at fault in a window, for a time limit of so many seconds."""
        return self._health(window, limit)

    def held(self, window: Window) -> tuple[Floats, Floats]:
        """Users held and users stated, by second of a window; both of shape (`seconds`,). For closed load."""
        return self._held(window)

    def worker_seconds(self, window: Window) -> list[WorkerSecond]:
        """What the workers said of each second in a window."""
        return [each for each in self.run.worker_seconds if window.start <= each.second < window.end]

    def per_second(self, of: Callable[[WorkerSecond], float], window: Window) -> Floats:
        """Something of all workers together, by second of a window; shape (`seconds`,)."""
        sums = np.zeros(window.seconds)
        for worker_second in self.worker_seconds(window):
            sums[worker_second.second - window.start] += of(worker_second)
        return sums

    def total(self, gauge: str, window: Window) -> Floats:
        """A gauge of all workers together, by second of a window; shape (`seconds`,)."""
        return self.per_second(lambda worker_second: worker_second.gauge(gauge), window)

    def in_flight(self, window: Window) -> Floats:
        """Operations without an answer, by second of a window; shape (`seconds`,)."""
        return self.total(IN_FLIGHT, window)


def _operations(run: Run, scope: Scope, window: Window, kind: Kind, successes_only: bool) -> Traffic:
    return traffic_of(run, series_of(scope, run), window, kind, successes_only=successes_only)


def _corrected(
    run: Run,
    operations: Callable[[Scope, Window, Kind, bool], Traffic],
    limit: float,
    scope: Scope,
    window: Window,
    kind: Kind,
) -> Traffic:
    return correct_omission(operations(scope, window, kind, False), run.stalls, window.start, limit)


@dataclass(frozen=True, slots=True)
class Case:
    """One criterion on one part of the evidence."""

    criterion: Criterion
    evidence: Evidence
    window: Window
    is_corrected: bool = False
    """Are the operations corrected for coordinated omission?"""
    kind: Kind = Kind.RESPONSE
    """By which time the operations are judged."""
    chosen: Traffic | None = None
    """Operations to look at in the place of those that the window has."""

    @property
    def traffic(self) -> Traffic:
        """The operations that it speaks of."""
        if self.chosen is not None:
            return self.chosen
        scope = self.criterion.scope
        if not self.is_corrected:
            return self.evidence.traffic(scope, self.window, self.kind)
        # By service time too: the arrivals that a stall kept away would have waited at the service.
        return self.evidence.corrected(self.criterion.limit, scope, self.window, self.kind)

    @property
    def is_steady(self) -> bool:
        """Does the plan ask for the same load throughout?"""
        judged = judged_phase(self.evidence.run.plan)
        return judged is None or judged.is_constant

    def only(self, seconds: Booleans) -> "Case":
        """The same with those operations alone that began in the seconds marked, shape (`seconds`,)."""
        return replace(self, chosen=self.traffic.only(seconds))

    def by_service_time(self) -> "Case":
        """The same with the times from when operations were sent."""
        return replace(self, kind=Kind.SERVICE, chosen=None)

    def lent_effect(self, effect_of: Callable[[Traffic], float]) -> float:
        """The whole run's design effect, for a part of it that is too small to tell its own.

        A random part of a stream goes together less, as its operations lie further apart: of D − 1, its share remains.
        """
        size = self.traffic.size
        if size >= _SMALL or self.criterion.scope.kind is ScopeKind.ALL:
            return 1.0
        whole = self.evidence.traffic(EVERYTHING, self.window)
        return 1 + (effect_of(whole) - 1) * min(1.0, size / max(1, whole.size))
