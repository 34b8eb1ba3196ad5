"""Judge the service's own alerts during the load."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Measure, Unit
from loadkit.grammar import observed_as
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.finding import Finding
from loadkit.judging.readings import coverage_of, partly_answered
from loadkit.observers.observation import LIFE_SIGN, Observation
from loadkit.recording.run import Run
from loadkit.units import format_seconds
from loadkit.verdict import Status, Window
from loadkit.workload.phases import disturbance

__all__ = ["expected_since", "find_alert", "queries_of", "samples_apart"]

_SELDOM = 120.0
"""Rules are evaluated at least this often (seconds). Samples that are further apart are from an alert
that stopped firing in between."""


def queries_of(measure: Measure) -> tuple[str, ...]:
    """The queries that the observer must run."""
    return (observed_as(measure),)


def find_alert(case: Case) -> Finding:
    """Judge "the … alert fires within …" and "no alert fires".

    In the first sentence, the time counts from the last action. Without an action, it counts from
    the end or the start of the highest load. The second sentence covers everything after the first
    ramp. An alert fires when its ``ALERTS`` series has a sample.
    """
    criterion, run = case.criterion, case.evidence.run
    observation = run.observations.get(observed_as(criterion.measure))
    if observation is None:
        return Finding(Status.NOT_JUDGED, "the alerts of this run were not observed")
    failed = next((event for event in run.events if event.failed), None)
    if failed is not None:
        return Finding(Status.NOT_JUDGED, f'"{failed.what}" could not be carried out: {failed.failed}')
    is_none = criterion.unit is Unit.NUMBER
    found, where = (_none_fires if is_none else _fires)(criterion, run, observation)
    # An alert that fired is a fact, also if a rule failed, or if another server evaluates the rules.
    is_fact = found.status is (Status.FAIL if is_none else Status.PASS)
    if observation.problem and not is_fact:
        return Finding(Status.INCONCLUSIVE, f"the alerts were not observed: {observation.problem}")
    found = replace(found, window=where)
    # Without the stated load, an alert that is absent or late shows nothing. Any other alert that
    # fired is a fact.
    if found.status is (Status.PASS if is_none else Status.FAIL):
        return _under_load(case.evidence, found, where)
    return found


def expected_since(run: Run) -> tuple[float, str]:
    """The second of the run from which an alert's time to fire counts, and what happened then."""
    cause, hold = disturbance(run.plan), run.plan.workload.hold
    if cause is None:
        return (hold.start if hold else 0.0), "the load was there"
    return max([cause.at, *(event.at for event in run.events)]), cause.what


def _under_load(evidence: Evidence, found: Finding, where: Window) -> Finding:
    """Check a finding that no alert fired, or not in time: without the stated load, it is invalid."""
    loaded, overload = evidence.loaded_part(where), evidence.health(where).sentence_with_seconds
    # Missing load can be the reason why an expected alert did not fire in time. So a fail stands
    # only under load in the whole window.
    is_missing = not loaded.seconds or (found.status is Status.FAIL and loaded != where)
    if reason := evidence.unlike_load(where) or (overload if is_missing else ""):
        return found.become(Status.INVALID, reason)
    if loaded == where:
        return found
    reason = f"no alert fired; the stated load was there for {format_seconds(loaded.seconds)} at a stretch"
    return replace(found, reason=reason, samples=loaded.seconds, window=loaded).warned(overload)


def _fires(criterion: Criterion, run: Run, observation: Observation) -> tuple[Finding, Window]:
    alert, limit = criterion.measure.name, criterion.limit
    start, since = expected_since(run)
    end = min(start + limit, run.ended_at)
    where = Window(int(start), max(1, int(np.ceil(end)) - int(start)), f"after {since}")
    begin = run.started + start
    times = [one.times for one in observation.series if one.instance.split(",")[0] == alert]
    firing = np.sort(np.concatenate([np.empty(0), *times]))
    apart = max((samples_apart(each, observation.scrape_interval) for each in times), default=0.0)
    earlier = firing[(firing < begin) & (firing > begin - apart)]
    if len(earlier):
        return Finding(Status.INCONCLUSIVE, f'the "{alert}" alert was firing already before {since}'), where
    later = firing[firing >= begin]
    if len(later):
        seconds = float(later[0] - begin)
        return Finding(
            Status.PASS if seconds <= limit else Status.FAIL,
            f'the "{alert}" alert fired {format_seconds(seconds)} after {since}; the limit is {format_seconds(limit)}',
            seconds,
            samples=len(later),
        ), where
    if run.ended_at < start + limit:
        short = format_seconds(start + limit - run.ended_at)
        return Finding(
            Status.INCONCLUSIVE,
            f'the "{alert}" alert had not fired when the load ended; {short} more would decide it',
        ), where
    if problem := _stall(observation, begin, run.started + end):
        return Finding(Status.INCONCLUSIVE, f"the alerts cannot be judged: {problem}"), where
    return Finding(
        Status.FAIL, f'the "{alert}" alert did not fire within {format_seconds(limit)} after {since}'
    ), where


def _none_fires(_: Criterion, run: Run, observation: Observation) -> tuple[Finding, Window]:
    stages = run.plan.workload.phases()
    start = next((phase.start for phase in stages if phase.is_constant), stages[0].end)
    where = Window(int(start), max(1, int(run.ended_at) - int(start)), "after the first ramp")
    begin, end = run.started + start, run.started + run.ended_at
    fired = sorted(
        {
            one.instance.split(",")[0]
            for one in observation.series
            if one.instance != LIFE_SIGN and ((one.times >= begin) & (one.times <= end)).any()
        }
    )
    count = float(len(fired))
    if fired:
        named = ", ".join(f'"{name}"' for name in fired)
        return Finding(
            Status.FAIL, f"{named} fired while the load was on", count, samples=where.seconds
        ), where
    if problem := _stall(observation, begin, end):
        return Finding(Status.INCONCLUSIVE, f"the alerts cannot be judged: {problem}"), where
    if not run.is_complete:
        return Finding(
            Status.INCONCLUSIVE, f"no alert fired before the run was cut short ({run.ended})"
        ), where
    return Finding(
        Status.PASS,
        f"no alert fired in {format_seconds(where.seconds)} of load",
        count,
        samples=where.seconds,
    ), where


def samples_apart(times: npt.NDArray[np.float64], interval: float) -> float:
    """Seconds between two samples of an alert (Unix seconds) above which it stopped firing.

    Rules can be evaluated less often than targets are scraped, every `interval` seconds.
    """
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return max(2 * max(interval, 1.0), 1.5 * min(usual, _SELDOM))


def _stall(observation: Observation, begin: float, end: float) -> str:
    """The reason why the absence of an alert shows nothing: a gap of the source; "" if none."""
    if observation.warnings:
        return partly_answered(observation)
    alive = next((one.times for one in observation.series if one.instance == LIFE_SIGN), np.empty(0))
    interval = observation.scrape_interval
    near = alive[(alive >= begin - interval) & (alive <= end + interval)]
    return coverage_of(near, begin, end, interval).problem
