import dataclasses

import numpy as np
import pytest
from scipy import special

from loadkit.criterion import Comparison, Unit
from loadkit.judging.gauges import examine_gauge
from loadkit.judging.readings import lookback, points_of
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.verdict import Status
from tests.builders import gauge

START = 1_700_000_000.0
MINUTES = 300.0


def observed(*values, interval=1.0, reading=Reading.GAUGE, judged=Judged.P95, unit="ratio", **changes):
    """One series per array, named metrics-1 …, scraped from the start on."""
    series = tuple(
        Series(f"metrics-{number}", START + interval * np.arange(len(each)), np.asarray(each, float))
        for number, each in enumerate(values, 1)
    )
    return Observation("CPU utilization", reading, unit, series, interval, judged=judged, **changes)


def found(criterion, observation, seconds=MINUTES):
    return examine_gauge(criterion, observation, START, START + seconds)


def busy(level, seconds=300, interval=1.0, seed=1, spread=0.02):
    """A counter of processor seconds that grows by `level` per second, more or less."""
    random = np.random.default_rng(seed)
    number = int(seconds / interval) + 1
    return np.cumsum(interval * (level + spread * random.standard_normal(number)))


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
    assert any("began again 1 times" in warning for warning in finding.warnings)


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
    assert any("began again 1 times" in warning for warning in never.warnings)


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


def test_a_late_scrape_after_a_restart_takes_no_pass_back():
    values = busy(0.4, 300, SLOW, spread=0)
    values[10:] -= values[10]
    observation = observed(values, interval=SLOW, reading=Reading.COUNTER)
    observation.series[0].times[10] += 0.2
    assert found(gauge(0.7), observation).status is Status.PASS


def test_two_resets_in_five_minutes_are_too_much_unseen_time_for_a_p95():
    values = busy(0.4, 300, SLOW, spread=0)
    values[6:] -= values[6]
    values[14:] -= values[14]
    finding = found(gauge(0.7), observed(values, interval=SLOW, reading=Reading.COUNTER))
    assert finding.status is Status.INCONCLUSIVE
    assert "30 s of 5 min have no readings: 10 % of the time" in finding.reason


def test_an_extreme_does_not_pass_over_two_scrapes_between_resets():
    values = busy(0.4, 600, SLOW, spread=0)
    values[20:] -= values[20]
    values[22:] -= values[22]
    finding = found(
        gauge(0.7, comparison=Comparison.NEVER_EXCEEDS),
        observed(values, interval=SLOW, reading=Reading.COUNTER),
        600,
    )
    assert finding.status is Status.INCONCLUSIVE
    assert "no readings for 45 s, from second 285 to second 330" in finding.reason


def test_a_reset_of_what_a_share_is_of_gives_no_share_there():
    lookups = 100.0 * np.arange(301)
    lookups[150:] += 9_000 - lookups[150]
    hits = 90.0 * np.arange(301)
    whole = (Series("metrics-1", START + np.arange(301.0), lookups),)
    observation = observed(
        hits, reading=Reading.COUNTER, capacity=whole, capacity_reading=Reading.COUNTER, judged=Judged.MEAN
    )
    assert found(gauge(0.8, comparison=Comparison.IS_ABOVE), observation).measured == pytest.approx(0.9)


def test_the_worst_instance_is_judged():
    finding = found(gauge(0.7), observed(busy(0.4), busy(0.9), busy(0.5), reading=Reading.COUNTER))
    assert finding.status is Status.FAIL
    assert "metrics-2" in finding.reason
    assert finding.details["by_instance"]["metrics-3"] == pytest.approx(0.5, abs=0.05)


def test_for_a_lower_limit_the_worst_is_the_lowest():
    lowest = gauge(0.5, comparison=Comparison.STAYS_ABOVE)
    finding = found(lowest, observed(np.full(301, 0.9), np.full(301, 0.2)))
    assert finding.status is Status.FAIL
    assert finding.measured == pytest.approx(0.2)


def test_an_instance_that_cannot_be_judged_takes_a_pass_back():
    finding = found(gauge(0.7), observed(busy(0.4), busy(0.4)[:100], reading=Reading.COUNTER))
    assert finding.status is Status.INCONCLUSIVE
    assert "metrics-2" in finding.reason
    assert "gap" in finding.reason


