"""No instance restarts unasked."""

import numpy as np

from loadkit.judging.restarts import unasked_restarts
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.recording.run import Event
from loadkit.verdict import Status
from tests.builders import plan_of, run_of

START = 1_700_000_000.0


def scraped(*spans: tuple[int, int], restarted: float | None = None) -> Observation:
    """Instances scraped once a second from one second of the run to another; the first may restart."""
    series = []
    for number, (first, last) in enumerate(spans):
        times = START + np.arange(first, last)
        values = np.full(len(times), START - 60)
        if restarted is not None and number == 0:
            values[times >= START + restarted] = START + restarted
        series.append(Series(f"metrics-{number + 1}", times, values))
    return Observation("restarts", Reading.GAUGE, "", tuple(series), 1.0)


def run_with(observation: Observation | None, *events: Event):
    return run_of([], plan_of(60), observations=[observation] if observation else [], events=events)


def test_an_instance_that_restarts_unasked_fails_and_is_named():
    verdict = unasked_restarts(run_with(scraped((-2, 60), (-2, 60), restarted=30)))
    assert verdict is not None
    assert (verdict.status, verdict.measured) == (Status.FAIL, 1.0)
    assert verdict.reason == "Restarted unasked: metrics-1 after 30 s."


def test_instances_that_stay_and_runs_that_nobody_watched_say_nothing():
    assert unasked_restarts(run_with(scraped((-2, 60)))) is None
    assert unasked_restarts(run_with(None)) is None


def test_a_restart_before_the_load_is_none_of_its_business():
    assert unasked_restarts(run_with(scraped((-9, 60), restarted=-5))) is None


def test_the_plans_own_kill_excuses_one_restart_after_it_and_none_before():
    kill = Event(20.0, "an instance is killed")
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=30), kill)) is None
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=10), kill)) is not None
    failed = Event(20.0, "an instance is killed", failed="no")
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=30), failed)) is not None


def test_a_scrape_without_a_value_is_no_restart():
    observation = scraped((-2, 60))
    observation.series[0].values[30] = np.nan
    assert unasked_restarts(run_with(observation)) is None


def test_one_kill_excuses_no_second_restart():
    observation = scraped((-2, 60), restarted=30)
    observation.series[0].values[observation.series[0].times >= START + 45] = START + 45
    verdict = unasked_restarts(run_with(observation, Event(20.0, "an instance is killed")))
    assert verdict is not None
    assert verdict.reason == "Restarted unasked: metrics-1 after 45 s."
