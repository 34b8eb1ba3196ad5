import pytest

from loadkit.criterion import Unit
from loadkit.units import (
    distance,
    format_bytes,
    format_number,
    format_quantity,
    format_ratio,
    format_seconds,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0000123, "12.3 µs"),
        (0.0043, "4.3 ms"),
        (0.504, "504 ms"),
        (0.99999, "1 s"),
        (1.25, "1.25 s"),
        (90, "90 s"),
        (300, "5 min"),
        (7200, "2 h"),
        (float("inf"), "beyond measure"),
    ],
)
def test_a_time_is_told_in_the_unit_that_keeps_it_short(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (4.3101, "4.31"),
        (1240.4, "1240"),
        (9999.7, "10,000"),
        (12345.6, "12,346"),
        (0.00012, "0.00012"),
        (-3.5, "-3.5"),
    ],
)
def test_a_number_has_three_significant_digits_and_no_exponent(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0 %"), (0.0052, "0.52 %"), (0.7, "70 %"), (1, "100 %"), (0.99992, "99.992 %"), (0.999, "99.9 %")],
)
def test_a_share_near_a_whole_keeps_the_digits_that_tell_it_from_one(ratio, text):
    assert format_ratio(ratio) == text


def test_two_gigabytes_are_two_thousand_million_bytes():
    assert format_bytes(2e9) == "2 GB"
    assert format_bytes(512) == "512 bytes"


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        (Unit.SECONDS, "500 ms"),
        (Unit.RATIO, "50 %"),
        (Unit.PER_SECOND, "0.5 per second"),
        (Unit.BYTES, "0.5 bytes"),
        (Unit.NUMBER, "0.5"),
    ],
)
def test_each_unit_has_its_words(unit, text):
    assert format_quantity(0.5, unit) == text


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0.0043, 0.5, "116 times below"),
        (0.61, 0.5, "22 % above"),
        (0.5, 0.5, "exactly at"),
        (0, 0.5, "below"),
        (1.5, 0.5, "3 times"),
    ],
)
def test_a_distance_is_told_in_times_where_it_is_large_and_in_percent_where_it_is_small(value, limit, text):
    assert distance(value, limit) == text


def test_ratios_that_are_near_each_other_differ_in_points() -> None:
    assert distance(0.857, 0.95, Unit.RATIO) == "9.3 points below"
    assert distance(0.012, 0.01, Unit.RATIO) == "0.2 points above"
    assert distance(0.05, 0.01, Unit.RATIO) == "5 times"
