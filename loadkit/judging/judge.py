"""From a criterion and a run's evidence to a verdict: right, or saying that it cannot know.

A criterion is examined once on the run's steady window, in the way of its family (`families`). What was found is then
weighed against the run's own circumstances (`circumstances`): was it cut short, did it hold its users, did it drift, was
the load generator at fault? Each can take a pass back; missing data never passes.
"""

from dataclasses import replace

from loadkit.criterion import Criterion, Family
from loadkit.judging.circumstances import cut_short, no_window, unjudgeable, weighed
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import FamilyRules, Ground, rules_of
from loadkit.judging.finding import Finding, as_sentence
from loadkit.recording.ending import EndingKind
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict, Window

__all__ = ["judge"]

_EMERGENCY_SECONDS = 10


def judge(criterion: Criterion, evidence: Evidence) -> Verdict:
    """What a run says of a criterion; of one that compares two loads see `loadkit.analysis.comparison`."""
    rules = rules_of(criterion.measure.family)
    if rules.ground is Ground.TIMELINE:
        finding, window = rules.find(Case(criterion, evidence, evidence.whole)), None
    else:
        finding, window = _on_steady_window(criterion, evidence, rules)
    return Verdict(
        criterion=criterion.sentence,
        status=finding.status,
        reason=as_sentence(finding.reason),
        measured=finding.measured,
        limit=criterion.limit,
        unit=criterion.unit,
        interval=finding.interval,
        samples=finding.samples,
        effective_samples=finding.effective_samples,
        window=finding.window or window,
        run=evidence.run.id,
        rehearsed=evidence.run.plan.rehearsed,
        censored=finding.censored,
        warnings=finding.warnings,
        details=finding.details,
    )


def _on_steady_window(
    criterion: Criterion, evidence: Evidence, rules: FamilyRules
) -> tuple[Finding, Window | None]:
    run, window = evidence.run, evidence.window
    is_stopped = run.ended.kind is EndingKind.EMERGENCY_STOP
    if window is None and is_stopped:
        window = _remnant(run, _EMERGENCY_SECONDS)
    case = Case(criterion, evidence, window or evidence.whole, rules.corrects_omission)
    unjudged = unjudgeable(case, rules) or no_window(run, window)
    if unjudged is not None:
        return unjudged, window
    assert window is not None
    finding = cut_short(run, window, weighed(case, rules))
    if is_stopped and finding.status is Status.INCONCLUSIVE and criterion.measure.family != Family.GAUGE:
        longest, shortest = _EMERGENCY_SECONDS + int(run.plan.timeout), _EMERGENCY_SECONDS // 2
        for seconds in range(longest, shortest - 1, -1):
            remnant = _remnant(run, seconds)
            last = cut_short(run, remnant, weighed(replace(case, window=remnant), rules))
            if last.status is Status.FAIL:
                return last, remnant
    return finding, window


def _remnant(run: Run, seconds: int) -> Window:
    """The last seconds of a run that was stopped."""
    end = int(run.ended_at)
    return Window(max(0, end - seconds), min(end, seconds), "until the emergency stop")
