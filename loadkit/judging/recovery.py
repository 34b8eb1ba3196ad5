"""Recovery: the time from a disturbance until the service is as good as before."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.courses import (
    FAILED_SHARE,
    IN_A_ROW,
    LENGTH,
    QUANTILE,
    Course,
    Kind,
    Spell,
    courses,
    overload_before,
    sums,
    surely_too_many,
    surely_too_slow,
)
from loadkit.judging.evidence import Case
from loadkit.judging.finding import LONGEST_ADVICE, Finding
from loadkit.judging.statistics import bounds as bounds_of_share
from loadkit.judging.statistics import growth_to_decide, is_surely_above, persistence
from loadkit.recording.run import Run
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import Status, Window
from loadkit.workload.phases import Disturbance, disturbance

__all__ = ["find_recovery"]

_SLOW = 0.05
"""At most this share of the windows after recovery, or one window, may be slow. The same share of
the windows before the disturbance exceeds the usual value (see `courses`)."""
_SHOWN = 3
"""A warning describes up to this many relapses."""
_A_PEAK = "a load that follows a table from a low level that holds to a high one and back"
"""The description of a load peak that can be judged."""
_SEVERITY = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
"""The order of severity. Of several kinds, the most severe finding decides."""

Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Span:
    """The time after the disturbance."""

    start: int
    """Seconds since the run's start."""
    end: int
    excused: Booleans
    """A window that contains one of these seconds counts as good; shape (`end` - `start`,)."""

    def windows(self, course: Course, after: int = 0) -> list[Spell]:
        """The windows of a course from some seconds after the disturbance on."""
        assert course.bounds is not None
        return [
            _as_before(spell, course.bounds)
            if self.excused[spell.start - self.start :][:LENGTH].any()
            else spell
            for spell in course.windows(self.start + after, self.end)
        ]


@dataclass(frozen=True, slots=True)
class _Judged:
    """One kind of traffic with its finding."""

    course: Course
    bounds: Spell
    windows: list[Spell]
    """The windows after the disturbance."""
    finding: Finding

    @property
    def rank(self) -> tuple[int, float]:
        """The sort key of kinds: the status, then the time of the recovery."""
        measured = self.finding.measured
        return _SEVERITY.index(self.finding.status), math.inf if measured is None else measured

    @property
    def clause(self) -> str:
        """The time of the recovery in words: "messages were late until 12 s after it"."""
        kind, measured = self.course.kind, self.finding.measured
        if measured is None:
            return f"{kind.name} had not recovered"
        if not measured:
            return f"{kind.name} recovered immediately"
        number = math.ceil(measured / LENGTH) - 1
        last = self.windows[number]
        if not last.is_within(self.bounds):
            bad = kind.trouble(last, self.bounds)
        elif surely_too_many(self.windows[number : number + IN_A_ROW], self.bounds.error_rate):
            bad = f"{kind.name} {kind.have_failed[0]}"
        else:
            bad = f"{kind.name} {kind.are_slow}"
        return f"{bad} until {format_seconds(measured)} after it"