def test_an_instance_that_cannot_be_judged_does_not_hide_a_fail():
    finding = found(gauge(0.7), observed(busy(0.9), busy(0.4)[:100], reading=Reading.COUNTER))
    assert finding.status is Status.FAIL


def test_an_instance_is_judged_over_its_own_life():
    short = Series("metrics-2", START + 200 + np.arange(101.0), busy(0.4, 100))
    observation = observed(busy(0.4), reading=Reading.COUNTER)
    observation = dataclasses.replace(
        observation,
        series=(*observation.series, short),
        lifespans={"metrics-2": (START + 200, START + 300)},
    )
    assert found(gauge(0.7), observation).status is Status.PASS


def test_an_instance_that_was_gone_before_the_window_is_not_missed():
    observation = observed(
        busy(0.4), np.zeros(0), reading=Reading.COUNTER, lifespans={"metrics-2": (START - 99, START - 9)}
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


def test_a_source_without_an_answer_is_inconclusive_with_its_reason():
    assert "the source is down" in found(gauge(0.7), observed(problem="the source is down")).reason
    nothing = found(gauge(0.7), observed())
    assert nothing.status is Status.INCONCLUSIVE
    assert "no series" in nothing.reason


def test_memory_is_judged_by_its_maximum():
    values = np.full(301, 1.0e9)
    values[150] = 2.5e9
    observation = observed(values, judged=Judged.MAXIMUM, unit="bytes")
    finding = found(gauge(2e9, "CPU utilization", Unit.BYTES), observation)
    assert finding.status is Status.FAIL
    assert "2.5 GB at its highest" in finding.reason


def test_a_brief_peak_breaks_never_and_not_stays():
    values = np.full(301, 0.4)
    values[100:105] = 0.95
    assert found(gauge(0.8), observed(values)).status is Status.PASS
    assert found(gauge(0.8, comparison=Comparison.NEVER_EXCEEDS), observed(values)).status is Status.FAIL


def test_never_exceeds_includes_its_limit():
    exactly = found(gauge(0.8, comparison=Comparison.NEVER_EXCEEDS), observed(np.full(301, 0.8)))
    assert exactly.status is Status.PASS


def test_a_lasting_spell_breaks_stays_although_the_p95_keeps_the_limit():
    values = np.full(2401, 0.4)
    values[500:535] = 0.95  # 35 s of 2400: well below 5 %
    stays = found(gauge(0.8), observed(values), 2400)
    is_below = found(gauge(0.8, comparison=Comparison.IS_BELOW), observed(values), 2400)
    assert stays.status is Status.FAIL
    assert "in a row" in stays.reason
    assert is_below.status is Status.PASS


def test_near_the_limit_wandering_readings_cannot_tell():
    random = np.random.default_rng(8)
    values = np.empty(301)
    values[0] = 0.6
    for i in range(1, 301):
        values[i] = 0.6 + 0.97 * (values[i - 1] - 0.6) + 0.01 * random.standard_normal()
    limit = float(np.quantile(values, 0.95)) + 0.01
    finding = found(gauge(limit, comparison=Comparison.IS_BELOW), observed(values))
    assert finding.status is Status.INCONCLUSIVE
    assert "would decide it" in finding.reason


@pytest.mark.parametrize(
    ("memory", "skewed", "most"),
    [
        (0, False, 0.1),
        (0.8, False, 0.1),
        (0.97, False, 0.1),
        (0, True, 0.1),
        (0.8, True, 0.1),
        (0.97, True, 0.18),
    ],
)
def test_at_the_limit_a_gauge_seldom_errs(memory, skewed, most):
    """The limit is the true p95, so a pass and a fail are both wrong. The last case is worth five readings."""
    random = np.random.default_rng(3)
    errors = {Status.PASS: 0, Status.FAIL: 0, Status.INCONCLUSIVE: 0}
    runs = 150
    for _ in range(runs):
        noise = random.standard_normal(301)
        values = np.empty(301)
        values[0] = noise[0]
        for i in range(1, 301):
            values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * noise[i]
        true = 1.6449
        if skewed:  # the same order, exponentially distributed
            values, true = -special.log_ndtr(-values), 2.9957
        errors[found(gauge(10 + true, comparison=Comparison.IS_BELOW), observed(10 + values)).status] += 1
    assert errors[Status.PASS] / runs <= most
    assert errors[Status.FAIL] / runs <= most


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


def test_a_leak_is_told_beside_the_verdict():
    observation = observed(np.linspace(1e9, 1.5e9, 301), judged=Judged.MAXIMUM, unit="bytes")
    finding = found(gauge(2e9, "CPU utilization", Unit.BYTES), observation)
    assert finding.status is Status.PASS
    assert any("rose by" in warning for warning in finding.warnings)


# --- scraped every fifteen seconds, as most services are


SLOW = 15.0


def slowly(*values, seconds=600.0, keep=slice(None), **rest):
    """Series scraped every fifteen seconds, of which only some scrapes are kept."""
    observation = observed(*values, interval=SLOW, **rest)
    series = tuple(Series(one.instance, one.times[keep], one.values[keep]) for one in observation.series)
    return found(gauge(0.7), dataclasses.replace(observation, series=series), seconds)


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
    assert any("began again 1 times" in warning for warning in finding.warnings)


def test_two_slow_scrapes_missed_in_a_row_are_bearable_and_three_are_not():
    level = busy(0.4, 600, SLOW)
    two = np.r_[0:20, 22 : len(level)]
    three = np.r_[0:20, 23 : len(level)]
    assert slowly(level, reading=Reading.COUNTER, keep=two).status is Status.PASS
    missed = slowly(level, reading=Reading.COUNTER, keep=three)
    assert missed.status is Status.INCONCLUSIVE
    assert "gap of 60 s" in missed.reason


def scraped_but(*missing, level=0.4, judged=Judged.P95, comparison=Comparison.STAYS_BELOW, peaks=()):
    """A gauge in a window of 300 s, scraped every 15 s but for the scrapes with these numbers."""
    values = np.full(21, level)
    values[list(peaks)] = 1.0
    observation = observed(values, interval=SLOW, judged=judged)
    kept = np.setdiff1d(np.arange(21), missing)
    series = tuple(Series(one.instance, one.times[kept], one.values[kept]) for one in observation.series)
    return found(gauge(0.7, comparison=comparison), dataclasses.replace(observation, series=series))


EXTREMES = [
    (Judged.P95, Comparison.NEVER_EXCEEDS),
    (Judged.MAXIMUM, Comparison.STAYS_BELOW),
    (Judged.MAXIMUM, Comparison.IS_BELOW),
]


@pytest.mark.parametrize("comparison", [Comparison.STAYS_BELOW, Comparison.IS_BELOW])
@pytest.mark.parametrize("missing", [(9, 10), (18, 19, 20)])
def test_a_p95_does_not_pass_where_a_tenth_of_the_window_was_not_scraped(missing, comparison):
    finding = scraped_but(*missing, comparison=comparison)
    assert finding.status is Status.INCONCLUSIVE
    assert "30 s of 5 min have no readings: 10 % of the time, and a p95 allows 5 %" in finding.reason


@pytest.mark.parametrize(("judged", "comparison"), EXTREMES)
def test_an_extreme_does_not_pass_over_two_missing_scrapes(judged, comparison):
    finding = scraped_but(9, 10, judged=judged, comparison=comparison)
    assert finding.status is Status.INCONCLUSIVE
    assert "no readings for 45 s, from second 120 to second 165 of the window" in finding.reason


@pytest.mark.parametrize(("judged", "comparison"), EXTREMES)
def test_an_extreme_does_not_pass_when_the_instance_vanishes_before_the_end(judged, comparison):
    finding = scraped_but(18, 19, 20, judged=judged, comparison=comparison)
    assert finding.status is Status.INCONCLUSIVE
    assert "no readings for 45 s, from second 255 to second 300 of the window" in finding.reason


@pytest.mark.parametrize(("judged", "comparison"), [(Judged.P95, Comparison.STAYS_BELOW), *EXTREMES])
def test_one_missing_scrape_is_bearable(judged, comparison):
    assert scraped_but(9, judged=judged, comparison=comparison).status is Status.PASS


@pytest.mark.parametrize(("judged", "comparison"), [(Judged.P95, Comparison.STAYS_BELOW), *EXTREMES])
def test_a_fail_stays_a_fail_beside_missing_scrapes(judged, comparison):
    finding = scraped_but(9, 10, level=0.9, judged=judged, comparison=comparison)
    assert finding.status is Status.FAIL


@pytest.mark.parametrize(("judged", "comparison"), EXTREMES)
@pytest.mark.parametrize("missing", [(9, 10, 11, 12), range(9, 18), range(5, 21)])
def test_an_extreme_that_was_seen_is_a_fail_whatever_is_missing_elsewhere(judged, comparison, missing):
    finding = scraped_but(*missing, judged=judged, comparison=comparison, peaks=[3])
    assert finding.status is Status.FAIL
    assert "100 % at its highest" in finding.reason
    assert any("gap of" in warning for warning in finding.warnings)


def test_few_readings_are_enough_for_an_extreme_that_was_seen():
    finding = found(NEVER, observed(np.full(5, 0.9)), 4)
    assert finding.status is Status.FAIL
    assert "only 5 readings" in finding.warnings[0]
    assert found(NEVER, observed(np.full(5, 0.4)), 4).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("level", "peaks", "status"),
    [
        (0.9, (), Status.FAIL),  # 225 s of 300 over the limit
        (0.4, range(20), Status.FAIL),
        (0.4, (3,), Status.INCONCLUSIVE),  # 15 s of 300 are not more than 5 %
    ],
)
def test_a_p95_fails_beside_a_hole_if_the_time_seen_over_the_limit_is_too_much(level, peaks, status):
    missing = (9, 10, 11, 12, 13)
    is_below = Comparison.IS_BELOW
    assert scraped_but(*missing, level=level, peaks=peaks, comparison=is_below).status is status


