"""Judge messages: did they arrive, once, in order and in time?

The service numbers the messages of each stream. A subscriber must receive every message after the
one at which its subscription began, including those of gaps that it resumed. The last one that it
must receive is the newest that others in its worker knew a time-out before its end. The results are
facts about the messages of the run, so they have no confidence interval. If a fact is not known,
the verdict is inconclusive.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, ScopeKind
from loadkit.judging.connections import no_gap
from loadkit.judging.database import find_records
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.exactness import if_as_planned, searched_messages
from loadkit.judging.finding import Finding
from loadkit.judging.rates import (
    by_second,
    examine_offered,
    examine_throughput,
    find_throughput,
    relative,
)
from loadkit.judging.spells import thin
from loadkit.judging.statistics import CONFIDENCE, fewest_to_show
from loadkit.judging.times import find_time
from loadkit.recording.histogram import BUCKETS, FAILED
from loadkit.recording.messages import (
    CREATED_BEFORE,
    DOUBLED,
    FILLED,
    FOREIGN,
    MESSAGES_RECEIVED,
    MISSING,
    NOT_RESUMED,
    OUT_OF_ORDER,
    READER,
    STATE_SEEN,
    STATES_DUE,
    TAIL_LOST,
    TAIL_UNKNOWN,
    UNCLASSIFIED,
    UNREADABLE,
)
from loadkit.recording.slices import label_series
from loadkit.recording.timing import DELIVERY, MESSAGE, RECORD
from loadkit.recording.traffic import Traffic
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.units import Unit, distance, format_number, format_ratio, format_seconds
from loadkit.verdict import Status
from loadkit.workload.plan import Population

__all__ = [
    "Accounting",
    "find_convergence",
    "find_delivery",
    "find_reach",
    "find_throughput_of_any",
    "find_time_of_any",
    "proves_leak",
]

Integers = npt.NDArray[np.int64]

_FEWEST_DELIVERED = 0.5
"""The least ratio of delivered to expected messages at which latency can be judged."""
_BEFORE = 0.01
"""The largest ratio of messages that may have been created before the run. They are not among the
judged ones."""
_ALONE = 0.1
"""The largest ratio of users without a shared state. Above it, shared states are not tested."""
_EXAMPLES = 3
_OF_ANOTHER_TENANT = "messages of another tenant"
"""The measure of the criterion that no message carries another tenant's data."""


@dataclass(frozen=True, slots=True)
class Accounting:
    """The message counts of a run, summed over all subscribers."""

    received: int
    """Messages that arrived; one that arrived twice counts twice."""
    doubled: int
    disordered: int
    lost: int
    """Messages that were missing at the end of the run."""
    filled: int
    """Messages that were missing for a time, and arrived later."""
    unknown: int
    """Messages that may be missing."""
    doubts: tuple[str, ...]
    """Reasons why the arrival of some messages is unknown; sentences without a full stop."""

    @classmethod
    def of(cls, evidence: Evidence) -> "Accounting":
        """Count the messages of a run, up to the end of its drain."""
        table, count = evidence.run.table, evidence.count
        series = [label_series(label, MESSAGE) for label in table.labels(MESSAGE)]
        _, outcome, sums = table.totals(series, 0, 1 << 22)
        # A message that could not be read leaves a gap in its stream, although it arrived. So does
        # one that came too late to be classified.
        unread = count(UNREADABLE) + _reader_errors(evidence)
        untold, unknown = count(UNCLASSIFIED), count(TAIL_UNKNOWN)
        missing = max(count(MISSING) - count(FILLED), 0) + count(TAIL_LOST)
        doubts = []
        if unread:
            doubts.append(f"{unread:,} messages could not be read")
        if untold:
            doubts.append(f"{untold:,} late messages may have been missing or doubled")
        if unknown:
            doubts.append(f"{unknown:,} messages were still on their way when their subscribers left")
        if interrupted := count(NOT_RESUMED):
            doubts.append(f"{interrupted:,} subscriptions were interrupted, and not resumed before the end")
        return cls(
            received=int(sums[outcome == 0, 0].sum()),
            doubled=count(DOUBLED),
            disordered=count(OUT_OF_ORDER),
            lost=max(missing - unread - untold, 0),
            filled=count(FILLED),
            unknown=unknown + min(missing, unread + untold),
            doubts=tuple(doubts),
        )

    @property
    def distinct(self) -> int:
        """Messages that arrived at least once."""
        return max(self.received - self.doubled, 0)

    @property
    def expected(self) -> int:
        """Messages that had to arrive."""
        return self.distinct + self.lost

    @property
    def details(self) -> dict[str, int]:
        """The figures by name."""
        return {
            "expected": self.expected,
            "received": self.received,
            "lost": self.lost,
            "filled": self.filled,
            "doubled": self.doubled,
            "out_of_order": self.disordered,
            "perhaps_missing": self.unknown,
        }