def find_recovery(case: Case) -> Finding:
    """Judge "the service recovers within …" on the part of the run after the disturbance.

    Each kind of traffic that the run has is judged: requests, database queries, messages and
    connections (`courses`). Each kind recovers at its own moment. The service has recovered when
    all kinds have recovered.

    A kind has recovered at the first moment from which six consecutive five-second windows are
    good. In a good window, p95 is not surely above its bound, and the number in flight is not above
    its bound. The error rate is at most 1 %, or no higher than chance explains with the error rate
    before. Over all six windows together, neither p95 is surely above its bound, nor the error rate
    surely above 1 %. A lost message has failed. In addition, about as many messages arrive, and as
    many connections are open, as before.

    A relapse is one or more bad windows in a row after that moment. The service has not recovered
    if a relapse has six windows. It has not recovered either if surely more than 1 % of all
    operations after that moment failed. The same is true if surely more than 5 % of the windows
    were slow, or if p95 is surely above its bound over all other windows together. If one of these
    shares is exceeded but not surely, the result is inconclusive. It is also inconclusive if the
    end of the load cut a relapse short. Other relapses are a warning.

    A window without operations is bad, unless operations are so rare that this is chance. If such
    windows decide, the result is inconclusive. It is also inconclusive if a kind passes only
    because one or two windows before the disturbance were far worse than the others.

    A recovery can also be complete exactly at the limit, between the starts of two windows. Times
    are exact to half a second, because windows begin at whole seconds.

    A fail is judged again, and windows in which the load generator was overloaded then count as
    good. If it is no longer a fail, it is invalid. Windows with seconds that are not in `case.kept`
    always count as good. The end of a run that was cut short is considered later (`cut_short`).
    """
    evidence, run = case.evidence, case.evidence.run
    cause = disturbance(run.plan)
    if cause is None:
        return Finding(
            Status.NOT_JUDGED,
            'this plan does not disturb the service; expected a When such as "an instance is killed", or '
            f"{_A_PEAK}",
        )
    if cause.before is None:
        what = f'"{cause.what}"' if run.plan.actions else "the highest load"
        return Finding(
            Status.NOT_JUDGED,
            f"no load was steady before {what}, so there is nothing to compare with; expected {_A_PEAK}",
        )
    if problem := _disturbance_missing(run, cause):
        return problem
    began = max((event.at for event in run.events), default=cause.at)
    start, end = math.floor(max(began, cause.at) + 0.5), math.floor(min(cause.end, run.ended_at) + 1e-9)
    where = Window(start, max(end - start, 1), f"after {cause.what}")
    seen = [course for course in courses(evidence, cause) if course.bounds is not None]
    if not seen:
        overload = "; ".join(overload_before(evidence, cause))
        return Finding(
            Status.INCONCLUSIVE,
            f"the load was steady for less than {IN_A_ROW * LENGTH} s before {cause.what}, without seconds in which "
            f"the load generator or its machine was overloaded: too little to compare with{overload and f' ({overload})'}",
        )
    excused = np.zeros(where.seconds, np.bool_) if case.kept is None else ~case.kept
    span = _Span(start, end, excused)
    judged = [_judged(case.criterion, course, span, cause.what) for course in seen]
    found = _combined(case.criterion, judged, start, cause.what)
    found = found.warned(*_not_recovered_before(case, judged, start))
    found = replace(found, window=where)
    if found.status not in {Status.PASS, Status.FAIL}:
        return found
    if lost := evidence.not_held(where):
        return found.become(Status.INVALID, lost)
    state = evidence.health(where)
    if state.status == "ok":
        return found
    if found.status is Status.FAIL:
        span = replace(span, excused=excused | state.unhealthy)
        rest = [_judged(case.criterion, course, span, cause.what) for course in seen]
        if all(each.finding.status is not Status.FAIL for each in rest):
            return found.become(Status.INVALID, f"{state.sentence}, which may be why {found.reason}")
    elif state.status == "invalid":
        return found.become(Status.INVALID, state.sentence)
    return found.warned(f"{state.sentence}; the verdict is the same without it")


def _as_before(spell: Spell, bounds: Spell) -> Spell:
    """A good window that replaces one that does not show the quality of the service."""
    return replace(bounds, start=spell.start, p95=0.0, error_rate=0.0)


def _combined(criterion: Criterion, judged: list[_Judged], start: int, what: str) -> Finding:
    """The finding of all kinds. The worst status decides, then the slowest recovery."""
    judged = sorted(judged, key=lambda each: each.rank, reverse=True)
    first, *others = judged
    found, clauses = first.finding, []
    # A reason that states only the time of the recovery needs an explanation. Other reasons do not.
    tells_when = found.status is Status.PASS or (found.measured or 0.0) > criterion.limit
    if tells_when and found.measured:
        clauses.append(first.clause)
    clauses += [
        each.clause
        if each.finding.status is Status.PASS
        else f"{each.course.kind.name}: {each.finding.reason}"
        for each in others
        if each.finding.status is not Status.PASS or each.finding.measured
    ]
    at_once = [
        each.course.kind.name
        for each in judged
        if each.finding.status is Status.PASS and not each.finding.measured
    ]
    if at_once and len(judged) > 1:
        names = " and ".join(filter(None, (", ".join(at_once[:-1]), at_once[-1])))
        clauses.append(f"{names} recovered immediately")
    known = [each.finding.measured for each in judged if each.finding.measured is not None]
    return Finding(
        found.status,
        f"{found.reason}{': ' if tells_when else '; '}{'; '.join(clauses)}" if clauses else found.reason,
        max(known) if len(known) == len(judged) else None,
        samples=len(first.windows),
        warnings=tuple(warning for each in judged for warning in each.finding.warnings),
        details={
            "disturbed_by": what,
            "disturbed_at": start,
            "decided_by": first.course.kind.name,
            **_details(first),
            "kinds": {
                each.course.kind.name: {
                    "status": each.finding.status.value,
                    "recovered_after": each.finding.measured,
                    **_details(each),
                }
                for each in judged
            },
        },
    )


