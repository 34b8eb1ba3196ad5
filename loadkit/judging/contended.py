"""Findings on a machine that was busy with other work, or too small for the load and the service.

A fail becomes invalid if a cause of delay outside the service (`machine`) could explain it:

- The criterion is judged again without the seconds that had a cause, and without the five seconds
  after each of them. If it still fails, the fail stands. Gauges and probes are judged on the
  longest stretch of the other seconds. At least ten seconds must be left.
- A fail that a slow machine cannot cause stands. One example is a count that must be zero. Another
  is too many failures that do not come from waiting. A third is a measure of processor time,
  because a full machine gives a process less of it. Time-outs come from waiting, and so do clients
  that are not back. Closed connections, the statuses 408, 502, 503 and 504, and failed steps of a
  workflow come from waiting if they took a second or more. Wrong answers and refusals do not.
- A fail of "no alert fires" stands if an alert fired more than a minute after the last cause. A
  fail because an alert did not fire always stands.
- A fail of a recovery stands if it remains when all five-second windows near a cause count as good.
- A fail of reconnections stands if it remains without the clients that dropped near a cause.

All other statuses remain. A pass was reached although the machine was busy. An invalid finding gets
the cause in its reason.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Unit
from loadkit.grammar import observed_as
from loadkit.judging.alerts import samples_apart
from loadkit.judging.collapse import collapse_of, last_seconds
from loadkit.judging.connections import fails_without_causes
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules
from loadkit.judging.finding import Finding
from loadkit.judging.machine import Contention
from loadkit.judging.spells import is_over_beside
from loadkit.judging.window import longest_part
from loadkit.observers.observation import LIFE_SIGN, Observation, Reading
from loadkit.recording.histogram import index
from loadkit.recording.messages import NOT_BACK
from loadkit.recording.slices import Kind
from loadkit.recording.timing import timing_of
from loadkit.recording.traffic import TIMEOUTS, series_of
from loadkit.verdict import Status

__all__ = ["contended", "stands"]

_LEAST_SECONDS = 10
"""The fewest seconds without a cause on which a fail can stand."""
_LEAST_SHARE = 0.05
"""A cause in a smaller share of the window gives no warning if it does not change the verdict."""
_WAITED = {*TIMEOUTS, "dropped", "no socket", "statement timeout (57014)", "unfinished", NOT_BACK}
"""Failures that come from waiting."""
_MAY_HAVE_WAITED = {"closed", "reset", "status 408", "status 502", "status 503", "status 504"}
"""Failures that come from waiting if they took `_LONG` or more. A slow machine causes no others."""
_STEP_FAILED = "step failed: "
"""The start of the failures of workflows, which may have waited too. The rest is the step."""
_LONG = 1.0
"""Seconds. A failure that took less time is a refusal."""
_LOOKS_BACK = 60
"""Seconds after a cause in which it can make an alert fire: alert rules look back, and wait."""

Booleans = npt.NDArray[np.bool_]


def contended(criterion: Criterion, evidence: Evidence, rules: FamilyRules, finding: Finding) -> Finding:
    """The finding after the machine is considered; see the module for the rule."""
    window = finding.window
    if window is None or finding.status is Status.NOT_JUDGED:
        return finding
    found = evidence.contention(window)
    if found is None:
        return finding
    details = {**finding.details, "machine": dict(found.figures)}
    if finding.status is Status.INVALID:
        return replace(finding, reason=f"{found.sentence}; {finding.reason}", details=details)
    if finding.status is Status.FAIL:
        finding = replace(finding, details=details)
        case = Case(criterion, evidence, window, rules.corrects(criterion.measure.timing))
        if stands(case, rules, found):
            return finding.warned(f"{found.sentence}; this does not explain the fail")
        advice = f"; {found.advice}" if found.advice else ""
        return finding.become(Status.INVALID, f"{found.sentence}, which may be why {finding.reason}{advice}")
    if found.seconds.mean() < _LEAST_SHARE:
        return finding
    return replace(finding, details=details).warned(found.sentence)


def stands(case: Case, rules: FamilyRules, found: Contention) -> bool:
    """Does a fail stand in spite of the causes of delay outside the service?"""
    if not rules.is_slowed_by_machine:
        return True
    if case.criterion.measure.family == Family.RECOVERY:
        return rules.find(replace(case, kept=~found.after)).status is Status.FAIL
    if case.criterion.measure.family == Family.ALERT:
        return _fires_without(case, found)
    if case.criterion.measure.family == Family.RECONNECTION:
        return fails_without_causes(case, found.after)
    if rules.basis is Basis.SERVICE:
        return _fails_in_the_longest_stretch(case, rules, found)
    if rules.basis is not Basis.OPERATIONS:
        return False
    if _has_enough_unexplained_failures(case):
        return True
    if case.window == last_seconds(case.evidence.run):
        return not found.after.all() and collapse_of(case, found.after) is not None
    return _fails_without(case, rules, found)


def _fails_without(case: Case, rules: FamilyRules, found: Contention) -> bool:
    rest = ~found.after
    if case.criterion.comparison.holds_always and is_over_beside(rules.find(case).details, found.after):
        return True
    if rest.sum() < _LEAST_SECONDS:
        return False
    case = case.only(rest)
    return bool(case.traffic.size) and rules.find(case).status is Status.FAIL


def _fails_in_the_longest_stretch(case: Case, rules: FamilyRules, found: Contention) -> bool:
    """Does a measure of the service fail in the longest stretch of seconds without a cause?"""
    observation = case.evidence.run.observations.get(case.criterion.measure.name)
    if observation is not None and _is_processor_time(observation) and case.criterion.comparison.is_upper:
        return True
    longest = longest_part(case.window, ~found.after)
    if longest.seconds < _LEAST_SECONDS:
        return False
    return rules.find(replace(case, window=longest)).status is Status.FAIL


def _is_processor_time(observation: Observation) -> bool:
    """Is a measure seconds per second of a number of processors?"""
    return (
        observation.reading is Reading.COUNTER
        and observation.unit == Unit.RATIO
        and observation.capacity_reading is Reading.GAUGE
    )


def _has_enough_unexplained_failures(case: Case) -> bool:
    """Do the failures that a slow machine cannot cause violate the criterion by themselves?"""
    criterion, run, window = case.criterion, case.evidence.run, case.window
    if criterion.measure.family == Family.ERROR_RATE:
        allowed = criterion.limit
    elif criterion.measure.family == Family.AVAILABILITY:
        allowed = 1 - criterion.limit
    elif criterion.measure.quantile is not None and criterion.comparison.is_upper:
        allowed = 1 - criterion.measure.quantile
    elif criterion.measure.family == Family.THROUGHPUT and not criterion.comparison.is_upper:
        allowed = math.nan  # without these failures the throughput would have sufficed
    else:
        return False
    series = series_of(criterion.scope, run, timing_of(case.timing))
    _, outcome, bucket, count = run.table.select(Kind.RESPONSE, series, window.start, window.end)
    names = dict(enumerate(run.table.outcomes))
    waited = [number for number, name in names.items() if name in _WAITED]
    may_have_waited = [
        number for number, name in names.items() if name in _MAY_HAVE_WAITED or name.startswith(_STEP_FAILED)
    ]
    is_explained = np.isin(outcome, waited) | (np.isin(outcome, may_have_waited) & (bucket >= index(_LONG)))
    unexplained = float(count[(outcome != 0) & ~is_explained].sum())
    if math.isnan(allowed):
        succeeded, needed = float(count[outcome == 0].sum()), criterion.limit * window.seconds
        # These failures make the difference: neither the successes nor what waited would do.
        return float(count.sum()) - unexplained < needed <= succeeded + unexplained
    return unexplained > allowed * max(1.0, float(count.sum()))


def _fires_without(case: Case, found: Contention) -> bool:
    """Did an alert fire that no cause explains, or did an expected alert not fire?"""
    observation = case.evidence.run.observations.get(observed_as(case.criterion.measure))
    if observation is None or case.criterion.unit is not Unit.NUMBER:
        return True
    begin = case.evidence.run.started + case.window.start
    causes = begin + np.flatnonzero(found.seconds)
    for series in observation.series:
        inside = series.times[(series.times >= begin) & (series.times <= begin + case.window.seconds)]
        if series.instance == LIFE_SIGN:
            continue
        gap = samples_apart(inside, observation.scrape_interval)
        for start in inside[np.diff(inside, prepend=-np.inf) > gap]:
            if not ((causes <= start) & (causes >= start - _LOOKS_BACK)).any():
                return True
    return False