def proves_leak(criterion: Criterion, finding: Finding) -> bool:
    """Does a finding prove that a message carried another tenant's data?

    Only the service can cause this. No fault of the load generator excuses it.
    """
    is_of_content = criterion.measure.name == _OF_ANOTHER_TENANT
    return is_of_content and finding.status is Status.FAIL


def find_delivery(case: Case) -> Finding:
    """Judge that no message was lost, doubled, out of order or from another tenant."""
    evidence, what = case.evidence, case.criterion.measure.name
    messages = Accounting.of(evidence)
    doubts = messages.doubts
    is_of_content = False
    if what == "messages lost":
        found, of = messages.lost, f"{messages.expected:,} expected messages"
    elif what == "messages doubled":
        found, of = messages.doubled, f"{messages.received:,} received messages"
        doubts = tuple(each for each in doubts if "late messages" in each or "read" in each)
    elif what == "messages out of order":
        found, of = messages.disordered, f"{messages.received:,} received messages"
        doubts = tuple(each for each in doubts if "read" in each)
    else:
        is_of_content = True
        found, of = evidence.count(FOREIGN), f"{messages.received:,} received messages"
        searched, received = (
            searched_messages(evidence),
            max(evidence.count(MESSAGES_RECEIVED), messages.received),
        )
        unsearched = (
            f"{received - searched:,} of {received:,} were not searched for the data of other tenants"
        )
        doubts = () if searched >= received else (unsearched,)
    finding = Finding(
        Status.FAIL,
        f"{found:,} of the {of} were {what.removeprefix('messages ')}, and none is allowed",
        float(found),
        samples=messages.expected,
        details=messages.details,
        window=case.window,
    )
    if found:
        return finding
    if not messages.expected:
        return finding.become(Status.INCONCLUSIVE, "no message arrived, so nothing could be compared")
    if doubts:
        return finding.become(Status.INCONCLUSIVE, f"{what}: none was found, but {'; '.join(doubts)}")
    late = f"; {messages.filled:,} arrived late" if what == "messages lost" and messages.filled else ""
    none = replace(finding, reason=f"{what}: none among the {of}{late}")
    return if_as_planned(case, none) if is_of_content else _with_its_gaps(case, none)


def _with_its_gaps(case: Case, finding: Finding) -> Finding:
    """Make a finding a pass if the run was as planned and had the gaps that its plan causes."""
    found = if_as_planned(case, finding)
    doubt = no_gap(case.evidence) if found.status is Status.PASS else ""
    return found.become(Status.INCONCLUSIVE, f"{found.reason}, but {doubt}") if doubt else found


def _reader_errors(evidence: Evidence) -> int:
    """The number of times that a journey's code failed to read a message."""
    return sum(
        number
        for second in evidence.run.worker_seconds
        for named in second.counts.values()
        for name, number in named.items()
        if name.startswith(JOURNEY_ERROR + READER)
    )


