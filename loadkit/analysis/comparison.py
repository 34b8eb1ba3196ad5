"""One measure at two loads: "at most 2 times that at the baseline load".

The ratio's interval is [a_low / b_high, a_high / b_low] of the two values' own. So "at most k
times" holds surely where the run keeps the limit k · b_low, and is broken surely where it breaks k
· b_high: both are questions that `judge` answers with all that may speak against a run, and no
second method is needed.
"""

from dataclasses import replace
from functools import partial

from loadkit.criterion import Comparison, Criterion, Unit
from loadkit.judging.evidence import Evidence
from loadkit.judging.finding import as_sentence, undefined
from loadkit.judging.judge import judge
from loadkit.recording.run import Run
from loadkit.units import format_quantity
from loadkit.verdict import Status, Verdict

__all__ = ["compare_loads"]

_COMFORT = 1.5
"""Times the value at the other load by which a run that measured it well keeps that value, at
least."""


def compare_loads(criterion: Criterion, evidence: Evidence, other: Evidence) -> Verdict:
    """What two runs say of a criterion that compares their loads.

    Args:
        criterion: has a `reference`.
        evidence: of the run at the load that the criterion speaks of.
        other: of the run at the load that it is compared with.

    """
    reference = criterion.reference
    assert reference is not None
    plain = replace(criterion, reference=None)
    told = partial(_told, criterion, evidence.run)
    # Fewer users at both loads leave their ratio what it is, also that of amounts.
    evidence, other = evidence.as_stated(), other.as_stated()
    there = f"at the {reference.level} load"
    easy = None if reference.or_limit is None else judge(replace(plain, limit=reference.or_limit), evidence)
    base = _measured(plain, other)
    if base.status is not Status.PASS or not base.measured or base.interval is None or not base.interval[0]:
        blank = replace(base, measured=None, interval=None, censored=False, window=None)
        if easy is not None and easy.status is Status.PASS:
            return told(blank, Status.PASS, easy.reason, easy)
        known = base.status in {Status.INVALID, Status.NOT_JUDGED}
        status = base.status if known else Status.INCONCLUSIVE
        return told(blank, status, f"{there.capitalize()}: {base.reason}", easy or base)
    low, high = base.interval
    least, most = (low, high) if criterion.comparison.is_upper else (high, low)
    keeping = judge(replace(plain, limit=criterion.limit * least), evidence)
    breaking = judge(replace(plain, limit=criterion.limit * most), evidence)
    status = _status(easy, keeping, breaking)
    verdict = replace(keeping, measured=None, interval=None)
    if keeping.measured is not None and keeping.interval is not None and breaking.interval is not None:
        ends = (keeping, breaking) if not criterion.comparison.is_upper else (breaking, keeping)
        assert ends[0].interval is not None
        assert ends[1].interval is not None
        verdict = replace(
            keeping,
            measured=keeping.measured / base.measured,
            interval=(ends[0].interval[0] / high, ends[1].interval[1] / low),
        )
    reason = _reason(criterion, verdict, keeping, base, there, status, easy, breaking)
    decisive = breaking if status is Status.FAIL else keeping
    if easy is not None and status is Status.PASS and keeping.status is not Status.PASS:
        decisive = easy
    return told(verdict, status, reason, decisive, base)


def _measured(plain: Criterion, other: Evidence) -> Verdict:
    """The other run's value, as a verdict that is a pass where it is well measured."""
    asked = replace(plain, comparison=Comparison.IS_AT_MOST)
    rough = judge(replace(asked, limit=other.run.plan.timeout), other)
    if not rough.measured:
        return rough
    return judge(replace(asked, limit=rough.measured * max(plain.limit, _COMFORT)), other)


def _status(easy: Verdict | None, keeping: Verdict, breaking: Verdict) -> Status:
    if keeping.status is Status.PASS or (easy is not None and easy.status is Status.PASS):
        return Status.PASS
    if breaking.status is Status.FAIL and (easy is None or easy.status is Status.FAIL):
        return Status.FAIL
    others = {verdict.status for verdict in (keeping, breaking, easy) if verdict is not None}
    return next(
        (status for status in (Status.NOT_JUDGED, Status.INVALID) if status in others), Status.INCONCLUSIVE
    )


def _reason(
    criterion: Criterion,
    verdict: Verdict,
    keeping: Verdict,
    base: Verdict,
    there: str,
    status: Status,
    easy: Verdict | None,
    breaking: Verdict,
) -> str:
    if status in {Status.INVALID, Status.NOT_JUDGED}:
        return next(
            each.reason for each in (keeping, breaking, easy) if each is not None and each.status is status
        )
    unit = criterion.measure.unit
    assert base.measured is not None
    then = f"{format_quantity(base.measured, unit)} {there}"
    name = f"{criterion.measure.statistic} {criterion.measure.name}".strip()
    if keeping.measured is None or verdict.measured is None or verdict.interval is None:
        return f"{undefined(criterion, 1 - (criterion.measure.quantile or 0.0))}; it was {then}."
    low, high = (format_quantity(bound, Unit.TIMES) for bound in verdict.interval)
    said = (
        f"{name} was {format_quantity(keeping.measured, unit)}, {format_quantity(verdict.measured, Unit.TIMES)} "
        f"the {then} (between {low} and {high} with 95 % confidence)"
    )
    limit = format_quantity(criterion.limit, Unit.TIMES)
    if status is Status.PASS and keeping.status is not Status.PASS:
        assert criterion.reference is not None
        assert criterion.reference.or_limit is not None
        return f"{said}; it is below {format_quantity(criterion.reference.or_limit, unit)} with 95 % confidence, which is enough."
    if status is Status.INCONCLUSIVE:
        return f"{said}, which includes the limit of {limit}; {_more(keeping)}."
    return f"{said}; the limit is {limit}."


def _more(verdict: Verdict) -> str:
    """What an inconclusive verdict says would decide it, or why it is one."""
    return verdict.reason.rpartition("; ")[2].rstrip(".")


def _told(
    criterion: Criterion, run: Run, verdict: Verdict, status: Status, reason: str, *sources: Verdict
) -> Verdict:
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
            "here": {
                "measured": sources[0].measured,
                "limit": sources[0].limit,
                "interval": sources[0].interval,
            },
            "there": {
                "measured": sources[-1].measured,
                "interval": sources[-1].interval,
                "run": sources[-1].run,
            },
        },
    )
