"""What watched the service is asked after the load; the run stands whatever it answers."""

from dataclasses import replace

import numpy as np
import pytest

from loadkit import grammar
from loadkit.engine.observing import observe
from loadkit.judging.evidence import Evidence
from loadkit.judging.judge import judge
from loadkit.observers.fake import FakeObserver
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.recording.run import Event
from loadkit.verdict import Status
from tests.builders import plan_of, run_of, samples_of

START = 1_700_000_000.0


def scraped(name: str, first: int, last: int) -> Observation:
    times = START + np.arange(first, last)
    series = Series("metrics-1", times, np.full(len(times), 0.5))
    return Observation(name, Reading.GAUGE, "ratio", (series,), 1.0)


def a_run(**changes):
    starts = np.arange(600) / 10
    return run_of(samples_of(starts, np.full(600, 0.01)), plan_of(60, level=10), **changes)


def test_a_run_is_observed_from_its_start_to_its_end() -> None:
    run, observer = a_run(), FakeObserver({"CPU utilization": scraped("CPU utilization", -2, 60)})
    observe(run, observer)
    assert observer.spans == [(START, START + 60)]
    assert run.observations == observer.observations
    assert run.warnings == ()


def test_an_instance_that_ended_before_the_run_does_not_count() -> None:
    usual = scraped("CPU utilization", -2, 60)
    ended = Series("metrics-0", START - np.array([25.0, 20.0]), np.array([0.5, 0.5]))
    both = replace(usual, series=(*usual.series, ended))
    run = a_run()
    observe(run, FakeObserver({both.name: both}))
    criterion = grammar.criterion("CPU utilization stays below 70% on every instance")
    verdict = judge(criterion, Evidence(run))
    assert verdict.status is Status.PASS, verdict.reason
    just_before = a_run()
    died = replace(ended, times=START - np.array([1.5, 0.5]))
    observe(just_before, FakeObserver({both.name: replace(usual, series=(*usual.series, died))}))
    assert len(just_before.observations[both.name].series) == 2, "it may have ended in the run"
    replaced = a_run()
    newer = replace(usual.series[0], times=usual.series[0].times[2:], values=usual.series[0].values[2:])
    observe(replaced, FakeObserver({both.name: replace(usual, series=(newer, died))}))
    assert len(replaced.observations[both.name].series) == 1, "another instance has replaced it"
    gone = a_run()
    observe(gone, FakeObserver({both.name: replace(usual, series=(ended,))}))
    assert judge(criterion, Evidence(gone)).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"series": (), "problem": "Prometheus has no samples for process_start"},
            "Prometheus has no samples for process_start",
        ),
        ({"warnings": ("store-2 is unavailable",)}, "store-2 is unavailable"),
    ],
)
def test_restarts_that_could_not_be_seen_are_one_warning_of_the_run(changes, why) -> None:
    run = a_run()
    seen = replace(scraped("restarts", -2, 60), **changes)
    observe(run, FakeObserver({"restarts": seen, "CPU utilization": replace(seen, name="CPU utilization")}))
    assert run.warnings == (f"restarts of instances may have been missed: {why}",)


def test_restarts_that_were_watched_are_no_warning() -> None:
    run = a_run()
    observe(run, FakeObserver({"restarts": scraped("restarts", -2, 60)}))
    assert run.warnings == ()


def test_an_instance_that_went_with_the_plans_action_has_a_life_of_its_own() -> None:
    run = a_run(events=(Event(20.0, "an instance is killed"),))
    observe(run, FakeObserver({"CPU utilization": scraped("CPU utilization", -2, 30)}))
    assert run.observations["CPU utilization"].lifespans == {"metrics-1": (START, START + 29)}


@pytest.mark.parametrize(
    "sentence",
    [
        "CPU utilization stays below 70% on every instance",
        'the Prometheus query "up" is above 0',
        'the "Slow" alert fires within 10 s',
    ],
)
def test_an_observer_that_fails_costs_no_run_and_what_it_was_to_see_is_inconclusive_and_says_why(
    sentence: str,
) -> None:
    criterion, run = grammar.criterion(sentence), a_run()
    name = grammar.observed_as(criterion.measure) if "alert" in sentence else criterion.measure.name
    observer = FakeObserver({name: scraped(name, -2, 60)}, fails=KeyError("p99"))
    observe(run, observer)
    (warning,) = run.warnings
    assert warning.startswith("the observer failed: KeyError: 'p99' (fake.py, line ")
    verdict = judge(criterion, Evidence(run))
    assert verdict.status is Status.INCONCLUSIVE
    assert warning in verdict.reason
    assert judge(grammar.criterion("p95 is below 1 s"), Evidence(run)).status is Status.PASS
