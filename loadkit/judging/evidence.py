"""The evidence of a run, cached: created once per run, and shared by all judging and reporting.

The steady window, the operations, the generator's health and the users held are computed on first
use and cached. `Case` is one criterion on one part of this evidence.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Scope, ScopeKind
from loadkit.judging import window as steady
from loadkit.judging.clocks import latency_doubt
from loadkit.judging.health import NO_TIME_LIMIT, Health, health, held_per_second, without_users
from loadkit.judging.machine import Contention, contention
from loadkit.judging.omission import StuckOperations, Users, correct_omission, shared, stuck_operations
from loadkit.recording.messages import LATENCY
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind
from loadkit.recording.stalls import Stall
from loadkit.recording.timing import (
    CONNECT,
    MESSAGE,
    OPERATION,
    OPERATIONS,
    RECONNECT,
    RECORD,
    REQUEST,
    ROUND_TRIP,
    WORKFLOW,
    timing_of,
)
from loadkit.recording.traffic import Traffic, records_of, series_of, traffic_of
from loadkit.recording.worker_second import IN_FLIGHT, WorkerSecond, journey_errors
from loadkit.recording.writes import RECORDS
from loadkit.units import format_number, format_ratio
from loadkit.verdict import Status, Window
from loadkit.workload.phases import judged_phase
from loadkit.workload.plan import Population, Scaling
from loadkit.workload.workload import Model

__all__ = ["EVERYTHING", "Case", "Evidence"]

EVERYTHING = Scope()
"""All operations."""
_KEPT = 16
"""The number of cached selections of operations. One selection takes a hundred megabytes for an
hour of a thousand users."""
_UNHEALTHY = 0.5
"""Facts of the whole run hold if the generator was overloaded in at most this share of seconds."""
_LEAST_STRETCH = 10
"""The fewest seconds of full load that a pass without operations needs, such as one of a gauge. In
a window of less than twice this length, half of the window is enough."""
_FEW_SECONDS = 0.05
"""An overload of the generator in at most this share of the seconds does not change such a pass."""
_HELD, _HELD_SECONDS = 0.98, 0.95
"""The share of the stated users that must be held, and the share of the seconds in which they must
be held."""
_MADE_IN_RAMPS = frozenset({CONNECT.key, RECONNECT.key})
"""The timings of operations that users make once, when they arrive or come back."""
_SMALL = 1500
"""A part of the traffic with fewer operations uses the whole traffic's design effect."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


