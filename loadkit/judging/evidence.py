"""What a run shows, looked up once: made for a run, and handed on to all that judge it or show it.

The steady window, the operations, the generator's health and the users held are looked up when they
are first asked for, and kept. `Case` is one criterion on one part of this evidence.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Scope, ScopeKind
from loadkit.judging import window as steady
from loadkit.judging.health import NO_TIME_LIMIT, Health, health, held_per_second
from loadkit.judging.omission import correct_omission, shared
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind
from loadkit.recording.stalls import Stall
from loadkit.recording.timing import REQUEST, Timing
from loadkit.recording.traffic import Traffic, series_of, traffic_of
from loadkit.recording.worker_second import IN_FLIGHT, WorkerSecond
from loadkit.units import format_number, format_ratio
from loadkit.verdict import Window
from loadkit.workload.phases import judged_phase
from loadkit.workload.plan import Population, Scaling
from loadkit.workload.workload import Model

__all__ = ["EVERYTHING", "Case", "Evidence"]

EVERYTHING = Scope()
"""All operations."""
_KEPT = 16
"""Selections of operations that are kept: an hour's of a thousand users takes a hundred
megabytes."""
_HELD, _HELD_SECONDS = 0.98, 0.95
"""Users that must be held, as a share of those stated, and the share of the seconds in which they
must be."""
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

    # --- when

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

    # --- what load there was

    @property
    def closed(self) -> tuple[Population, ...]:
        """The populations of users, who wait for their answers."""
        return tuple(each for each in self.run.plan.populations if each.workload.model is Model.CLOSED)

    @property
    def is_closed(self) -> bool:
        """Is the whole load one of users?"""
        return len(self.closed) == len(self.run.plan.populations)

    def makers(self, scope: Scope) -> tuple[Population, ...]:
        """The populations whose operations make up a scope; none where that cannot be told."""
        populations = self.run.plan.populations
        if scope.kind is ScopeKind.POPULATION:
            return tuple(each for each in populations if each.name == scope.name)
        return populations if scope.kind is ScopeKind.ALL else ()

    def held(self, window: Window, population: str = "") -> tuple[Floats, Floats]:
        """Users held and users stated of a closed population, or of all; shapes (`seconds`,)."""
        return self._held(window, population)

    def not_held(self, window: Window) -> str:
        """Why the users stated were not held in a window; "" where they were, or the load is open."""
        for population in self.closed:
            held, stated = self.held(window, population.name)
            good = float(np.mean(held >= _HELD * stated))
            if good < _HELD_SECONDS:
                return (
                    f"only {format_number(float(held.mean()))} of {format_number(float(stated.mean()))} "
                    f"{population.name} were held on average, and at least {format_ratio(_HELD)} of them in only "
                    f"{format_ratio(good)} of the seconds"
                )
        return ""

    def as_stated(self) -> "Evidence":
        """The same for a plan that states the load that was put on. Look-ups do not depend on it."""
        stated = copy(self)
        stated.run = replace(self.run, plan=replace(self.run.plan, scaling=Scaling()))
        return stated

    # --- how the operations went

    def traffic(
        self,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
        timing: str = REQUEST.key,
        *,
        successes_only: bool = False,
    ) -> Traffic:
        """The operations of a scope and timing that began in a window; without one, in the run."""
        return self._operations(scope, window or self.whole, kind, timing, successes_only)

    def corrected(
        self,
        limit: float,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
        timing: str = REQUEST.key,
    ) -> Traffic:
        """The same, corrected for coordinated omission by stalls longer than `limit` (seconds).

        Each closed population is corrected by its own stalls. Operations of which it is not told
        who made them are corrected by those stalls that all populations share.
        """
        return self._corrected(limit, scope, window or self.whole, kind, timing)

    def has(self, scope: Scope, timing: str = REQUEST.key) -> bool:
        """Was any operation of a scope and timing recorded?"""
        return bool(series_of(scope, self.run, _timing(timing)))

    def ended(self, scope: Scope, window: Window, timing: str = REQUEST.key) -> tuple[Integers, Integers]:
        """Operations that ended in each second, and those of them that failed; shapes (`seconds`,)."""
        series = series_of(scope, self.run, _timing(timing))
        second, outcome, _, count = self.run.table.select(Kind.COMPLETED, series, window.start, window.end)
        place, failed = second - window.start, outcome != 0
        return (
            np.bincount(place, count, window.seconds).astype(np.int64),
            np.bincount(place[failed], count[failed], window.seconds).astype(np.int64),
        )

    # --- what the workers said

    def health(self, window: Window, limit: float = NO_TIME_LIMIT) -> Health:
        """The health of the load generator in a window, for a time limit in seconds."""
        return self._health(window, limit)

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

    def count(self, name: str) -> int:
        """How often something that has a name happened in the whole run."""
        return sum(worker_second.count(name) for worker_second in self.run.worker_seconds)


def _timing(key: str) -> Timing:
    return REQUEST if key == REQUEST.key else Timing(key, key)


def _operations(
    run: Run, scope: Scope, window: Window, kind: Kind, timing: str, successes_only: bool
) -> Traffic:
    series = series_of(scope, run, _timing(timing))
    return traffic_of(run, series, window, kind, successes_only=successes_only)


def _corrected(
    run: Run,
    operations: Callable[[Scope, Window, Kind, str, bool], Traffic],
    limit: float,
    scope: Scope,
    window: Window,
    kind: Kind,
    timing: str,
) -> Traffic:
    populations = run.plan.populations
    if scope == EVERYTHING and len(populations) > 1:
        parts = (Scope(ScopeKind.POPULATION, each.name) for each in populations)
        each_corrected = [_corrected(run, operations, limit, part, window, kind, timing) for part in parts]
        return Traffic.sum_of(each_corrected)
    traffic = operations(scope, window, kind, timing, False)
    return correct_omission(traffic, _stalls(run, scope, timing), window.start, limit)


def _stalls(run: Run, scope: Scope, timing: str) -> Sequence[Stall]:
    """The stalls that kept operations of a scope away; nothing keeps those of an open load away."""
    stalls: Sequence[Stall] = [stall for stall in run.stalls if stall.timing == timing]
    if len(run.plan.populations) > 1:
        own = {
            each.name: [stall for stall in stalls if stall.population == each.name]
            for each in run.plan.populations
        }
        stalls = own.get(scope.name, []) if scope.kind is ScopeKind.POPULATION else shared(own.values())
    makers = [
        each
        for each in run.plan.populations
        if scope.kind is not ScopeKind.POPULATION or each.name == scope.name
    ]
    return stalls if any(each.workload.model is Model.CLOSED for each in makers) else []


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
            return self.evidence.traffic(scope, self.window, self.kind, self.timing)
        # By service time too: the arrivals that a stall kept away would have waited at the service.
        return self.evidence.corrected(self.criterion.limit, scope, self.window, self.kind, self.timing)

    @property
    def as_it_came(self) -> Traffic:
        """The operations that it speaks of by response time, and not corrected."""
        return self.evidence.traffic(self.criterion.scope, self.window, timing=self.timing)

    @property
    def timing(self) -> str:
        """The key of the timing that it speaks of."""
        return self.criterion.measure.timing

    @property
    def is_steady(self) -> bool:
        """Does the plan ask for the same load throughout?"""
        plan, window = self.evidence.run.plan, self.window
        judged = judged_phase(plan)
        others = plan.populations[1:]
        return judged is None or (
            judged.is_constant and all(each.workload.is_constant(window.start, window.end) for each in others)
        )

    def only(self, seconds: Booleans) -> "Case":
        """The same with the operations that began in the seconds marked; shape (`seconds`,)."""
        return replace(self, chosen=self.traffic.only(seconds))

    def by_service_time(self) -> "Case":
        """The same with the times from when operations were sent."""
        return replace(self, kind=Kind.SERVICE, chosen=None)

    def lent_effect(self, effect_of: Callable[[Traffic], float]) -> float:
        """The whole run's design effect, for a part of it that is too small to tell its own.

        A random part of a stream goes together less, as its operations lie further apart: of D − 1,
        its share remains.
        """
        size = self.traffic.size
        if size >= _SMALL or self.criterion.scope.kind is ScopeKind.ALL:
            return 1.0
        whole = self.evidence.traffic(EVERYTHING, self.window, timing=self.timing)
        return 1 + (effect_of(whole) - 1) * min(1.0, size / max(1, whole.size))
