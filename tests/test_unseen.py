"""What the time that nobody saw could change in the verdict on a gauge."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison, Unit
from loadkit.observers.observation import Judged, Observation, Reading, Series
from loadkit.verdict import Status
from tests.builders import gauge
from tests.scrapes import (
    EXTREMES,
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
    assert finding.details["spells"]["over"] == [50, 51, 62, 63]


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


def test_missing_values_are_time_without_readings():
    one, two = level(100, value=np.nan), level(100, 101, value=np.nan)
    assert found(NEVER, observed(one)).status is Status.PASS
    never = found(NEVER, observed(two))
    assert never.status is Status.INCONCLUSIVE
    assert "no readings for 3 s, from second 99 to second 102 of the window" in never.reason
    stays = found(gauge(0.7), observed(two))
    assert stays.status is Status.PASS
    assert "2 of 301 values of metrics-1 are missing" in stays.warnings
    few = found(gauge(0.7), observed(level(*range(100, 110), value=np.nan)))
    assert few.status is Status.PASS
    assert "10 of 301 values of metrics-1 are missing" in few.warnings
    many = found(gauge(0.7), observed(level(*range(100, 120), value=np.nan)))
    assert many.status is Status.INCONCLUSIVE
    assert "gap of 21 s" in many.reason


def long_hole(interval, hole, seconds=10_800, peak=0):
    """A gauge at 40 % over three hours, not scraped for a while; at 90 % for some scrapes before it."""
    times = np.arange(0, seconds + 1, interval)
    kept = (times <= seconds / 2) | (times > seconds / 2 + hole)
    values = np.full(len(times), 0.4)
    last = int(np.flatnonzero(kept & (times <= seconds / 2))[-1])
    values[last + 1 - peak : last + 1] = 0.9
    series = Series("metrics-1", START + times[kept], values[kept])
    return Observation("CPU utilization", Reading.GAUGE, "ratio", (series,), interval)


@pytest.mark.parametrize(("interval", "hole"), [(1.0, 15.0), (5.0, 25.0), (15.0, 60.0)])
def test_a_hole_that_could_change_nothing_takes_no_pass_back(interval, hole):
    """A hole is time that counts as bad. A minute of three hours leaves a p95 as it is."""
    is_below, stays = gauge(0.7, comparison=Comparison.IS_BELOW), gauge(0.7)
    assert found(is_below, long_hole(interval, hole), 10_800).status is Status.PASS
    assert found(NEVER, long_hole(interval, hole), 10_800).status is Status.INCONCLUSIVE
    lasting = found(stays, long_hole(interval, 90.0), 10_800)
    assert lasting.status is Status.INCONCLUSIVE
    assert "could hide a lasting bad spell" in lasting.reason
    assert found(is_below, long_hole(interval, 600.0), 10_800).status is Status.INCONCLUSIVE