def test_a_p95_over_the_limit_in_the_part_seen_is_no_fail_of_the_whole():
    """One of the 15 s readings is over the limit: a tenth of what was seen, 1.25 % of the window."""
    values = np.full(10, 0.4)
    values[4] = 1.0
    finding = found(gauge(0.7, comparison=Comparison.IS_BELOW), observed(values, interval=SLOW), 1200)
    assert finding.status is Status.INCONCLUSIVE
    assert "gap" in finding.reason


def test_a_lasting_spell_that_was_seen_is_a_fail_whatever_is_missing_elsewhere():
    values = np.full(2401, 0.4)
    values[500:535] = 0.95
    values[1000:1100] = np.nan
    finding = found(gauge(0.7), observed(values), 2400)
    assert finding.status is Status.FAIL
    assert "3 in a row" in finding.reason


def test_bad_windows_beside_a_hole_are_not_in_a_row():
    values = np.full(2401, 0.4)
    values[500:520] = 0.95
    values[520:620] = np.nan
    values[620:640] = 0.95
    finding = found(gauge(0.7), observed(values), 2400)
    assert finding.status is Status.INCONCLUSIVE
    assert "gap of 101 s" in finding.reason


# --- the mean over a hole


BELOW = Comparison.IS_BELOW


@pytest.mark.parametrize(
    ("level", "comparison", "limit", "status"),
    [
        (0.4, Comparison.IS_BELOW, 0.45, Status.INCONCLUSIVE),  # 30 s at 100 %: 46 %
        (0.4, Comparison.IS_BELOW, 0.47, Status.PASS),
        (0.95, Comparison.IS_ABOVE, 0.9, Status.INCONCLUSIVE),  # 30 s at 0: 85.5 %
        (0.95, Comparison.IS_ABOVE, 0.85, Status.PASS),
        (1.5, Comparison.IS_BELOW, 1.55, Status.PASS),  # a share above 100 % is as high as it was seen
    ],
)
def test_what_was_not_scraped_counts_in_a_mean_with_the_worst_plausible_value(
    level, comparison, limit, status
):
    values = np.full(21, level)
    values[[9, 10]] = np.nan
    finding = found(gauge(limit, comparison=comparison), observed(values, interval=SLOW, judged=Judged.MEAN))
    assert finding.status is status
    if status is Status.INCONCLUSIVE:
        assert "30 s of 5 min have no readings; with the worst values there it would be" in finding.reason


