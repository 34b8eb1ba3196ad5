"""One measure at two loads: "at most 2 times that at the baseline load".

The interval of the ratio is [a_low / b_high, a_high / b_low], from the intervals of the two values.
So "at most k times" is satisfied if the run satisfies the limit k · b_low. It is violated if the
run violates the limit k · b_high. `judge` decides both limits with all its checks of a run, so no
second method is needed.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from loadkit.criterion import Comparison, Criterion, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.finding import as_sentence, undefined
from loadkit.judging.judge import judge
from loadkit.recording.run import Run
from loadkit.units import distance, format_quantity
from loadkit.verdict import Status, Verdict

__all__ = ["agreed", "compare_loads"]

_MIN_MARGIN = 1.5
"""Minimum factor between the value at the reference load and the limit that shows its precision."""


def compare_loads(criterion: Criterion, evidence: Evidence, other: Evidence) -> Verdict:
    """Judge a criterion that compares two loads.

    Args:
        criterion: has a `reference`.
        evidence: evidence of the run at the load of the criterion.
        other: evidence of the run at the reference load.

    """
    reference = criterion.reference
    assert reference is not None
    plain = replace(criterion, reference=None)
    build_verdict = partial(_verdict, criterion, evidence.run)
    # Both runs have the same scale of users, which changes neither their ratio nor that of amounts.
    evidence, other = evidence.as_stated(), other.as_stated()
    at_load = str(reference)
    fixed = None if reference.or_limit is None else judge(replace(plain, limit=reference.or_limit), evidence)
    base = _measured(plain, other)
    if base.status is not Status.PASS or not base.measured or base.interval is None or not base.interval[0]:
        if fixed is not None and fixed.status is Status.PASS:
            blank = replace(fixed, measured=None, interval=None)
            return build_verdict(blank, Status.PASS, fixed.reason, here=fixed, there=base)
        known = base.status in {Status.INVALID, Status.NOT_JUDGED}
        status = base.status if known else Status.INCONCLUSIVE
        reason = f"{at_load[:1].upper()}{at_load[1:]}: {base.reason}"
        blank = Verdict(criterion.sentence, status, reason)
        return build_verdict(blank, status, reason, here=fixed, there=base)
    low, high = base.interval
    strict_base, lenient_base = (low, high) if criterion.comparison.is_upper else (high, low)
    strict = judge(replace(plain, limit=criterion.limit * strict_base), evidence)
    lenient = judge(replace(plain, limit=criterion.limit * lenient_base), evidence)
    status = _status(fixed, strict, lenient)
    verdict = replace(strict, measured=None, interval=None)
    if strict.measured is not None and strict.interval is not None and lenient.interval is not None:
        ends = (strict, lenient) if not criterion.comparison.is_upper else (lenient, strict)
        assert ends[0].interval is not None
        assert ends[1].interval is not None
        verdict = replace(
            strict,
            measured=strict.measured / base.measured,
            interval=(ends[0].interval[0] / high, ends[1].interval[1] / low),
        )
    reason = _reason(criterion, verdict, strict, base, at_load, status, fixed, lenient)
    decisive = lenient if status is Status.FAIL else strict
    if fixed is not None and status is Status.PASS and strict.status is not Status.PASS:
        decisive = fixed
    return build_verdict(verdict, status, reason, here=decisive, there=base)


def agreed(criterion: Criterion, verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict of comparisons with several runs at the reference load; they must agree.

    If they do not, something else changed between the runs, and the comparison shows nothing.
    """
    first, *others = verdicts
    if not others:
        return first
    for status in (Status.NOT_JUDGED, Status.INVALID, Status.INCONCLUSIVE):
        for each in verdicts:
            if each.status is status:
                return each
    intervals = [each.interval for each in verdicts if each.interval is not None]
    interval = (min(low for low, _ in intervals), max(high for _, high in intervals)) if intervals else None
    known = [each for each in verdicts if each.measured is not None] or verdicts
    ascending = sorted(known, key=lambda each: each.measured or 0.0)
    worst = ascending[-1 if criterion.comparison.is_upper else 0]
    if {each.status for each in verdicts} == {first.status}:
        return replace(worst, interval=interval)
    measured = " and ".join(format_quantity(each.measured or 0.0, Unit.TIMES) for each in verdicts)
    return replace(
        worst,
        status=Status.INCONCLUSIVE,
        interval=interval,
        reason=as_sentence(
            f"{criterion.measure.statistic} {criterion.measure.name} was {measured} that of the two runs "
            f"{criterion.reference}, of which one passes and one fails: something else changed between them"
        ),
    )


