"""Why a criterion failed: which operations of its scope failed, how, for whom and since when.

Counts come from the record of all operations. Examples show single operations: the first failures
of each kind and the slowest of each timing, at most `MOST` of either.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from loadkit.criterion import FOREIGN_DATA, OTHERS_DATA, Criterion, Family, Scope, ScopeKind
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.observers.database import REJECTED, WRITES, WrittenRecord, WrongRecords
from loadkit.recording.examples import Example, Exchange
from loadkit.recording.labels import OTHER_FAILURES
from loadkit.recording.run import Run
from loadkit.recording.sample import OK
from loadkit.recording.slices import label_series, region_series, tenant_series
from loadkit.recording.timing import (
    CONNECT,
    DELIVERY,
    LIFETIME,
    MESSAGE,
    OPERATION,
    OPERATIONS,
    QUERY,
    RECONNECT,
    WORKFLOW,
    Timing,
    timing_of,
)
from loadkit.recording.traffic import series_of
from loadkit.reports.slow import STILL, SlowOperations, end_of, first_few, slow_operations
from loadkit.units import format_number, format_ratio
from loadkit.verdict import Window

__all__ = ["MOST", "Causes", "FailureKind", "TimingCauses", "causes_of", "of_scope", "timings_of"]

MOST = 20
"""The maximum number of examples of failures, and of the slowest operations of a timing."""
_MOST_OTHERS = 3
"""The maximum number of slowest operations of a timing that the criterion does not concern."""
_ALL_SECONDS = 1 << 22
_NOUNS = {
    CONNECT.key: "connection attempts",
    DELIVERY.key: "deliveries",
    LIFETIME.key: "connections",
    MESSAGE.key: "messages",
    QUERY.key: "queries",
    RECONNECT.key: "reconnections",
    WORKFLOW.key: "workflows",
}


@dataclass(frozen=True, slots=True)
class FailureKind:
    """One kind of failure of the operations of a scope, in a window."""

    kind: str
    """"status 503", "deadlock (40P01)", "messages doubled" …"""
    count: int
    operations: int
    """All operations of the scope and timing in the window; 0 where that is not known."""
    first: float | None
    """Seconds from the start of the run until its first failure; None if unknown."""
    last: float | None
    """Seconds until its last failure; None if unknown, or if it lasted to the end of the load."""
    by_label: Mapping[str, int]
    """The count of each label, the most frequent first; empty if it was not counted."""
    tenants: tuple[str, int]
    """The affected tenants in words, and the number of all tenants; "" if unknown."""
    regions: tuple[str, int]
    examples: tuple[Example, ...]
    """The kept examples, those in the window first."""
    noun: str = "operations"
    """What the operations are, in the plural."""
    instances: tuple[str, int] = ("", 0)

    @property
    def amount(self) -> str:
        """How many: "38 of 1,200 queries (3.2 %)"."""
        if not self.operations:
            times = "once" if self.count == 1 else f"{self.count:,} times"
            kept = len(self.examples)
            as_what = "an example" if kept == 1 else "examples"
            return f"{times} ({kept} kept as {as_what})" if self.count > kept else times
        return f"{self.count:,} of {self.operations:,} {self.noun} ({format_ratio(self.count / self.operations)})"

    @property
    def whom(self) -> str:
        """The affected tenants, regions and instances; those of the examples if not counted."""
        counted = self.tenants[0], self.regions[0], self.instances[0]
        parts = [each for each in counted if each]
        tenants, regions, instances = (not each for each in counted)
        shown = _seen_in(self.examples, tenants=tenants, regions=regions, instances=instances)
        number = len(self.examples)
        of = "the example" if number == 1 else f"the {number} examples"
        return "; ".join([*parts, f"in {of}: {', '.join(shown)}"] if shown else parts)


@dataclass(frozen=True, slots=True)
class TimingCauses:
    """The operations of a scope and timing in a window."""

    timing: Timing
    operations: int
    failed: int
    failures_by_kind: Mapping[str, int]
    slowest: tuple[Example, ...]
    """The slowest operations, the longest first; failed ones are included."""


@dataclass(frozen=True, slots=True)
class Causes:
    """The failed and the slowest operations of a criterion."""

    run: Run
    scope: Scope
    timings: tuple[str, ...]
    """The keys of the timings that the criterion concerns."""
    failures: tuple[FailureKind, ...]
    """The failures of the criterion's timings, the most frequent first."""
    by_timing: Mapping[str, TimingCauses]
    """The operations by key of their timing, the criterion's own timings first."""
    slow: SlowOperations | None = None
    """The operations above the limit, for a criterion on times."""

    @property
    def failures_by_kind(self) -> dict[str, int]:
        """The number of failures by kind, the most frequent first."""
        counts: dict[str, int] = {}
        for failure in self.failures:
            counts[failure.kind] = counts.get(failure.kind, 0) + failure.count
        return counts

    @property
    def examples(self) -> tuple[Example, ...]:
        """The first failures, with the same number of each kind if possible."""
        rows = [list(failure.examples) for failure in self.failures]
        kept: list[Example] = []
        while any(rows) and len(kept) < MOST:
            kept += [row.pop(0) for row in rows if row][: MOST - len(kept)]
        return tuple(sorted(kept, key=lambda each: each.at))

    @property
    def slow_whom(self) -> str:
        """Tenants, regions and instances of the slowest kept operations above the limit; "" for none.

        Tenants and regions that were counted are left out.
        """
        slow = self.slow
        if slow is None:
            return ""
        of_timings = (self.by_timing[key].slowest for key in self.timings if key in self.by_timing)
        kept = [
            each for slowest in of_timings for each in slowest
            if each.outcome == OK and each.seconds > slow.limit
        ]  # fmt: skip
        shown = _seen_in(kept, tenants=not slow.by_tenant, regions=not slow.by_region)
        number = f"{len(kept)} slowest examples" if len(kept) > 1 else "slowest example"
        return f"in the {number}: {', '.join(shown)}" if shown else ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for the criterion of a results document."""
        above = {} if self.slow is None else {"above_limit": self.slow.to_json()}
        return {
            **above,
            "failures_by_kind": self.failures_by_kind,
            "examples": [dataclasses.asdict(each) for each in self.examples],
            "by_timing": {
                key: {
                    "name": each.timing.name,
                    "operations": each.operations,
                    "failed": each.failed,
                    "failures_by_kind": dict(each.failures_by_kind),
                    "slowest": [dataclasses.asdict(example) for example in each.slowest],
                }
                for key, each in self.by_timing.items()
            },
        }


def timings_of(criterion: Criterion | None) -> tuple[str, ...]:
    """The keys of the timings that a criterion concerns; None means all operations."""
    operations = tuple(each.key for each in OPERATIONS)
    if criterion is None:
        return operations
    measure = criterion.measure
    if measure.family in {Family.CONNECTIONS, Family.LIFETIME}:
        return CONNECT.key, LIFETIME.key
    if measure.family in {Family.EXACT, Family.CONVERGENCE}:
        return *operations, MESSAGE.key
    if measure.family in {Family.DELIVERY, Family.REACH}:
        return MESSAGE.key, LIFETIME.key
    if measure.family == Family.RECONNECTION:
        return RECONNECT.key, CONNECT.key
    # Operations of any kind can be the cause of what the service itself did.
    of_service = {Family.ALERT, Family.GAUGE, Family.RECOVERY, Family.UPTIME}
    is_on_operations = measure.timing == OPERATION.key or measure.family in of_service
    return operations if is_on_operations else (measure.timing,)


def causes_of(
    evidence: Evidence,
    scope: Scope = EVERYTHING,
    timings: Sequence[str] = (),
    window: Window | None = None,
    criterion: Criterion | None = None,
) -> Causes:
    """The failed and the slowest operations of a scope in a window (default: the run).

    Args:
        evidence: the evidence of the run.
        scope: the scope of the criterion.
        timings: keys of the timings that the criterion concerns; none for all operations.
        window: the window in which failures are counted. Examples are of the whole run.
        criterion: the criterion whose limit defines which operations are too slow; None for none.

    """
    run = evidence.run
    timings = tuple(timings) or timings_of(None)
    examples = of_scope(run, scope)
    present = {each.timing for each in examples} | {
        key for key in timings if series_of(scope, run, timing_of(key))
    }
    failures: list[FailureKind] = []
    by_timing: dict[str, TimingCauses] = {}
    for key in sorted(present, key=lambda each: (each not in timings, each)):
        timing, own = timing_of(key), [each for each in examples if each.timing == key]
        found, operations = _failures(evidence, scope, timing, window or evidence.whole, own)
        if key in timings:
            failures += found
        asked = () if key == LIFETIME.key else (each for each in own if each.user is not None)
        slowest = sorted(asked, key=lambda each: -each.seconds)
        by_timing[key] = TimingCauses(
            timing,
            operations,
            sum(each.count for each in found if each.operations),
            {each.kind: each.count for each in found},
            tuple(each for each in slowest if each.seconds)[: MOST if key in timings else _MOST_OTHERS],
        )
    failures.sort(key=lambda each: -each.count)
    if criterion is not None and criterion.measure.name in {WRITES, REJECTED, OTHERS_DATA}:
        # The writes that the criterion counts come first, before other failed operations.
        failures = [*_wrong_writes(run, criterion.measure.name), *failures]
    slow = (
        None if criterion is None else slow_operations(evidence, criterion, scope, window or evidence.whole)
    )
    return Causes(run, scope, timings, tuple(failures), by_timing, slow)


def of_scope(run: Run, scope: Scope) -> tuple[Example, ...]:
    """The examples of the operations that a scope covers."""
    return tuple(example for example in run.examples if _is_in(example, scope, run))


def _failures(
    evidence: Evidence, scope: Scope, timing: Timing, window: Window, examples: Sequence[Example]
) -> tuple[list[FailureKind], int]:
    """The kinds of failure of a scope and timing, most frequent first; the number of operations."""
    run = evidence.run
    second, outcome, sums = run.table.totals(series_of(scope, run, timing), 0, _ALL_SECONDS)
    number, is_within = sums[:, 0], (second >= window.start) & (second < window.end)
    operations = int(number[is_within].sum())
    labels = {label_series(label, timing): label for label in run.table.labels(timing)}
    covered = [each for each in series_of(scope, run, timing) if each in labels]
    of_labels = run.table.failures(covered, window.start, window.end)
    recorded = {run.table.outcomes[place] for place in np.unique(outcome[number > 0])}
    by_kind = _by_kind(run, examples, window, has_others=OTHER_FAILURES in recorded)
    found = []
    for place, kind in enumerate(run.table.outcomes):
        is_kind = outcome == place
        count = int(number[is_kind & is_within].sum())
        if kind == OK or count <= 0:
            continue
        seconds = second[is_kind & (number > 0)]
        first, last = float(seconds.min()), float(seconds.max())
        by_label = {labels[each]: kinds[kind] for each, kinds in of_labels.items() if kind in kinds}
        found.append(
            FailureKind(
                kind,
                count,
                operations,
                first,
                _until(first, last, run, count),
                dict(sorted(by_label.items(), key=lambda item: -item[1])),
                _whose(run, scope, window, kind, "tenant", tenant_series("", timing)),
                _whose(run, scope, window, kind, "region", region_series("", timing)),
                by_kind.get(kind, ()),
                _NOUNS.get(timing.key, "operations"),
            )
        )
    found += _counted(evidence, scope, by_kind)
    return sorted(found, key=lambda each: -each.count), operations


def _owners(evidence: Evidence, kinds: Sequence[str]) -> str:
    """The tenants whose data others received, from kinds of failure such as "… (acme)"."""
    counts = {kind.partition(" (")[2].removesuffix(")"): evidence.count(kind) for kind in kinds}
    return first_few(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _by_kind(
    run: Run, examples: Sequence[Example], window: Window, *, has_others: bool
) -> dict[str, tuple[Example, ...]]:
    """The failed examples, by the kind under which they are counted; those in the window first.

    `has_others` states whether failures were counted as `OTHER_FAILURES`. Even then, an example has
    its own outcome.
    """
    known = set(run.table.outcomes)
    if has_others:
        known |= {name for each in run.worker_seconds for named in each.counts.values() for name in named}
    found: dict[str, list[Example]] = {}
    for each in sorted(examples, key=lambda each: not window.start <= each.at < window.end):
        kind = OTHER_FAILURES if has_others and each.outcome not in known else each.outcome
        if kind != OK:
            found.setdefault(kind, []).append(each)
    return {kind: tuple(same) for kind, same in found.items()}


def _until(first: float, last: float, run: Run, count: int) -> float | None:
    """The last moment of several failures; None if they lasted until the end of the load.

    Failures within one second do not count as lasting, and neither do rare ones.
    """
    are_rare = last - first > STILL * (count - 1)
    return last if are_rare or int(first) == int(last) else end_of(last, run)


def _counted(
    evidence: Evidence, scope: Scope, by_kind: Mapping[str, tuple[Example, ...]]
) -> Iterator[FailureKind]:
    """Faults that have their own count and are no outcomes of operations, such as lost messages."""
    merged: dict[str, list[str]] = {}
    for kind in by_kind:
        if kind not in evidence.run.table.outcomes:
            # The data of each tenant is a kind; for a reader, all of them are one fault.
            merged.setdefault(FOREIGN_DATA if kind.startswith(FOREIGN_DATA) else kind, []).append(kind)
    for name, kinds in merged.items():
        shown = tuple(sorted((each for one in kinds for each in by_kind[one]), key=lambda each: each.at))
        moments = [each.at for each in shown]
        count = sum(evidence.count(one) for one in kinds) if scope == EVERYTHING else 0
        if count > len(shown):
            seconds = evidence.run.worker_seconds
            moments += [each.second for each in seconds if any(each.count(one) for one in kinds)]
        count = max(count, len(shown))
        nobody = ("", 0)
        yield FailureKind(
            kinds[0] if len(kinds) == 1 else f"{name} ({_owners(evidence, kinds)})",
            count,
            0,
            min(moments),
            _until(min(moments), max(moments), evidence.run, count),
            {},
            nobody,
            nobody,
            shown,
        )


def _wrong_writes(run: Run, count: str) -> Iterator[FailureKind]:
    """Records that are not stored as the service answered; their operations may have succeeded."""
    writes = None if run.database is None else run.database.writes
    if writes is None:
        return
    about = {REJECTED: writes.phantoms, OTHERS_DATA: writes.misplaced}
    for kind, (of, operations) in {
        "acknowledged, but not stored": (writes.lost, writes.acknowledged),
        "stored twice": (writes.doubled, writes.stored),
        "stored under another tenant": (writes.misplaced, writes.placed or 0),
        "rejected, but stored": (writes.phantoms, writes.rejected),
        "stored, but written by nobody": (writes.unwritten, writes.stored),
    }.items():
        if of.number and (count == WRITES or of is about.get(count)):
            yield FailureKind(
                kind,
                of.number,
                operations,
                of.first,
                None if of.last is None else _until(of.first or 0.0, of.last, run, of.number),
                {},
                (_share(of.by_tenant, writes.tenants, "tenant"), writes.tenants),
                ("", 0),
                tuple(_written(each, kind) for each in of.examples if each.at is not None),
                "records",
                (_by_instance(of, writes.instances), writes.instances),
            )


def _by_instance(records: WrongRecords, number: int) -> str:
    """The instances that answered, out of a number of them, in words; "" if none is known."""
    share, known = _share(records.by_instance, number, "instance"), sum(records.by_instance.values())
    if not known or known == records.number:
        return share
    return f"of {known:,} the instance is known: {share}"


def _written(record: WrittenRecord, kind: str) -> Example:
    """A record as an example; its moment and user are known."""
    where = f" is stored under {record.stored_under}" if record.stored_under else ""
    exchange = Exchange(f"record {record.id}{where}", kind, record.instance)
    at, user = record.at or 0.0, record.user or 0
    return Example(
        at, 0.0, f"record {record.id}", kind, "", user, record.tenant, exchange=exchange, timing=OPERATION.key
    )


def _whose(run: Run, scope: Scope, window: Window, kind: str, noun: str, prefix: str) -> tuple[str, int]:
    """The tenants or regions with a kind of failure, and the number of all; "" if unknown."""
    names = run.table.names(prefix) if scope == EVERYTHING else []
    if not names:
        return "", 0
    counted = run.table.failures([prefix + name for name in names], window.start, window.end)
    found = {series.removeprefix(prefix): kinds[kind] for series, kinds in counted.items() if kind in kinds}
    if not found:
        return "", 0
    return _share(found, len(names), noun), len(names)


def _share(found: Mapping[str, int], number: int, noun: str) -> str:
    """The tenants, regions or instances that were found, out of a number, in words; "" for none."""
    most = sorted(found.items(), key=lambda item: -item[1])
    if not most:
        return ""
    if number == 1:
        return f"{noun} {most[0][0]}"
    if len(most) == 1:
        return f"only {noun} {most[0][0]} (of {number})"
    share = f"all {number}" if len(most) == number else f"{len(most)} of {number}"
    return f"{share} {noun}s ({first_few(f'{name} {format_number(count)}' for name, count in most)})"


def _seen_in(
    examples: Sequence[Example], *, tenants: bool, regions: bool, instances: bool = True
) -> list[str]:
    """The tenants, regions and instances of examples, in words, where asked for."""
    return [
        *(_of_examples(examples, "tenant", lambda each: each.tenant) if tenants else []),
        *(_of_examples(examples, "region", lambda each: each.region) if regions else []),
        *(_of_examples(examples, "instance", lambda each: each.exchange.instance) if instances else []),
    ]


def _of_examples(examples: Sequence[Example], what: str, of: Any) -> list[str]:
    """The tenants, regions or instances of examples: "tenant acme", "9 tenants (delos 2, …)"."""
    found = Counter(of(each) for each in examples if of(each))
    if len(found) <= 1:
        return [f"{what} {name}" for name in found]
    return [f"{len(found)} {what}s ({first_few(f'{name} {count}' for name, count in found.most_common())})"]


def _is_in(example: Example, scope: Scope, run: Run) -> bool:
    match scope.kind:
        case ScopeKind.GROUP:
            return any(fnmatchcase(example.label, pattern) for pattern in run.groups.get(scope.name, ()))
        case ScopeKind.LABEL:
            return example.label == scope.name
        case ScopeKind.TENANT:
            return example.tenant == scope.name
        case ScopeKind.REGION:
            return example.region == scope.name
        case ScopeKind.POPULATION:
            return example.population == scope.name
        case ScopeKind.ALL | ScopeKind.INSTANCE:
            return True