def test_a_mean_without_an_upper_bound_counts_the_largest_reading():
    values = np.full(21, 1e9)
    values[2] = 3e9
    whole = observed(values, interval=SLOW, judged=Judged.MEAN, unit="bytes")
    values = values.copy()
    values[[9, 10]] = np.nan
    hole = observed(values, interval=SLOW, judged=Judged.MEAN, unit="bytes")
    end = found(gauge(9e9, "CPU utilization", Unit.BYTES, BELOW), hole).interval[1]
    moved = 0.1 * (3e9 - (18e9 + 3e9) / 19)
    close = gauge(end + 0.9 * moved, "CPU utilization", Unit.BYTES, BELOW)
    assert found(close, whole).status is Status.PASS
    assert found(close, hole).status is Status.INCONCLUSIVE
    assert found(gauge(end + 1.1 * moved, "CPU utilization", Unit.BYTES, BELOW), hole).status is Status.PASS


def test_a_mean_rate_is_known_over_a_gap_between_scrapes_and_not_over_a_reset():
    values = busy(0.4, 300, SLOW, spread=0)
    keep = np.setdiff1d(np.arange(21), [9, 10])
    gap = observed(values, interval=SLOW, reading=Reading.COUNTER, judged=Judged.MEAN)
    gap = dataclasses.replace(gap, series=(Series("metrics-1", gap.series[0].times[keep], values[keep]),))
    reset = values.copy()
    reset[10:] -= reset[10]
    again = observed(reset, interval=SLOW, reading=Reading.COUNTER, judged=Judged.MEAN)
    below = gauge(0.42, comparison=Comparison.IS_BELOW)
    assert found(below, gap).status is Status.PASS
    assert found(below, again).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("comparison", "level", "limit", "status"),
    [
        (Comparison.IS_BELOW, 0.9, 0.6, Status.FAIL),  # 60 s of 300 at 0: 72 %
        (Comparison.IS_BELOW, 0.9, 0.8, Status.INCONCLUSIVE),
        (Comparison.IS_ABOVE, 0.3, 0.5, Status.FAIL),  # 60 s of 300 at 100 %: 44 %
        (Comparison.IS_ABOVE, 0.3, 0.4, Status.INCONCLUSIVE),
    ],
)
def test_a_mean_fails_beside_a_hole_if_no_plausible_value_there_would_save_it(
    comparison, level, limit, status
):
    values = np.full(21, level)
    values[9:13] = np.nan
    finding = found(gauge(limit, comparison=comparison), observed(values, interval=SLOW, judged=Judged.MEAN))
    assert finding.status is status


