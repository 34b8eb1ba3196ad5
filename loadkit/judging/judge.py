"""Compute a criterion's verdict from a run's evidence; too little evidence never passes.

A criterion is examined once on the run's steady window, by the rules of its family (`families`).
Then the run's circumstances are considered (`circumstances`). Was the run cut short? Did it hold
its users? Did it drift? Was the load generator overloaded? Did a journey itself fail? Each of them
can revoke a pass, and missing data never passes. If an emergency stop ended the load because the
service collapsed, the collapse can decide (`collapse`). Finally, a fail becomes invalid if the
relay of the regions (`relays_fault`), a fault of the generator (`generators_fault`) or a busy
machine (`contended`) explains it.
"""

from dataclasses import replace

from loadkit.criterion import Criterion, Family
from loadkit.judging.circumstances import (
    collapsed,
    cut_short,
    mistaken,
    no_window,
    unjudgeable,
    weighed,
)
from loadkit.judging.collapse import last_seconds
from loadkit.judging.contended import contended
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules, rules_of
from loadkit.judging.finding import Finding, as_sentence
from loadkit.judging.generators_fault import check_accounts, check_generator_fault
from loadkit.judging.relays_fault import check_relay_fault
from loadkit.units import format_seconds
from loadkit.verdict import Status, Verdict, Window

__all__ = ["judge"]


def judge(criterion: Criterion, evidence: Evidence) -> Verdict:
    """The verdict of a run on a criterion. For two loads see `loadkit.analysis.comparison`."""
    rules = rules_of(criterion.measure.family)
    stated, criterion = criterion, evidence.as_measured(criterion)
    finding, window = _examined(criterion, evidence, rules)
    finding = replace(finding, window=finding.window or window)
    finding = check_relay_fault(
        criterion, evidence, rules, finding, lambda eased: _examined(eased, evidence, rules)[0]
    )
    finding = check_generator_fault(criterion, evidence, finding)
    finding = check_accounts(criterion, evidence, rules, finding)
    finding = contended(criterion, evidence, rules, finding)
    finding = _with_unseen(mistaken(criterion, evidence, rules, finding))
    if criterion is not stated:
        finding = _by_another_time(stated, criterion, finding)
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
        window=finding.window,
        run=evidence.run.id,
        rehearsed=evidence.run.plan.rehearsed,
        censored=finding.censored,
        warnings=finding.warnings,
        details=finding.details,
    )


def _by_another_time(stated: Criterion, criterion: Criterion, finding: Finding) -> Finding:
    """State that another time is judged than the sentence names, as the environment states."""
    named, judged = stated.measure.name, criterion.measure.name
    return replace(
        finding,
        reason=f"{finding.reason}; {named} is judged on the {judged} here, as the environment states",
        details={**finding.details, "judged_on": judged},
    )


def _with_unseen(finding: Finding) -> Finding:
    """Add to a pass how rare a problem can be that the window did not contain.

    If random events occur once in a third of the window on average, the window contains none with a
    probability of 5 % (e⁻³).
    """
    if finding.status is not Status.PASS or finding.window is None:
        return finding
    every = format_seconds(finding.window.seconds / 3)
    unseen = (
        f"{format_seconds(finding.window.seconds)} were judged: a problem that occurs less often than every {every} "
        "may not have occurred in this time"
    )
    return replace(finding, details={**finding.details, "not_seen": unseen})


def _examined(criterion: Criterion, evidence: Evidence, rules: FamilyRules) -> tuple[Finding, Window | None]:
    """The finding, after the circumstances of its ground are considered, and its steady window."""
    if rules.basis is Basis.TIMELINE:
        case = Case(criterion, evidence, evidence.whole)
        found = rules.find(case)
        # The other families on this basis consider the end of the run themselves.
        if rules.family == Family.RECOVERY:
            found = cut_short(replace(case, window=found.window or case.window), rules, found)
        return found, None
    return _on_steady_window(criterion, evidence, rules)


def _on_steady_window(
    criterion: Criterion, evidence: Evidence, rules: FamilyRules
) -> tuple[Finding, Window | None]:
    timing = criterion.measure.timing
    run, window = evidence.run, evidence.window_for(timing)
    case = Case(criterion, evidence, window or evidence.whole, rules.corrects(timing))
    finding = unjudgeable(case, rules) or no_window(run, window)
    if finding is None:
        finding = cut_short(case, rules, weighed(case, rules))
    if finding.status is Status.INCONCLUSIVE:
        window = window or last_seconds(run)
        if (found := collapsed(case, rules)) is not None:
            finding = cut_short(replace(case, window=found.window or case.window), rules, found)
    return finding, window