def _details(judged: _Judged) -> dict[str, object]:
    """The bounds and the windows of one kind, as JSON values."""
    bounds = judged.bounds
    return {
        "allowed": _figures(bounds),
        "windows": [
            {**_figures(spell), "start": spell.start, "is_good": spell.is_within(bounds)}
            for spell in judged.windows
        ],
    }


def _judged(criterion: Criterion, course: Course, span: _Span, what: str) -> _Judged:
    """Judge one kind; a pass is inconclusive if its times or the time before are not sure."""
    usual = course.without_odd
    if usual is not None and course.bounds is not None and math.isinf(course.bounds.p95):
        course, usual = usual, None
    assert course.bounds is not None
    windows, found = span.windows(course), _compared(criterion, course, span, what)
    if found.status is Status.PASS and usual is not None:
        strict = _compared(criterion, usual, span, what)
        if strict.status is not Status.PASS:
            odd = len(course.before) - len(usual.before)
            reason = (
                f"{odd} of {len(course.before)} five-second windows before {what} were far worse than the others; "
                f"compared with the others, {strict.reason}"
            )
            assert usual.bounds is not None
            later = span.windows(usual)[math.ceil((found.measured or 0.0) / LENGTH) :]
            bad = sum(not each.is_within(usual.bounds) for each in later)
            is_as_often = _is_chance(bad, len(later), odd / len(course.before))
            if strict.status is Status.FAIL or not is_as_often:
                found = found.become(Status.INCONCLUSIVE, reason)
            else:
                found = found.warned(f"{reason}; such windows are no more frequent after it")
    if course.doubt and found.status is Status.PASS:
        found = found.become(Status.INCONCLUSIVE, course.doubt)
    return _Judged(course, course.bounds, windows, found)


def _compared(criterion: Criterion, course: Course, span: _Span, what: str) -> Finding:
    """The finding of one kind; inconclusive if there is too little to compare with."""
    kind, before, bounds = course.kind, course.before, course.bounds
    assert bounds is not None
    windows = span.windows(course)
    at_limit = span.windows(course, int(criterion.limit)) if criterion.limit % LENGTH else None
    found = _recovered(criterion, kind, windows, bounds, what, at_limit)
    if math.isinf(bounds.p95):
        if found.status is Status.FAIL:
            return found
        share = format_ratio(float(np.mean([math.isinf(spell.p95) for spell in before])))
        return Finding(
            Status.INCONCLUSIVE,
            f"in {share} of the five-second windows before {what}, more than {format_ratio(1 - QUANTILE)} of the "
            f"{kind.name} failed, so there is no usual p95 to compare with",
        )
    none = sum(not spell.begun for spell in windows)
    # With n random arrivals per window on average, a window is empty with a probability of e⁻ⁿ.
    # Users who arrive in waves leave more windows empty.
    empty = max(float(np.mean([not spell.begun for spell in before])), math.exp(-bounds.begun))
    if not none or not _is_chance(none, len(windows), empty):
        return found
    filled, filled_at_limit = (
        each
        and [
            spell if spell.begun else replace(_as_before(spell, bounds), in_flight=spell.in_flight)
            for spell in each
        ]
        for each in (windows, at_limit)
    )
    assert filled is not None
    if _recovered(criterion, kind, filled, bounds, what, filled_at_limit).status is found.status:
        return found
    return found.become(
        Status.INCONCLUSIVE,
        f"no {kind.name} {kind.began} in {none} of {len(windows)} five-second windows after {what}. Before it, "
        f"{format_number(bounds.begun)} {kind.began} on average and none in {format_ratio(empty)}, so this shows "
        "nothing: use more load, or load without waves",
    )


def _is_chance(number: int, size: int, share: float) -> bool:
    """Can `number` of `size` windows be empty by chance, if `share` is the probability of one?"""
    return not is_surely_above(np.array([float(number)]), np.array([float(size)]), share)[0]


def _not_recovered_before(case: Case, judged: list[_Judged], start: int) -> Iterator[str]:
    """Warnings about earlier actions from which the service had surely not recovered in time."""
    events = sorted(case.evidence.run.events, key=lambda event: event.at)
    for event, following in pairwise(events):
        begin, end = math.ceil(event.at - 1e-9), min(start, math.floor(following.at + 1e-9))
        for each in judged:
            windows = each.course.windows(begin, end)
            found = _recovered(case.criterion, each.course.kind, windows, each.bounds, event.what)
            if found.status is Status.FAIL:
                yield f"{found.reason}; recovery is judged after the last action"