def find_reach(case: Case) -> Finding:
    """Judge the share of the expected messages that arrived, over all subscribers."""
    criterion, messages = case.criterion, Accounting.of(case.evidence)
    if not messages.expected:
        return Finding(Status.INCONCLUSIVE, "no message arrived, so nothing could be compared")
    reach = messages.distinct / messages.expected
    least = messages.distinct / (messages.expected + messages.unknown)
    value = (
        f"reach was {format_ratio(reach)}: {messages.distinct:,} of {messages.expected:,} expected messages"
    )
    finding = Finding(
        Status.FAIL,
        f"{value}, {distance(reach, criterion.limit, Unit.RATIO)} the limit of {format_ratio(criterion.limit)}",
        reach,
        samples=messages.expected,
        details=messages.details,
        window=case.window,
    )
    is_kept = partial(criterion.comparison.accepts, limit=criterion.limit)
    if not is_kept(reach):
        return finding
    fewest = fewest_to_show(criterion.limit)
    if messages.expected < fewest:
        return finding.become(Status.INCONCLUSIVE, f"{value}, and at least {fewest:,} are needed to show it")
    others = [each for each in messages.doubts if "on their way" not in each]
    if others or not is_kept(least):
        return finding.become(Status.INCONCLUSIVE, f"{value}, but {'; '.join(messages.doubts)}")
    return _with_its_gaps(case, finding)


def find_convergence(case: Case) -> Finding:
    """Judge that all users who share a state saw the same state at the end."""
    evidence = case.evidence
    digests: dict[str, Counter[str]] = {}
    for second in evidence.run.worker_seconds:
        for named in second.counts.values():
            for name, number in named.items():
                if name.startswith(STATE_SEEN):
                    what, _, digest = name.removeprefix(STATE_SEEN).rpartition(" ")
                    digests.setdefault(what, Counter())[digest] += number
    due, seen = evidence.count(STATES_DUE), sum(each.total() for each in digests.values())
    shared = {what: each for what, each in digests.items() if each.total() > 1}
    differing = sorted(what for what, each in shared.items() if len(each) > 1)
    finding = Finding(
        Status.FAIL,
        "",
        float(len(differing)),
        samples=seen,
        details={"shared": len(shared), "users_compared": seen, "users_to_compare": due},
        window=case.window,
    )
    if differing:
        examples = ", ".join(differing[:_EXAMPLES]) + (", …" if len(differing) > _EXAMPLES else "")
        return finding.become(
            Status.FAIL,
            f"the users of {len(differing):,} of {len(shared):,} shared dashboards saw different states "
            f"at the end: {examples}",
        )
    if not shared:
        return finding.become(Status.INCONCLUSIVE, "no two users reported the state of the same dashboard")
    together = sum(each.total() for each in shared.values())
    if seen - together > _ALONE * seen:
        return finding.become(
            Status.INCONCLUSIVE,
            f"only {together:,} of {seen:,} users shared a dashboard with another user",
        )
    if seen < due:
        return finding.become(
            Status.INCONCLUSIVE,
            f"the {seen:,} users who reported a state agree, but {due - seen:,} others reported none",
        )
    if not Accounting.of(evidence).received:
        return finding.become(Status.INCONCLUSIVE, "no user received an edit, so the states could not differ")
    agreed = f"all {together:,} users of {len(shared):,} shared dashboards saw the same state at the end"
    return if_as_planned(case, replace(finding, reason=agreed))


def find_throughput_of_any(case: Case) -> Finding:
    """Judge successes per second; for messages, arrivals per second, each message once."""
    if case.timing == RECORD.key:
        return find_records(case)
    if case.timing != MESSAGE.key:
        return find_throughput(case)
    scope = case.criterion.scope
    doubled = case.evidence.per_second(lambda each: each.count(DOUBLED, scope.population), case.window)
    if case.kept is not None:
        doubled = doubled[case.kept]
    if not doubled.any():
        return _find_throughput(case)
    completed = np.maximum(case.traffic.completed - doubled.astype(np.int64), 0)
    found = _find_throughput(replace(case, chosen=replace(case.traffic, completed=completed)))
    twice = f"{int(doubled.sum()):,} messages that arrived again"
    if scope.kind in {ScopeKind.ALL, ScopeKind.POPULATION}:
        return replace(found, reason=f"{found.reason}; {twice} are not counted")
    with_all = _find_throughput(case)
    if found.status is with_all.status:
        return with_all
    return with_all.become(
        Status.INCONCLUSIVE,
        f"{with_all.value_in_words}, but {twice} can be among these; without them, {found.value_in_words}",
    )