class Evidence:
    """One run with a cache of the results computed from it."""

    def __init__(self, run: Run) -> None:
        """Store a run, which must not change afterwards. Nothing is computed yet."""
        self.run = run
        self._window = cache(partial(steady.window, run))
        self._hold = cache(partial(steady.hold, run))
        self._health = cache(partial(health, run))
        self._contention = cache(partial(contention, run))
        self._held = cache(partial(held_per_second, run))
        self._journey_errors = cache(partial(journey_errors, run.worker_seconds))
        self._operations = lru_cache(_KEPT)(partial(_operations, run))
        sources = _Sources(run, self._operations, self._held)
        self._corrected = lru_cache(_KEPT)(partial(_corrected, sources))

    # --- when

    @property
    def window(self) -> Window | None:
        """The steady window that criteria are judged on; None if there is none."""
        return self._window()

    @property
    def hold(self) -> Window | None:
        """The steady window and the warm-up before it; None if there is none."""
        return self._hold()

    @property
    def whole(self) -> Window:
        """The whole run, including its ramps."""
        return steady.whole(self.run)

    def window_for(self, timing: str) -> Window | None:
        """The window on which operations of a timing are judged; None if there is none.

        Users connect while they arrive, and again after a drop. So this window includes the ramp,
        from the first attempt to the last. First connections count up to the end of the steady
        window, and reconnections up to the end of the run.
        """
        window = self.window
        if timing not in _MADE_IN_RAMPS or window is None:
            return window
        end = window.end if timing == CONNECT.key else self.whole.end
        attempts = self.traffic(timing=timing).per_second()[:end]
        made = np.flatnonzero(attempts)
        if not len(made):
            return window
        first = min(int(made[0]), max(0, len(attempts) - 2))
        return Window(first, max(2, int(made[-1]) + 1 - first), f"{timing_of(timing).key} attempts")

    def window_of(self, phase: str) -> Window | None:
        """The steady window of the named phase; None if there is none."""
        judged = judged_phase(self.run.plan)
        return self.window if judged is not None and judged.name == phase else self._window(phase)

    # --- the load

    @property
    def closed(self) -> tuple[Population, ...]:
        """The populations of a closed model, whose users wait for their answers."""
        return tuple(each for each in self.run.plan.populations if each.workload.model is Model.CLOSED)

    @property
    def is_closed(self) -> bool:
        """Are all populations closed?"""
        return len(self.closed) == len(self.run.plan.populations)

    def makers(self, scope: Scope) -> tuple[Population, ...]:
        """The populations whose operations make up a scope; empty if that is unknown."""
        populations = self.run.plan.populations
        if scope.kind is ScopeKind.POPULATION:
            return tuple(each for each in populations if each.name == scope.name)
        return populations if scope.kind is ScopeKind.ALL else ()

    def held(self, window: Window, population: str = "") -> tuple[Floats, Floats]:
        """Users held and users stated of a closed population, or of all; shapes (`seconds`,)."""
        return self._held(window, population)

    def not_held(self, window: Window) -> str:
        """The reason if the stated users were not held, or arrivals had no user; "" otherwise."""
        for population in self.closed:
            held, stated = self.held(window, population.name)
            good = float(np.mean(held >= _HELD * stated))
            if good < _HELD_SECONDS:
                return (
                    f"only {format_number(float(held.mean()))} of {format_number(float(stated.mean()))} "
                    f"{population.name} were held on average, and at least {format_ratio(_HELD)} of them in only "
                    f"{format_ratio(good)} of the seconds"
                )
        return without_users(self.run)

    def unlike_plan(self) -> tuple[Status, str] | None:
        """A status and a reason if facts of the whole run do not show what the plan states.

        The result is None if the run and its load were as planned.
        """
        if not self.run.is_complete:
            return Status.INCONCLUSIVE, f"the run was cut short ({self.run.ended})"
        if failed := next((event for event in self.run.events if event.failed), None):
            return Status.NOT_JUDGED, f'"{failed.what}" could not be carried out: {failed.failed}'
        reason = self.unlike_load(self.window or self.whole)
        return (Status.INVALID, reason) if reason else None

    def unlike_load(self, window: Window) -> str:
        """The reason if a window lacked the stated load in more than half of its seconds; else "".

        Missing users are a reason too; see `not_held`.
        """
        state = self.health(window)
        is_overloaded = float(state.unhealthy.mean()) > _UNHEALTHY
        return self.not_held(window) or (state.sentence_with_seconds if is_overloaded else "")

    def loaded_part(self, window: Window) -> Window:
        """The part of a window on which a pass without operations can rest, such as one of a gauge.

        It is the whole window if the generator was not overloaded, or only in few of its seconds.
        Otherwise it is the longest part without overload, with no seconds if that is too short.
        """
        state = self.health(window)
        # Single seconds in which the generator lagged do not change the load.
        few = _FEW_SECONDS if state.status == "invalid" else _UNHEALTHY
        if float(state.unhealthy.mean()) <= few:
            return window
        part = steady.longest_part(window, ~state.unhealthy)
        is_enough = part.seconds >= min(_LEAST_STRETCH, window.seconds // 2)
        return part if is_enough else replace(part, seconds=0)

    @property
    def journey_errors(self) -> str:
        """A sentence about errors in the code of journeys; "" if there were none."""
        return self._journey_errors()

    def as_measured(self, criterion: Criterion) -> Criterion:
        """The criterion, on round trips instead of message latency if the run states so."""
        measure = criterion.measure
        is_on_messages = measure.family == Family.TIME and measure.timing == MESSAGE.key
        if not is_on_messages or self.run.facts.get(LATENCY) != ROUND_TRIP.name:
            return criterion
        return replace(criterion, measure=replace(measure, name=ROUND_TRIP.name, timing=ROUND_TRIP.key))

    def as_stated(self) -> "Evidence":
        """The same evidence, with a plan that states the load of this run; caches remain valid."""
        stated = copy(self)
        stated.run = replace(self.run, plan=replace(self.run.plan, scaling=Scaling()))
        return stated

    # --- the operations

    def traffic(
        self,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
        timing: str = REQUEST.key,
        *,
        successes_only: bool = False,
    ) -> Traffic:
        """The operations of a scope and timing that began in a window (by default, the run)."""
        return self._operations(
            _Cut(scope, window or self.whole, kind, self._recorded(scope, timing)), successes_only
        )

    def corrected(
        self,
        limit: float,
        scope: Scope = EVERYTHING,
        window: Window | None = None,
        kind: Kind = Kind.RESPONSE,
        timing: str = REQUEST.key,
    ) -> Traffic:
        """The operations of `traffic`, corrected for coordinated omission.

        Only waits longer than `limit` (seconds) count. Each closed population is corrected for its
        own stalls and stuck users. Operations of an unknown population are corrected for the stalls
        that all populations share, and for their own waits.
        """
        return self._corrected(limit, _Cut(scope, window or self.whole, kind, self._recorded(scope, timing)))

    def stalls(self, scope: Scope, timing: str) -> Sequence[Stall]:
        """When the service stood still for a scope: for all populations with such operations."""
        return _stalls(self.run, scope, timing)

    def _recorded(self, scope: Scope, timing: str) -> str:
        """The timing to select: instead of `OPERATION`, the only one of `OPERATIONS` in a scope."""
        if timing != OPERATION.key:
            return timing
        recorded = [each.key for each in OPERATIONS if series_of(scope, self.run, each)] or [REQUEST.key]
        return recorded[0] if len(recorded) == 1 else timing

    def has(self, scope: Scope, timing: str = REQUEST.key) -> bool:
        """Was any operation of a scope and timing recorded?"""
        if timing == RECORD.key:
            is_known = scope.kind in {ScopeKind.ALL, ScopeKind.POPULATION}
            return is_known and any(each.count(RECORDS, scope.population) for each in self.run.worker_seconds)
        return bool(series_of(scope, self.run, timing_of(timing)))

    def ended(self, scope: Scope, window: Window, timing: str = REQUEST.key) -> tuple[Integers, Integers]:
        """Operations that ended in each second, and how many failed; shapes (`seconds`,)."""
        series = series_of(scope, self.run, timing_of(timing))
        second, outcome, _, count = self.run.table.select(Kind.COMPLETED, series, window.start, window.end)
        place, failed = second - window.start, outcome != 0
        return (
            np.bincount(place, count, window.seconds).astype(np.int64),
            np.bincount(place[failed], count[failed], window.seconds).astype(np.int64),
        )

    # --- the workers' records

    def health(self, window: Window, limit: float = NO_TIME_LIMIT, *, is_mean: bool = False) -> Health:
        """The health of the load generator in a window, for a time limit in seconds.

        `is_mean`: is the limit one of a mean time?
        """
        return self._health(window, limit, is_mean)

    def contention(self, window: Window) -> Contention | None:
        """The causes of delay outside the service in a window; None if there are none."""
        return self._contention(window)

    def worker_seconds(self, window: Window) -> list[WorkerSecond]:
        """The workers' records of each second in a window."""
        return [each for each in self.run.worker_seconds if window.start <= each.second < window.end]

    def per_second(self, of: Callable[[WorkerSecond], float], window: Window) -> Floats:
        """The sum of a quantity over all workers, by second of a window; shape (`seconds`,)."""
        sums = np.zeros(window.seconds)
        for worker_second in self.worker_seconds(window):
            sums[worker_second.second - window.start] += of(worker_second)
        return sums

    def total(self, gauge: str, window: Window, population: str | None = None) -> Floats:
        """The sum of a gauge over all workers, by second of a window; shape (`seconds`,).

        `population`: only this population; None for all.
        """
        return self.per_second(lambda worker_second: worker_second.gauge(gauge, population), window)

    def in_flight(self, window: Window, population: str | None = None) -> Floats:
        """Operations without an answer, at the end of each second of a window; see `total`."""
        return self.total(IN_FLIGHT, window, population)

    def count(self, name: str) -> int:
        """The total of a named counter in the whole run."""
        database = self.run.database
        return sum(worker_second.count(name) for worker_second in self.run.worker_seconds) + (
            0 if database is None else database.count(name)
        )

    @property
    def latency_doubt(self) -> str:
        """The reason why the latency of messages is not known; "" if it is known."""
        return latency_doubt(self.run, self.traffic(timing=MESSAGE.key).size)

    def remark(self, name: str) -> str:
        """A remark that a reader needs besides the total of a named counter; "" if none."""
        return "" if self.run.database is None else self.run.database.remark(name)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A part of a run's operations."""

    scope: Scope
    window: Window
    kind: Kind
    timing: str

    def series(self, run: Run) -> tuple[str, ...]:
        """The series of the run's table that contain these operations."""
        return series_of(self.scope, run, timing_of(self.timing))


@dataclass(frozen=True, slots=True)
class _Sources:
    """The inputs of the coordinated-omission correction; both functions are cached."""

    run: Run
    operations: Callable[[_Cut, bool], Traffic]
    held: Callable[[Window, str], tuple[Floats, Floats]]


def _operations(run: Run, cut: _Cut, successes_only: bool) -> Traffic:
    if cut.timing == RECORD.key:
        return records_of(run, cut.window, cut.scope.population)
    return traffic_of(run, cut.series(run), cut.window, cut.kind, successes_only=successes_only)


def _corrected(sources: _Sources, limit: float, cut: _Cut) -> Traffic:
    run = sources.run
    if cut.scope == EVERYTHING and len(run.plan.populations) > 1:
        scopes = (Scope(ScopeKind.POPULATION, each.name) for each in run.plan.populations)
        return Traffic.sum_of([_corrected(sources, limit, replace(cut, scope=scope)) for scope in scopes])
    traffic = sources.operations(cut, False)
    stalls = _prevented_by(run, cut.scope, cut.timing)
    whole = None
    if stalls and cut.scope.kind not in {ScopeKind.ALL, ScopeKind.POPULATION}:
        whole = sources.operations(replace(cut, scope=EVERYTHING), False)
    return correct_omission(traffic, stalls, cut.window.start, limit, _stuck(sources, limit, cut), whole)


def _stuck(sources: _Sources, limit: float, cut: _Cut) -> list[StuckOperations]:
    """The stuck operations that prevented operations of a scope, by closed population.

    A user who waits for one label does not send requests of other labels either. Therefore all
    stuck operations of a population prevent operations of each label, in proportion to its share.
    With several populations, a run does not record which part of a label belongs to which. In that
    case, and for tenants and regions, only the scope's own stuck operations count.
    """
    if cut.timing == MESSAGE.key:  # users do not wait for messages
        return []
    run, found = sources.run, []
    is_one = len(run.plan.populations) == 1
    for each in _makers(run, cut.scope):
        if each.workload.model is not Model.CLOSED:
            continue
        everything = replace(cut, scope=EVERYTHING if is_one else Scope(ScopeKind.POPULATION, each.name))
        whole = sources.operations(everything, False)
        users = Users(each.name, sources.held(cut.window, each.name)[0], whole.per_second())
        series = everything.series(run)
        own, share = cut.series(run), 1.0
        if is_one and cut.scope.kind in {ScopeKind.LABEL, ScopeKind.GROUP}:
            own, share = series, sources.operations(cut, False).size / max(1, whole.size)
        stuck = stuck_operations(run.table, cut.kind, cut.window, limit, users, series, own)
        if stuck is not None:
            found.append(replace(stuck, share=share))
    return found


def _prevented_by(run: Run, scope: Scope, timing: str) -> Sequence[Stall]:
    """The stalls that prevented operations of a scope; none for an open load."""
    is_closed = any(each.workload.model is Model.CLOSED for each in _makers(run, scope))
    return _stalls(run, scope, timing) if is_closed else []


def _stalls(run: Run, scope: Scope, timing: str) -> Sequence[Stall]:
    """The stalls of a scope: those of its population, or those that all its populations share."""
    if timing in {OPERATION.key, WORKFLOW.key}:
        # Users with several kinds of operations also wait for those of the first kind, and a stall
        # of these also prevents workflows.
        timing = next((each.key for each in OPERATIONS if series_of(scope, run, each)), timing)
    stalls: Sequence[Stall] = [stall for stall in run.stalls if stall.timing == timing]
    if len(run.plan.populations) > 1:
        by_population = {
            each.name: [stall for stall in stalls if stall.population == each.name]
            for each in run.plan.populations
            if series_of(Scope(ScopeKind.POPULATION, each.name), run, timing_of(timing))
        }
        if scope.kind is ScopeKind.POPULATION:
            return by_population.get(scope.name, [])
        return shared(by_population.values()) if by_population else []
    return stalls


def _makers(run: Run, scope: Scope) -> list[Population]:
    """The populations whose operations a scope may contain."""
    return [
        each
        for each in run.plan.populations
        if scope.kind is not ScopeKind.POPULATION or each.name == scope.name
    ]


@dataclass(frozen=True, slots=True)
class Case:
    """One criterion on one part of the evidence."""

    criterion: Criterion
    evidence: Evidence
    window: Window
    is_corrected: bool = False
    """Are the operations corrected for coordinated omission?"""
    kind: Kind = Kind.RESPONSE
    """The kind of time by which the operations are judged."""
    chosen: Traffic | None = None
    """Operations to judge instead of those in the window."""
    kept: Booleans | None = None
    """The window's seconds that `chosen` covers, shape (`window.seconds`,); None if all."""

    @property
    def traffic(self) -> Traffic:
        """The operations to judge."""
        if self.chosen is not None:
            return self.chosen
        scope = self.criterion.scope
        if not self.is_corrected:
            return self.evidence.traffic(scope, self.window, self.kind, self.timing)
        # This also applies to service time: arrivals prevented by a stall would have waited at the
        # service.
        return self.evidence.corrected(self.criterion.limit, scope, self.window, self.kind, self.timing)

    @property
    def uncorrected(self) -> Traffic:
        """The operations to judge, by response time and without correction."""
        return self.evidence.traffic(self.criterion.scope, self.window, timing=self.timing)

    @property
    def timing(self) -> str:
        """The key of the criterion's timing."""
        return self.criterion.measure.timing

    @property
    def is_steady(self) -> bool:
        """Is the planned load constant throughout the window?"""
        plan, window = self.evidence.run.plan, self.window
        judged = judged_phase(plan)
        if judged is not None and window.phase != judged.name:
            return False
        others = plan.populations[1:]
        return judged is None or (
            judged.is_constant and all(each.workload.is_constant(window.start, window.end) for each in others)
        )

    def only(self, seconds: Booleans) -> "Case":
        """The same case with only the operations of the marked seconds; shape (`seconds`,)."""
        kept = np.ones(self.window.seconds, np.bool_) if self.kept is None else self.kept.copy()
        kept[kept] = seconds
        return replace(self, chosen=self.traffic.only(seconds), kept=kept)

    def by_service_time(self) -> "Case":
        """The same case with service times, which begin when an operation is sent."""
        return replace(self, kind=Kind.SERVICE, chosen=None, kept=None)

    def borrowed_effect(self, effect_of: Callable[[Traffic], float]) -> float:
        """The whole traffic's design effect, for a part too small for its own estimate.

        The operations of a random part of a stream are further apart, so their correlation is
        lower. Therefore D − 1, with the whole traffic's design effect D, is multiplied by the
        part's share of the operations.
        """
        size = self.traffic.size
        if size >= _SMALL or self.criterion.scope.kind is ScopeKind.ALL:
            return 1.0
        whole = self.evidence.traffic(EVERYTHING, self.window, timing=self.timing)
        return 1 + (effect_of(whole) - 1) * min(1.0, size / max(1, whole.size))