# --- what a share is of


def pool_but(*missing, comparison=Comparison.STAYS_BELOW, late=0.0, value=np.nan):
    """A pool scraped every 15 s in 300 s. Its size is not known at the scrapes with these numbers."""
    sizes = np.full(21, 10.0)
    sizes[list(missing)] = value
    size = Series("metrics-1", START + late + SLOW * np.arange(21), sizes)
    observation = observed(np.full(21, 4.0), interval=SLOW, capacity=(size,))
    return found(gauge(0.7, comparison=comparison), observation)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_share_is_unseen_where_its_capacity_was_not_scraped(value):
    stays, never = (
        pool_but(9, 10, comparison=comparison, value=value)
        for comparison in (Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS)
    )
    assert (stays.status, never.status) == (Status.INCONCLUSIVE, Status.INCONCLUSIVE)
    assert "30 s of 5 min have no readings" in stays.reason
    assert "no readings for 45 s, from second 120 to second 165" in never.reason
    assert "2 of 21 values of metrics-1 are missing" in stays.warnings


@pytest.mark.parametrize("comparison", [Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS])
def test_one_missing_scrape_of_a_capacity_is_bearable(comparison):
    assert pool_but(9, comparison=comparison).status is Status.PASS


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


def test_time_not_scraped_counts_with_the_time_over_the_limit():
    """In 2400 s: 60 s over the limit, 90 s not scraped; each alone is below 5 %."""
    values = np.full(161, 0.4)
    values[[20, 60, 100, 140]] = 1.0
    keep = np.setdiff1d(np.arange(161), [30, 31, 70, 71, 110, 111])
    observation = observed(values, interval=SLOW)
    series = Series("", observation.series[0].times[keep], values[keep])
    is_below = gauge(0.7, comparison=Comparison.IS_BELOW)
    whole = found(is_below, observation, 2400)
    finding = found(is_below, dataclasses.replace(observation, series=(series,)), 2400)
    assert whole.status is Status.PASS
    assert finding.status is Status.INCONCLUSIVE
    assert "90 s of 40 min have no readings and 60 s are above the limit: 6.25 %" in finding.reason