def _find_throughput(case: Case) -> Finding:
    publishing = [each for each in case.evidence.run.plan.populations if each.delivers]
    if not publishing:
        return examine_throughput(case.criterion, case.traffic)
    offers = by_second(case, publishing, _delivered)
    return examine_offered(case, offers, case.criterion.limit, relative(offers))


def _delivered(population: Population, level: float) -> float:
    """The messages per second that a population makes the service deliver, at a level of load."""
    return population.delivers * (level / max(population.workload.peak, 1e-9))


def find_time_of_any(case: Case) -> Finding:
    """Judge a time; for messages, only if their times are known and most of them arrived."""
    if case.timing == DELIVERY.key:
        return _find_delivery_time(case)
    if case.timing != MESSAGE.key:
        return find_time(case)
    if doubt := _unknown_times(case):
        return Finding(Status.INCONCLUSIVE, doubt, samples=case.traffic.size)
    found = find_time(case)
    if found.status is Status.FAIL and (
        doubt := _of_wrong_clock(case.evidence.count(CREATED_BEFORE), Accounting.of(case.evidence).received)
    ):
        # A clock that is behind can show only in the ramp, and makes all messages late.
        return found.become(Status.INCONCLUSIVE, doubt)
    clock = case.evidence.run.facts["clock"]
    uncertainty = float(clock["uncertainty"])
    if not uncertainty:
        return found
    differ = "the clocks of the service and of this machine agree"
    if "offset" in clock:
        offset = float(clock["offset"])
        differ = f"the clocks differ by {format_seconds(abs(offset))} ± {format_seconds(uncertainty)}"
        found = replace(
            found,
            reason=f"{found.reason}; {differ}",
            details={**found.details, "clock_offset": offset, "clock_uncertainty": uncertainty},
        )
    if found.interval is not None:
        lower, upper = found.interval
        found = replace(found, interval=(max(lower - uncertainty, 0.0), upper + uncertainty))
    if found.status not in {Status.PASS, Status.FAIL}:
        return found
    beside = "" if "offset" in clock else f"; {differ} only within {format_seconds(uncertainty)}"
    limit = case.criterion.limit
    for other in (max(limit - uncertainty, 1e-6), limit + uncertainty):
        moved = replace(case, criterion=replace(case.criterion, limit=other))
        if find_time(moved).status is not found.status:
            return found.become(
                Status.INCONCLUSIVE,
                f"{found.value_in_words}{beside}, which could change the verdict",
            )
    return found


def _unknown_times(case: Case) -> str:
    """The reason why the times of messages cannot be judged; "" if they can."""
    return case.evidence.latency_doubt or _created_before(case) or _undelivered(case)


def _created_before(case: Case) -> str:
    """A clause if too many messages in the window were created before the run.

    They are not among its times. A service may also send earlier messages to users who connect,
    mostly before the window.
    """
    evidence, window = case.evidence, case.window
    before = int(evidence.per_second(lambda each: each.count(CREATED_BEFORE), window).sum())
    received = int(evidence.traffic(window=window, timing=MESSAGE.key).completed.sum())
    return _of_wrong_clock(before, received)


def _of_wrong_clock(before: int, received: int) -> str:
    """A clause if more than 1 % of the received messages were created before the run."""
    if before <= _BEFORE * received:
        return ""
    return (
        f"{before:,} of {received:,} messages were created before the run, according to their times; the clock of an "
        "instance may be wrong"
    )


def _undelivered(case: Case) -> str:
    """A clause if too few messages arrived to judge their times; "" if enough arrived."""
    evidence = case.evidence
    messages = Accounting.of(evidence)
    if messages.distinct < _FEWEST_DELIVERED * messages.expected:
        return (
            f"only {messages.distinct:,} of {messages.expected:,} expected messages arrived, and their latency says "
            "nothing about the others"
        )
    planned = sum(
        _delivered(each, each.workload.level_at(case.window.start + case.window.seconds / 2))
        for each in evidence.run.plan.populations
        if each.delivers
    )
    arrived = float(evidence.traffic(window=case.window, timing=MESSAGE.key).completed.mean())
    if arrived < _FEWEST_DELIVERED * planned:
        return (
            f"only {format_number(arrived)} of {format_number(planned)} messages per second were delivered, and their "
            "latency says nothing about the others"
        )
    return ""


