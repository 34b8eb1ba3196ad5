"""From a criterion and a run's evidence to a verdict: right, or saying that it cannot know.

A criterion is examined once on the run's steady window, in the way of its family (`families`). What
was found is then weighed against the run's own circumstances (`circumstances`): was it cut short,
did it hold its users, did it drift, was the load generator at fault? Each can take a pass back;
missing data never passes. A load that was stopped because the service collapsed shows that too
(`collapse`).
"""

from loadkit.criterion import Criterion
from loadkit.judging.circumstances import collapsed, cut_short, no_window, unjudgeable, weighed
from loadkit.judging.collapse import last_seconds
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import FamilyRules, Ground, rules_of
from loadkit.judging.finding import Finding, as_sentence
from loadkit.verdict import Status, Verdict, Window

__all__ = ["judge"]


def judge(criterion: Criterion, evidence: Evidence) -> Verdict:
    """What a run says of a criterion. For two loads see `loadkit.analysis.comparison`."""
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
    case = Case(criterion, evidence, window or evidence.whole, rules.corrects_omission)
    finding = unjudgeable(case, rules) or no_window(run, window)
    if finding is None:
        finding = cut_short(run, case.window, weighed(case, rules))
    if finding.status is Status.INCONCLUSIVE:
        window = window or last_seconds(run)
        if (found := collapsed(case, rules)) is not None:
            finding = cut_short(run, found.window or case.window, found)
    return finding, window