def test_missing_scrapes_next_to_a_bad_spell_could_make_it_lasting():
    values = np.full(161, 0.4)
    values[30] = 1.0
    observation = observed(values, interval=SLOW)
    keep = np.setdiff1d(np.arange(161), [31, 32])
    series = Series("", observation.series[0].times[keep], values[keep])
    finding = found(gauge(0.7), dataclasses.replace(observation, series=(series,)), 2400)
    assert found(gauge(0.7), observation, 2400).status is Status.PASS
    assert finding.status is Status.INCONCLUSIVE
    assert "30 s have no readings, which could hide a lasting bad spell" in finding.reason


def test_a_reset_between_two_bad_readings_could_make_the_spell_lasting():
    rates = np.full(241, 0.4)
    rates[119:121], rates[122:124] = 0.9, 0.9
    values = np.concatenate([[0], SLOW * np.cumsum(rates)])
    whole = found(gauge(0.7), observed(values, interval=SLOW, reading=Reading.COUNTER), 3600)
    values[122:] -= values[122]
    finding = found(gauge(0.7), observed(values, interval=SLOW, reading=Reading.COUNTER), 3600)
    assert whole.status is Status.PASS
    assert finding.status is Status.INCONCLUSIVE
    assert "15 s have no readings, which could hide a lasting bad spell" in finding.reason


def test_an_instance_that_comes_between_slow_scrapes_is_judged_from_then_on():
    short = Series("metrics-2", START + 7 + 240 + SLOW * np.arange(24), np.full(24, 0.4))
    observation = observed(
        np.full(41, 0.4), interval=SLOW, lifespans={"metrics-2": (START + 240, START + 600)}
    )
    observation = dataclasses.replace(observation, series=(*observation.series, short))
    assert found(gauge(0.7), observation, 600.0).status is Status.PASS


def test_the_interval_of_a_share_ends_where_shares_end():
    """A pool that is mostly free, and at times full: what lies below 0 or above 100 % is not said."""
    random = np.random.default_rng(1)
    finding = found(gauge(0.8), observed(np.where(random.random(60) < 0.2, 1.0, 0.02)), seconds=60)
    assert finding.interval[0] >= 0.0
    assert finding.interval[1] == 1.0


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


# --- values that are no finite numbers, and answers that are incomplete


NEVER = gauge(0.7, comparison=Comparison.NEVER_EXCEEDS)
NEVER_BELOW = gauge(0.5, comparison=Comparison.NEVER_FALLS_BELOW)


def level(*placed, value=np.inf, size=301):
    """Readings of 0.6, and another value at some places."""
    values = np.full(size, 0.6)
    values[list(placed)] = value
    return values


@pytest.mark.parametrize(
    ("criterion", "value", "status"),
    [
        (NEVER, np.inf, Status.FAIL),
        (NEVER, -np.inf, Status.PASS),
        (NEVER_BELOW, -np.inf, Status.FAIL),
        (NEVER_BELOW, np.inf, Status.PASS),
    ],
)
def test_an_infinite_value_is_beyond_every_limit(criterion, value, status):
    finding = found(criterion, observed(level(100, value=value)))
    assert finding.status is status
    assert finding.samples == 301


def test_an_infinite_extreme_is_stated_as_the_source_writes_it():
    finding = found(NEVER, observed(level(100)))
    assert finding.reason.endswith("on metrics-1 was +Inf at its highest, above the limit of 70 %")
    assert (finding.measured, finding.details["infinite"]) == (None, "+Inf")