def _disturbance_missing(run: Run, cause: Disturbance) -> Finding | None:
    """The finding if the planned disturbance did not happen; None if it did."""
    failed = next((event for event in run.events if event.failed), None)
    if failed is not None:
        return Finding(Status.NOT_JUDGED, f'"{failed.what}" could not be carried out: {failed.failed}')
    done = len(run.events) >= len(run.plan.actions) and run.ended_at > cause.at
    if done:
        return None
    return Finding(Status.INCONCLUSIVE, f'the run ended ({run.ended}) before "{cause.what}"')


def _recovered(
    criterion: Criterion,
    kind: Kind,
    windows: list[Spell],
    bounds: Spell,
    what: str,
    at_limit: Sequence[Spell] | None = None,
) -> Finding:
    """The finding of one kind.

    `at_limit`: the windows that begin at the limit; None if windows begin there anyway.
    """
    good = [spell.is_within(bounds) for spell in windows]
    limit = criterion.limit

    def is_good(number: int) -> bool:
        """Are this window and the next five good, as far as they exist?"""
        row = slice(number, number + IN_A_ROW)
        return _are_good(windows[row], bounds)

    first = next((number for number in range(len(good) - IN_A_ROW + 1) if is_good(number)), None)
    is_late = first is None or first * LENGTH > limit
    if is_late and at_limit and len(at_limit) >= IN_A_ROW and _are_good(at_limit[:IN_A_ROW], bounds):
        return _lasting(limit, kind, windows[0].start, at_limit, float(int(limit)), bounds, what)
    if first is not None:
        return _lasting(limit, kind, windows[0].start, windows[first:], float(first * LENGTH), bounds, what)
    # A recovery in time must start within the limit. It is ruled out if a bad window follows each
    # possible start.
    in_time = range(int(limit // LENGTH) + 1)
    # Too few windows, or none, and all of them good.
    is_open = at_limit is not None and _are_good(at_limit, bounds)
    if not is_open and all(number < len(good) and not is_good(number) for number in in_time):
        bad = [spell for spell, is_within in zip(windows, good, strict=True) if not is_within]
        after = format_seconds(bad[-1].start - windows[0].start) if bad else ""
        excess = f"{after} after it {kind.excess(bad[-1], bounds)}" if bad else _shares(kind, windows, bounds)
        return Finding(
            Status.FAIL,
            f"the service had not recovered within {format_seconds(limit)} after {what}: {excess}",
        )
    more = int(limit) + IN_A_ROW * LENGTH - len(windows) * LENGTH
    return Finding(
        Status.INCONCLUSIVE,
        f"the load held for {format_seconds(len(windows) * LENGTH)} after {what}, too short to see six good windows of "
        f"five seconds after {format_seconds(limit)}; {format_seconds(more)} more would decide it",
    )


def _are_good(row: Sequence[Spell], bounds: Spell) -> bool:
    """Are some windows good, each and together?"""
    return (
        all(spell.is_within(bounds) for spell in row)
        and not surely_too_many(row, bounds.error_rate)
        and not surely_too_slow(row)
    )


def _shares(kind: Kind, windows: list[Spell], bounds: Spell) -> str:
    """The share of failed or slow operations that prevents a recovery without a bad window."""
    if not surely_too_many(windows, FAILED_SHARE):
        return _slow_share(kind.name, windows, bounds)
    failed, begun = sums(windows)
    did, may = kind.have_failed
    return f"{format_ratio(failed / begun)} of the {kind.name} {did}, and {format_ratio(FAILED_SHARE)} {may}"


def _slow_share(name: str, windows: list[Spell], bounds: Spell) -> str:
    share = sum(spell.slow for spell in windows) / max(sums(windows)[1], 1)
    return (
        f"{format_ratio(share)} of the {name} took longer than {format_seconds(bounds.p95)}, and "
        f"{format_ratio(1 - QUANTILE)} is as before"
    )


def _lasting(
    limit: float, kind: Kind, began: int, after: Sequence[Spell], seconds: float, bounds: Spell, what: str
) -> Finding:
    """The finding of a service that recovered some seconds after the disturbance: was it in time?

    Did it last, too?

    Args:
        limit: the limit of the criterion in seconds.
        kind: the kind of traffic.
        began: when the disturbance began, in seconds since the run's start.
        after: the windows from the recovery on.
        seconds: from the disturbance until the recovery.
        bounds: the bounds of a good window.
        what: the disturbance in words.

    """
    when = f"{format_seconds(seconds)} after {what}" if seconds else f"immediately after {what}"
    in_time = Finding(
        Status.PASS if seconds <= limit else Status.FAIL,
        f"the service had recovered {when}; the limit is {format_seconds(limit)}",
        seconds,
    )
    relapses = [
        list(group) for is_good, group in groupby(after, lambda spell: spell.is_within(bounds)) if not is_good
    ]
    weighed = _weigh(kind, relapses, after, bounds)
    if not relapses and weighed is None:
        return in_time
    clauses = [_relapse(kind, relapse, bounds, began) for relapse in relapses]
    more = f"; and {len(clauses) - _SHOWN} more" if len(clauses) > _SHOWN else ""
    found = in_time
    if clauses:
        found = found.warned(f"the service degraded again after {what}: {'; '.join(clauses[:_SHOWN])}{more}")
    if weighed is None or in_time.status is Status.FAIL:
        return found
    status, reason, relapse = weighed
    relapsed = f"degraded again {_relapse(kind, relapse, bounds, began)}" if relapse else ""
    return found.become(
        status, f"the service had recovered {when}, but {'; '.join(filter(None, (relapsed, reason)))}"
    )


def _weigh(
    kind: Kind, relapses: list[list[Spell]], after: Sequence[Spell], bounds: Spell
) -> tuple[Status, str, list[Spell]] | None:
    """The status, the reason and the relapse to name; None if nothing prevents a pass.

    All that surely fails comes first. `after`: all windows after the recovery.
    """
    longest, last = max(relapses, key=len, default=[]), relapses[-1] if relapses else []
    if len(longest) >= IN_A_ROW:
        return Status.FAIL, "", longest
    failed, begun = sums(after)
    did, may = kind.have_failed
    of_failures = (
        f"{format_ratio(failed / max(begun, 1))} of all {kind.name} after the recovery {did}, "
        f"and {format_ratio(FAILED_SHARE)} {may}"
    )
    worst = max(relapses, key=_failed, default=[])
    if surely_too_many(after, FAILED_SHARE):
        return Status.FAIL, of_failures, worst
    are_slow = np.array([spell.is_worse(bounds) for spell in after], np.float64)
    slow = int(are_slow.sum())
    # Slow windows often follow each other. Correlated windows are worth fewer independent ones.
    effect = persistence(are_slow)
    hits, size = slow / effect, len(after) / effect
    is_often = slow > max(1.0, _SLOW * len(after))
    of_windows = (
        f"{slow} of {len(after)} five-second windows after the recovery {kind.are_bad}, "
        f"and {format_ratio(_SLOW)} are allowed"
    )
    if is_often and bounds_of_share(hits, size)[0] > _SLOW:
        return Status.FAIL, of_windows, longest
    rest = [spell for spell in after if not spell.is_worse(bounds)]
    if surely_too_slow(rest):
        return Status.FAIL, _slow_share(f"{kind.name} after the recovery", rest, bounds), []
    if failed > FAILED_SHARE * begun:
        return Status.INCONCLUSIVE, of_failures + _advice(failed, begun, FAILED_SHARE, after), worst
    if last and last[-1] is after[-1]:
        more = format_seconds((IN_A_ROW - len(last)) * LENGTH)
        return (
            Status.INCONCLUSIVE,
            f"the load ended before it recovered again, and {more} more would decide it",
            last,
        )
    if is_often:
        return Status.INCONCLUSIVE, of_windows + _advice(hits, size, _SLOW, after), longest
    return None


def _advice(hits: float, size: float, share: float, after: Sequence[Spell]) -> str:
    """The length of load that would decide the verdict, as the last clause of a reason."""
    growth = growth_to_decide(hits, size, share)
    if growth > LONGEST_ADVICE:
        return "; too close to decide with a longer load"
    needed = format_seconds(math.ceil(growth * len(after) * LENGTH))
    return f"; about {needed} of load after the recovery would decide it"


def _failed(relapse: list[Spell]) -> float:
    return sum(spell.failed for spell in relapse)


def _relapse(kind: Kind, relapse: list[Spell], bounds: Spell, disturbed_at: int) -> str:
    """The length and start of a relapse, and the value of its worst window, in words."""
    worst = max(
        relapse,
        key=lambda spell: (
            spell.is_failing(bounds) and spell.error_rate,
            spell.p95,
            spell.in_flight,
            -spell.level,
        ),
    )
    length = format_seconds(len(relapse) * LENGTH)
    when = format_seconds(relapse[0].start - disturbed_at)
    return f"for {length} from {when} after it, {kind.excess(worst, bounds)}"


def _figures(spell: Spell) -> dict[str, float | None]:
    return {
        "p95": spell.p95 if math.isfinite(spell.p95) else None,
        "in_flight": spell.in_flight,
        "error_rate": spell.error_rate,
        "level": spell.level,
    }
