"""Scrapes of gauges and counters made of arrays, for tests of what is judged of them."""

import dataclasses

import numpy as np

from loadkit.criterion import Comparison
from loadkit.judging.gauges import examine_gauge
from loadkit.observers.observation import Judged, Observation, Reading, Series
from tests.builders import gauge

START = 1_700_000_000.0
MINUTES = 300.0
SLOW = 15.0
"""The scrape interval of most services, in seconds."""


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


def slowly(*values, seconds=600.0, keep=slice(None), **rest):
    """Series scraped every fifteen seconds, of which only some scrapes are kept."""
    observation = observed(*values, interval=SLOW, **rest)
    series = tuple(Series(one.instance, one.times[keep], one.values[keep]) for one in observation.series)
    return found(gauge(0.7), dataclasses.replace(observation, series=series), seconds)


EXTREMES = [
    (Judged.P95, Comparison.NEVER_EXCEEDS),
    (Judged.MAXIMUM, Comparison.STAYS_BELOW),
    (Judged.MAXIMUM, Comparison.IS_BELOW),
]


def pool_but(*missing, comparison=Comparison.STAYS_BELOW, late=0.0, value=np.nan):
    """A pool scraped every 15 s in 300 s. Its size is not known at the scrapes with these numbers."""
    sizes = np.full(21, 10.0)
    sizes[list(missing)] = value
    size = Series("metrics-1", START + late + SLOW * np.arange(21), sizes)
    observation = observed(np.full(21, 4.0), interval=SLOW, capacity=(size,))
    return found(gauge(0.7, comparison=comparison), observation)


NEVER = gauge(0.7, comparison=Comparison.NEVER_EXCEEDS)


def level(*placed, value=np.inf, size=301):
    """Readings of 0.6, and another value at some places."""
    values = np.full(size, 0.6)
    values[list(placed)] = value
    return values