def test_the_instance_with_an_infinite_value_is_the_worst():
    finding = found(NEVER, observed(np.full(301, 0.9), level(100)))
    assert "metrics-2 was +Inf" in finding.reason


def test_a_p95_bears_a_few_infinite_values_and_fails_at_more_than_a_twentieth():
    is_below = gauge(0.7, comparison=Comparison.IS_BELOW)
    few = found(is_below, observed(level(100, 101, size=601)), 600)
    many = found(is_below, observed(level(*range(100, 120))))
    assert few.status is Status.PASS
    assert few.measured == pytest.approx(0.6)
    assert many.status is Status.FAIL
    assert many.reason == "p95 of CPU utilization on metrics-1 was +Inf, above the limit of 70 %"


def test_infinite_values_make_a_lasting_spell():
    finding = found(gauge(0.7), observed(level(*range(500, 535), size=2401)), 2400)
    assert finding.status is Status.FAIL
    assert "in a row" in finding.reason


def test_readings_that_are_all_infinite_fail():
    for criterion in (NEVER, gauge(0.7)):
        assert found(criterion, observed(np.full(301, np.inf))).status is Status.FAIL


@pytest.mark.parametrize(
    ("values", "comparison", "status", "why"),
    [
        (level(5), Comparison.IS_BELOW, Status.FAIL, "was +Inf, above the limit"),
        (level(5), Comparison.IS_ABOVE, Status.INCONCLUSIVE, "1 of 301 readings are infinite"),
        (level(5, value=-np.inf), Comparison.IS_BELOW, Status.INCONCLUSIVE, "1 of 301 readings are infinite"),
        (level(5, value=-np.inf), Comparison.IS_ABOVE, Status.FAIL, "was -Inf, below the limit"),
    ],
)
def test_a_mean_with_an_infinite_value_never_passes(values, comparison, status, why):
    finding = found(gauge(0.7, comparison=comparison), observed(values, judged=Judged.MEAN))
    assert finding.status is status
    assert why in finding.reason


def test_an_infinite_counter_or_capacity_is_a_missing_one():
    counter = np.arange(301) * 0.4
    counter[100] = np.inf
    whole = Series("metrics-1", START + np.arange(301.0), level(50))
    found_counter = found(NEVER, observed(counter, reading=Reading.COUNTER))
    found_share = found(gauge(1.1), observed(np.full(301, 0.6), capacity=(whole,)))
    assert found_counter.status is Status.PASS
    assert any("1 of 301 values of metrics-1 are missing" in text for text in found_counter.warnings)
    assert found_share.measured == pytest.approx(1.0)


def test_missing_values_are_time_without_readings():
    one, two = level(100, value=np.nan), level(100, 101, value=np.nan)
    assert found(NEVER, observed(one)).status is Status.PASS
    never = found(NEVER, observed(two))
    assert never.status is Status.INCONCLUSIVE
    assert "no readings for 3 s, from second 99 to second 102 of the window" in never.reason
    stays = found(gauge(0.7), observed(two))
    assert stays.status is Status.PASS
    assert "2 of 301 values of metrics-1 are missing" in stays.warnings
    gap = found(gauge(0.7), observed(level(*range(100, 110), value=np.nan)))
    assert gap.status is Status.INCONCLUSIVE
    assert "10 of 301 values of metrics-1 are missing" in gap.warnings


@pytest.mark.parametrize(("judged", "comparison"), EXTREMES)
def test_an_extreme_does_not_pass_on_an_answer_in_part(judged, comparison):
    finding = found(
        gauge(0.7, comparison=comparison), observed(level(), judged=judged, warnings=("store-2 is gone",))
    )
    assert finding.status is Status.INCONCLUSIVE
    assert finding.reason.endswith("but the source answered only in part: store-2 is gone")


@pytest.mark.parametrize("judged", [Judged.P95, Judged.MEAN])
def test_an_answer_in_part_is_a_warning_beside_a_p95_and_a_mean(judged):
    finding = found(gauge(0.7), observed(level(), judged=judged, warnings=("store-2 is gone",)))
    assert finding.status is Status.PASS
    assert "the source answered only in part: store-2 is gone" in finding.warnings
