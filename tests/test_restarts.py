"""No instance restarts unasked."""

from dataclasses import replace

import numpy as np

from loadkit.judging.restarts import unasked_restarts
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.recording.run import Event
from loadkit.verdict import Status
from tests.builders import plan_of, run_of

START = 1_700_000_000.0
KILL = Event(20.0, "an instance is killed", restarts=1)


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


def run_with(observation: Observation | None, *events: Event, seconds: int = 60):
    return run_of([], plan_of(seconds), observations=[observation] if observation else [], events=events)


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


def test_a_restart_before_the_load_that_a_later_scrape_shows_is_none_of_its_business():
    """Scrapes are 15 s apart: the last one before the restart is at -12 s, the first one after it at 3 s."""
    times = START + np.array([-27.0, -12.0, 3.0, 18.0, 33.0, 48.0])
    for born, is_asked in ((-10.0, True), (2.0, False)):
        births = np.where(times > START + born, START + born, START - 86_400)
        series = (Series("metrics-1", times, births),)
        verdict = unasked_restarts(run_with(Observation("restarts", Reading.GAUGE, "", series, 15.0)))
        assert (verdict is None) is is_asked


def test_the_plans_own_kill_excuses_one_restart_after_it_and_none_before():
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=30), KILL)) is None
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=10), KILL)) is not None
    failed = replace(KILL, failed="no")
    assert unasked_restarts(run_with(scraped((-2, 60), restarted=30), failed)) is not None


def test_an_action_restarts_no_instance_that_started_before_it_although_a_scrape_shows_both_later():
    times = START + np.array([3.0, 18.0, 33.0, 48.0])
    births = {
        name: np.where(times > START + 20, START + born, START - 60)
        for name, born in (("metrics-1", 15.0), ("metrics-2", 22.0))
    }
    series = tuple(Series(name, times, each) for name, each in births.items())
    for seen in (series, series[:1]):
        verdict = unasked_restarts(run_with(Observation("restarts", Reading.GAUGE, "", seen, 15.0), KILL))
        assert verdict is not None
        assert verdict.reason == "Restarted unasked: metrics-1 after 33 s."
    assert (
        unasked_restarts(run_with(Observation("restarts", Reading.GAUGE, "", series[1:], 15.0), KILL)) is None
    )


def test_a_scrape_without_a_value_is_no_restart():
    observation = scraped((-2, 60))
    observation.series[0].values[30] = np.nan
    assert unasked_restarts(run_with(observation)) is None


def test_one_kill_excuses_no_second_restart():
    observation = scraped((-2, 60), restarted=30)
    observation.series[0].values[observation.series[0].times >= START + 45] = START + 45
    verdict = unasked_restarts(run_with(observation, KILL))
    assert verdict is not None
    assert verdict.reason == "Restarted unasked: metrics-1 after 45 s."


def test_an_action_that_restarts_no_instance_excuses_no_restart():
    emptied = Event(20.0, "the cache is emptied")
    verdict = unasked_restarts(run_with(scraped((-2, 60), restarted=30), emptied))
    assert verdict is not None
    assert verdict.reason == "Restarted unasked: metrics-1 after 30 s."


def test_an_action_excuses_restarts_only_until_a_minute_after_its_end():
    for restarted, is_asked in ((80, True), (110, True), (112, False)):
        observation = scraped((-2, 200), restarted=restarted)
        deployed = replace(KILL, seconds=30.0)
        verdict = unasked_restarts(run_with(observation, deployed, seconds=200))
        assert (verdict is None) == is_asked, restarted


def test_an_action_excuses_as_many_restarts_as_it_makes():
    observation = scraped((-2, 60), (-2, 60), (-2, 60))
    for number, series in enumerate(observation.series):
        series.values[series.times >= START + 25 + 5 * number] = START + 25 + 5 * number
    assert unasked_restarts(run_with(observation, replace(KILL, restarts=3))) is None
    verdict = unasked_restarts(run_with(observation, replace(KILL, restarts=2)))
    assert verdict is not None
    assert verdict.reason == "Restarted unasked: metrics-3 after 35 s."


def test_a_restart_that_two_actions_could_have_made_leaves_the_later_one_to_another():
    observation = scraped((-2, 200), (-2, 200))
    for series, restarted in zip(observation.series, (75, 130), strict=True):
        series.values[series.times >= START + restarted] = START + restarted
    later = replace(KILL, at=72.0)
    assert unasked_restarts(run_with(observation, later, KILL, seconds=200)) is None