def _find_delivery_time(case: Case) -> Finding:
    """Judge the time until writes reach their watchers; no pass if they reach nobody for a time."""
    found = find_time(replace(case, chosen=_with_lost(case)))
    if unreached := case.traffic.failed:
        found = replace(
            found,
            reason=f"{found.reason}; {unreached:,} of {case.traffic.size:,} deliveries failed, because their "
            "writes were acknowledged and reached nobody",
            details={**found.details, "unreached": unreached},
        )
    if found.status is not Status.PASS:
        return found
    doubt = _undelivered(case) or (_unheard(case) if case.is_steady else "")
    if not doubt:
        return found
    return found.become(Status.INCONCLUSIVE, f"{found.value_in_words}, but {doubt}")


def _unheard(case: Case) -> str:
    """A clause if writes reached few users or nobody while requests succeeded; "" otherwise.

    A write that nobody receives has no delivery time. Fewer requests cause fewer writes, so they
    can explain a gap in the deliveries.
    """
    arrived, answered = case.traffic.per_second(), case.evidence.traffic(window=case.window).completed
    if case.kept is not None:
        answered = answered[case.kept]
    doubt = "and it is not known whether the writes of that time were lost"
    if silent := _silence(arrived, answered):
        return f"no write reached anybody for {format_seconds(silent)}, {doubt}"
    gaps = int((thin(arrived) & ~thin(answered)).sum())
    return f"in {gaps} ten-second windows hardly any write reached anybody, {doubt}" if gaps else ""


def _silence(arrived: Integers, answered: Integers) -> int:
    """The longest time without a delivery, in seconds, if chance does not explain it; else 0.

    `arrived`, `answered` (seconds,): deliveries and successful requests by second. Suppose that the
    n seconds with a delivery are independent of each other and as frequent as the requests. Then a
    gap with the share g of all requests has a probability of at most (n + 1)(1 − g)ⁿ.
    """
    heard = np.flatnonzero(arrived)
    weights = answered if answered.any() else np.ones(len(arrived), np.int64)
    before = np.concatenate([[0], np.cumsum(weights)])
    starts, ends = np.concatenate([[0], heard + 1]), np.concatenate([heard, [len(arrived)]])
    shares = (before[ends] - before[starts]) / before[-1]
    longest = int(np.argmax(shares))
    chance = (len(heard) + 1) * (1 - float(shares[longest])) ** len(heard)
    return int(ends[longest] - starts[longest]) if chance < 1 - CONFIDENCE else 0


def _with_lost(case: Case) -> Traffic:
    """The deliveries, with lost messages added as deliveries that never arrive.

    Only messages whose write has a known acknowledgement are deliveries. Therefore the same ratio
    of the lost messages counts. Messages missing at the end of a stream are counted when the
    subscriber leaves, after the window. All of them count as part of the window. A message that all
    watchers missed can be a write that reached nobody, and such a write counts as failed already.
    """
    traffic, evidence = case.traffic, case.evidence
    kept = np.ones(case.window.seconds, np.bool_) if case.kept is None else case.kept
    received = evidence.traffic(window=case.window, timing=MESSAGE.key).per_second()[kept].sum()
    net = evidence.per_second(lambda each: each.count(MISSING) - each.count(FILLED), case.window)[kept]
    # A gap can be filled in a later second, so only the sum is known to be lost.
    missing = max(float(net.sum()), 0.0) + evidence.count(TAIL_LOST) * float(kept.mean())
    arrived = traffic.size - traffic.failed
    lost = round(missing * min(1.0, arrived / max(1, int(received)))) - traffic.failed
    if lost <= 0:
        return traffic
    seconds = np.linspace(0, traffic.seconds - 1e-9, lost).astype(np.int64)
    ones, top = np.ones(lost, np.int64), np.full(lost, BUCKETS - 1)
    return replace(
        traffic,
        second=np.concatenate([traffic.second, seconds]),
        bucket=np.concatenate([traffic.bucket, np.full(lost, FAILED)]),
        took=np.concatenate([traffic.took, top]),
        count=np.concatenate([traffic.count, ones]),
    )
