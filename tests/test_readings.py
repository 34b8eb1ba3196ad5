"""The readings of an instance: what scrapes say of which time."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison
from loadkit.judging.readings import lookback, points_of
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.verdict import Status
from tests.builders import gauge
from tests.scrapes import (
    MINUTES,
    NEVER,
    SLOW,
    START,
    busy,
    found,
    level,
    observed,
    pool_but,
    slowly,
)


@pytest.mark.parametrize("interval", [1.0, 15.0])
def test_a_counter_is_judged_by_its_increase_at_any_scrape_interval(interval):
    low = found(
        gauge(0.7), observed(busy(0.4, interval=interval), interval=interval, reading=Reading.COUNTER)
    )
    high = found(
        gauge(0.3), observed(busy(0.4, interval=interval), interval=interval, reading=Reading.COUNTER)
    )
    assert low.status is Status.PASS
    assert high.status is Status.FAIL
    assert low.measured == pytest.approx(0.4, abs=0.03)
    assert low.interval[0] < low.measured < low.interval[1]


def test_a_counter_is_taken_over_five_seconds_or_two_scrapes():
    fast = observed(busy(0.4), reading=Reading.COUNTER)
    slow = observed(busy(0.4, interval=15), interval=15.0, reading=Reading.COUNTER)
    assert points_of(fast, fast.series[0], START, START + 300).lengths == pytest.approx(5.0)
    assert points_of(slow, slow.series[0], START, START + 300).lengths == pytest.approx(30.0)


def test_a_counter_that_began_again_is_no_drop_and_is_told():
    values = busy(0.4, spread=0)
    values[150:] -= values[149]
    finding = found(gauge(0.7), observed(values, reading=Reading.COUNTER))
    assert finding.measured == pytest.approx(0.4, rel=0.01)
    observation = observed(values, reading=Reading.COUNTER)
    points = points_of(observation, observation.series[0], START, START + 300)
    assert points.values == pytest.approx(0.4, rel=0.01)
    assert any("was reset 1 times" in warning for warning in finding.warnings)


@pytest.mark.parametrize("interval", [1.0, 15.0])
@pytest.mark.parametrize("restart", [0.0, 90.0, 119.0])
def test_a_counter_that_restarts_above_zero_has_no_rate_there(interval, restart):
    values = busy(0.4, 600, interval, spread=0)
    half = len(values) // 2
    values[half:] += restart - values[half]
    observation = observed(values, interval=interval, reading=Reading.COUNTER)
    never = found(gauge(0.7, comparison=Comparison.NEVER_EXCEEDS), observation, 600)
    assert values[half] < values[half - 1]
    assert never.status is Status.PASS
    assert never.measured == pytest.approx(0.4)
    assert any("was reset 1 times" in warning for warning in never.warnings)


@pytest.mark.parametrize("reset", [1, 5, 9, 10, 11, 18])
def test_only_the_time_between_the_scrapes_around_a_reset_is_unseen(reset):
    values = busy(0.4, 300, SLOW, spread=0)
    values[reset:] -= values[reset]
    observation = observed(values, interval=SLOW, reading=Reading.COUNTER)
    points = points_of(observation, observation.series[0], START, START + MINUTES)
    before = START + SLOW * (reset - 1)
    assert points.unseen.tolist() == [[before, before + SLOW]]
    assert points.lengths.sum() == MINUTES - SLOW
    assert points.values == pytest.approx(0.4)
    assert found(gauge(0.7), observation).status is Status.PASS


def test_a_reading_before_a_reset_is_taken_over_two_scrapes_too():
    """One scrape interval is left there. Its increase counts once, and its rate is a usual one."""
    values = SLOW * np.array([0, 0, 0, 0, 0.8, 1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0], float).cumsum()
    values[6:] = 0
    observation = observed(values, interval=SLOW, reading=Reading.COUNTER)
    points = points_of(observation, observation.series[0], START, START + 14 * SLOW)
    assert points.lengths[:3].tolist() == [30, 30, 15]
    assert points.values[:3] == pytest.approx([0, 0.4, 0.9])
    assert points.parts[:3] == pytest.approx([0, 12, 15])


@pytest.mark.parametrize("phase", [1.0, 7.0, 14.0])
def test_the_last_seconds_of_a_run_count_in_a_counter(phase):
    """No scrape follows the end of a run, and the last of an odd number of intervals has no partner."""
    times = np.arange(phase - SLOW, 165, SLOW)
    busy_seconds = 0.6 * times + 0.4 * np.maximum(times - 137, 0)
    observation = observed(busy_seconds, interval=SLOW, reading=Reading.COUNTER)
    series = Series("metrics-1", START + times, busy_seconds)
    points = points_of(observation, series, START, START + 165)
    assert points.lengths.tolist() == [30, 30, 30, 30, 30, 15]
    above = 0.4 * np.maximum(times[-2:] - 137, 0) / 30
    assert points.values == pytest.approx([0.6, 0.6, 0.6, 0.6, *(0.6 + above)])
    observation = dataclasses.replace(observation, series=(series,))
    for comparison in (Comparison.IS_BELOW, Comparison.STAYS_BELOW):
        assert found(gauge(0.7, comparison=comparison), observation, 165).status is not Status.PASS
    assert found(NEVER, observation, 165).status is Status.FAIL


@pytest.mark.parametrize(("end", "last"), [(92, 90), (97, 90), (98, 105), (110, 120)])
def test_a_counter_is_read_up_to_the_scrape_nearest_to_the_end_of_the_window(end, last):
    observation = observed(busy(0.4, 300, SLOW), interval=SLOW, reading=Reading.COUNTER)
    points = points_of(observation, observation.series[0], START, START + end)
    assert points.lengths.sum() == last


def test_a_reset_of_what_a_share_is_of_gives_no_share_there():
    lookups = 100.0 * np.arange(301)
    lookups[150:] += 9_000 - lookups[150]
    hits = 90.0 * np.arange(301)
    whole = (Series("metrics-1", START + np.arange(301.0), lookups),)
    observation = observed(
        hits, reading=Reading.COUNTER, capacity=whole, capacity_reading=Reading.COUNTER, judged=Judged.MEAN
    )
    assert found(gauge(0.8, comparison=Comparison.IS_ABOVE), observation).measured == pytest.approx(0.9)


def test_an_instance_is_judged_over_its_own_life():
    short = Series("metrics-2", START + 200 + np.arange(101.0), busy(0.4, 100))
    observation = observed(busy(0.4), reading=Reading.COUNTER)
    observation = dataclasses.replace(
        observation,
        series=(*observation.series, short),
        lifespans={"metrics-2": (START + 200, START + 300)},
    )
    assert found(gauge(0.7), observation).status is Status.PASS


@pytest.mark.parametrize(
    ("values", "seconds", "why"),
    [
        (np.zeros(0), 300, "not scraped"),
        (np.full(200, 0.4), 300, "gap"),
        (np.full(6, 0.4), 4, "readings"),
        (np.full(301, np.nan), 300, "not scraped"),
    ],
)
def test_missing_readings_never_pass(values, seconds, why):
    finding = found(gauge(0.7), observed(values), seconds)
    assert finding.status is Status.INCONCLUSIVE
    assert why in finding.reason


def test_scattered_missing_readings_are_a_lack_of_coverage():
    times = np.array([second for second in range(301) if second % 3 == 0], float)
    series = Series("", START + times, np.full(len(times), 0.4))
    observation = Observation("CPU utilization", Reading.GAUGE, "ratio", (series,), 1.0)
    finding = found(gauge(0.7), observation)
    assert finding.status is Status.INCONCLUSIVE
    assert "cover only 50" in finding.reason


def test_a_share_is_of_the_capacity_of_the_same_instance():
    pool = tuple(
        Series(f"metrics-{number}", START + np.arange(301.0), np.full(301, size))
        for number, size in ((1, 10.0), (2, 20.0))
    )
    observation = observed(np.full(301, 9.0), np.full(301, 9.0), capacity=pool)
    finding = found(gauge(0.8), observation)
    assert finding.measured == pytest.approx(0.9)
    assert finding.details["by_instance"]["metrics-2"] == pytest.approx(0.45)


def test_a_capacity_that_was_not_scraped_is_told():
    pool = (Series("metrics-1", START + np.arange(301.0), np.full(301, 10.0)),)
    finding = found(gauge(0.8), observed(np.full(301, 4.0), np.full(301, 4.0), capacity=pool))
    assert finding.status is Status.INCONCLUSIVE
    assert "share of" in finding.reason


def test_a_hit_rate_is_that_of_the_whole_window():
    """Hits of lookups: 95 % while it is busy, none in the quiet half; by lookups that is 94.06 %."""
    lookups = np.concatenate([[0], np.cumsum(np.where(np.arange(300) < 150, 100.0, 1.0))])
    hits = np.concatenate([[0], np.cumsum(np.where(np.arange(300) < 150, 95.0, 0.0))])
    whole = (Series("metrics-1", START + np.arange(301.0), lookups),)
    observation = observed(
        hits, reading=Reading.COUNTER, capacity=whole, capacity_reading=Reading.COUNTER, judged=Judged.MEAN
    )
    finding = found(gauge(0.9, comparison=Comparison.IS_ABOVE), observation)
    assert finding.measured == pytest.approx(0.9406, abs=0.001)


def test_slow_scrapes_of_a_gauge_are_enough_in_minutes_and_not_in_one():
    level = np.full(41, 0.4)
    assert slowly(level).status is Status.PASS
    assert slowly(np.full(41, 0.9)).status is Status.FAIL
    short = slowly(level[:5], seconds=60.0)
    assert short.status is Status.INCONCLUSIVE
    assert "only 5 readings" in short.reason


def test_slow_scrapes_of_a_counter_need_six_pairs():
    level = busy(0.4, 600, SLOW)
    assert slowly(level, seconds=195.0, reading=Reading.COUNTER).status is Status.PASS
    short = slowly(level, seconds=120.0, reading=Reading.COUNTER)
    assert short.status is Status.INCONCLUSIVE
    assert "readings" in short.reason


def test_a_restart_between_slow_scrapes_is_no_drop_and_is_told():
    values = busy(0.4, 600, SLOW, spread=0)
    values[20:] -= values[19]
    finding = slowly(values, reading=Reading.COUNTER)
    assert finding.status is Status.PASS
    assert finding.measured == pytest.approx(0.4, rel=0.05)
    assert any("was reset 1 times" in warning for warning in finding.warnings)


@pytest.mark.parametrize("late", [-7.5, -3.0, 3.0, 7.5])
def test_a_capacity_that_is_scraped_at_other_times_has_no_gap(late):
    finding = pool_but(comparison=Comparison.NEVER_EXCEEDS, late=late)
    assert finding.status is Status.PASS
    assert finding.samples == 21


def test_a_long_gap_of_a_capacity_is_named():
    finding = pool_but(9, 10, 11, 12)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason.endswith(
        "cannot be judged: of what it is a share of, its scrapes have a gap of 75 s"
    )


def test_a_hit_rate_has_no_reading_where_the_lookups_were_not_scraped():
    times = START + np.arange(301.0)
    lookups = 100.0 * np.arange(301)
    lookups[100:102] = np.nan
    observation = observed(
        90.0 * np.arange(301),
        reading=Reading.COUNTER,
        capacity=(Series("metrics-1", times, lookups),),
        capacity_reading=Reading.COUNTER,
        judged=Judged.MEAN,
    )
    never = found(gauge(0.8, comparison=Comparison.NEVER_FALLS_BELOW), observation)
    above = found(gauge(0.8, comparison=Comparison.IS_ABOVE), observation)
    assert never.status is Status.INCONCLUSIVE
    assert "from second 99 to second 102" in never.reason
    assert above.status is Status.PASS
    assert above.measured == pytest.approx(0.9)


def test_an_instance_that_was_planned_to_go_is_not_missed_after_its_end():
    values = np.full(18, 0.4)
    observation = observed(values, interval=SLOW, lifespans={"metrics-1": (START, START + 255)})
    for comparison in (Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS):
        assert found(gauge(0.7, comparison=comparison), observation).status is Status.PASS


def test_an_instance_that_comes_between_slow_scrapes_is_judged_from_then_on():
    short = Series("metrics-2", START + 7 + 240 + SLOW * np.arange(24), np.full(24, 0.4))
    observation = observed(
        np.full(41, 0.4), interval=SLOW, lifespans={"metrics-2": (START + 240, START + 600)}
    )
    observation = dataclasses.replace(observation, series=(*observation.series, short))
    assert found(gauge(0.7), observation, 600.0).status is Status.PASS


@pytest.mark.parametrize(
    ("promql", "seconds"),
    [
        ("process_resident_memory_bytes", 0),
        ("rate(http_requests_total[10s])", 10),
        ("sum(rate(a[1m])) / sum(rate(b[5m]))", 300),
        ("max_over_time(rate(a[1m])[5m:15s])", 360),
        ("rate(a[1h30m] offset 5m)", 5_700),
        ("rate(a[300])", 300),
        ("rate(a[500ms])", 0.5),
        ('rate(a{path=~"/x[0-9]+[5m]\\"[1h]"}[ 30s ])', 30),
        ("rate(a{path=~'[5m]'}[30s])", 30),
        ("a offset -5m", 0),
        ("no PromQL [...]", 0),
    ],
)
def test_a_query_says_how_far_it_looks_back(promql, seconds):
    assert lookback(promql) == seconds


def looking_back(query):
    """A share that is wrong for twenty seconds, because the readings still speak of the ramp, and right after it."""
    random = np.random.default_rng(1)
    values = 0.3 + 0.01 * random.standard_normal(121)
    values[:20] = 0.9
    return observed(values, query=query)


def test_readings_that_look_back_at_the_ramp_do_not_count():
    right = found(gauge(0.5), looking_back("max(rate(a[20s]))"), 120)
    assert right.status is Status.PASS
    assert right.samples == 101
    assert found(gauge(0.5), looking_back("a"), 120).status is not Status.PASS


def test_a_query_that_looks_back_further_than_the_window_is_not_judged():
    finding = found(gauge(0.5), looking_back("max(rate(a[116s]))"), 120)
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason.endswith("cannot be judged: it looks back 116 s, and the window has 2 min")
    assert found(gauge(0.5), looking_back("max(rate(a[110s]))"), 120).status is not Status.INCONCLUSIVE


def test_an_infinite_counter_or_capacity_is_a_missing_one():
    counter = np.arange(301) * 0.4
    counter[100] = np.inf
    whole = Series("metrics-1", START + np.arange(301.0), level(50))
    found_counter = found(NEVER, observed(counter, reading=Reading.COUNTER))
    found_share = found(gauge(1.1), observed(np.full(301, 0.6), capacity=(whole,)))
    assert found_counter.status is Status.PASS
    assert any("1 of 301 values of metrics-1 are missing" in text for text in found_counter.warnings)
    assert found_share.measured == pytest.approx(1.0)


@pytest.mark.parametrize("size", [0.0, -1.0])
@pytest.mark.parametrize("reading", [Reading.GAUGE, Reading.COUNTER])
def test_a_capacity_without_a_size_is_no_capacity(size, reading):
    """Sources report 0 or -1 where there is no limit. Nothing is a share of it."""
    used = np.full(301, 5.0) if reading is Reading.GAUGE else np.arange(301) * 0.9
    whole = (Series("metrics-1", START + np.arange(301.0), np.full(301, size)),)
    for comparison in (Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS):
        finding = found(gauge(0.7, comparison=comparison), observed(used, reading=reading, capacity=whole))
        assert finding.status is Status.INCONCLUSIVE
        assert "what it is a share of was not scraped with a value above 0" in finding.reason


def hit_rate(per_second, share, seconds=300, seed=1):
    """Hits of lookups that come at random."""
    random = np.random.default_rng(seed)
    lookups = random.poisson(per_second, seconds + 1)
    hits = random.binomial(lookups, share)
    whole = (Series("metrics-1", START + np.arange(seconds + 1.0), np.cumsum(lookups)),)
    return observed(
        np.cumsum(hits),
        reading=Reading.COUNTER,
        capacity=whole,
        capacity_reading=Reading.COUNTER,
        judged=Judged.MEAN,
    )


@pytest.mark.parametrize("comparison", [Comparison.STAYS_ABOVE, Comparison.NEVER_FALLS_BELOW])
@pytest.mark.parametrize("per_second", [1, 5, 50])
def test_a_share_of_few_events_is_not_below_its_limit_by_chance(per_second, comparison):
    runs = [hit_rate(per_second, 0.97, seed=seed) for seed in range(20)]
    statuses = [found(gauge(0.9, comparison=comparison), run).status for run in runs]
    assert statuses.count(Status.FAIL) <= 1
    assert statuses.count(Status.PASS) >= 18


@pytest.mark.parametrize("comparison", [Comparison.STAYS_ABOVE, Comparison.NEVER_FALLS_BELOW])
def test_a_share_of_events_that_falls_for_half_a_minute_fails(comparison):
    lookups = 20.0 * np.arange(601)
    hits = np.cumsum(np.where((np.arange(601) >= 300) & (np.arange(601) < 330), 10.0, 20.0))
    whole = (Series("metrics-1", START + np.arange(601.0), lookups),)
    finding = found(
        gauge(0.9, comparison=comparison),
        observed(
            hits,
            reading=Reading.COUNTER,
            capacity=whole,
            capacity_reading=Reading.COUNTER,
            judged=Judged.MEAN,
        ),
        600,
    )
    assert finding.status is Status.FAIL
    assert "ten-second windows broke the limit" in finding.reason