def _measured(plain: Criterion, other: Evidence) -> Verdict:
    """The value at the reference load, as a verdict that is a pass if the value is precise."""
    upper = replace(plain, comparison=Comparison.IS_AT_MOST)
    rough = judge(replace(upper, limit=other.run.plan.timeout), other)
    if not rough.measured:
        return rough
    return judge(replace(upper, limit=rough.measured * max(plain.limit, _MIN_MARGIN)), other)


def _status(fixed: Verdict | None, strict: Verdict, lenient: Verdict) -> Status:
    if strict.status is Status.PASS or (fixed is not None and fixed.status is Status.PASS):
        return Status.PASS
    if lenient.status is Status.FAIL and (fixed is None or fixed.status is Status.FAIL):
        return Status.FAIL
    others = {verdict.status for verdict in (strict, lenient, fixed) if verdict is not None}
    return next(
        (status for status in (Status.NOT_JUDGED, Status.INVALID) if status in others), Status.INCONCLUSIVE
    )


def _reason(
    criterion: Criterion,
    verdict: Verdict,
    strict: Verdict,
    base: Verdict,
    at_load: str,
    status: Status,
    fixed: Verdict | None,
    lenient: Verdict,
) -> str:
    if status in {Status.INVALID, Status.NOT_JUDGED}:
        return next(
            each.reason for each in (strict, lenient, fixed) if each is not None and each.status is status
        )
    unit = criterion.measure.unit
    assert base.measured is not None
    base_value = f"{format_quantity(base.measured, unit)} {at_load}"
    name = f"{criterion.measure.statistic} {criterion.measure.name}".strip()
    if strict.measured is None or verdict.measured is None or verdict.interval is None:
        return f"{undefined(criterion, 1 - (criterion.measure.quantile or 0.0))}; it was {base_value}."
    low, high = (format_quantity(bound, Unit.TIMES) for bound in verdict.interval)
    measured = (
        f"{name} was {format_quantity(strict.measured, unit)}, {format_quantity(verdict.measured, Unit.TIMES)} "
        f"the {base_value} (between {low} and {high} with 95 % confidence)"
    )
    limit = format_quantity(criterion.limit, Unit.TIMES)
    if status is Status.PASS and strict.status is not Status.PASS:
        assert criterion.reference is not None
        assert criterion.reference.or_limit is not None
        or_limit = format_quantity(criterion.reference.or_limit, unit)
        return f"{measured}; it is below {or_limit} with 95 % confidence, which is sufficient."
    if status is Status.INCONCLUSIVE:
        return f"{measured}, which includes the limit of {limit}; {_last_clause(strict)}."
    return f"{measured}, {distance(verdict.measured, criterion.limit, Unit.TIMES)} the limit of {limit}."


def _last_clause(verdict: Verdict) -> str:
    """The last clause of an inconclusive reason: what would decide it, or why it is undecided."""
    return verdict.reason.rpartition("; ")[2].rstrip(".")


def _verdict(
    criterion: Criterion,
    run: Run,
    verdict: Verdict,
    status: Status,
    reason: str,
    *,
    here: Verdict | None,
    there: Verdict,
) -> Verdict:
    """A verdict on a comparison.

    Args:
        criterion: the criterion.
        run: the run at the load of the criterion.
        verdict: has the other fields of the result.
        status: the status.
        reason: the reason.
        here: the decisive verdict on the run; None if it was not judged.
        there: the verdict on the run at the reference load.

    """
    sources = [each for each in (here, there) if each is not None]
    return replace(
        verdict,
        criterion=criterion.sentence,
        status=status,
        reason=as_sentence(reason),
        limit=criterion.limit,
        unit=criterion.unit,
        run=run.id,
        rehearsed=run.plan.rehearsed,
        warnings=tuple(dict.fromkeys(warning for source in sources for warning in source.warnings)),
        details={
            "here": None
            if here is None
            else {"measured": here.measured, "limit": here.limit, "interval": here.interval},
            "there": {"measured": there.measured, "interval": there.interval, "run": there.run},
        },
    )
