"""A write counts from its acknowledgement until each who watches has it."""

import pytest

from loadkit.recording import deliveries as module
from loadkit.recording.deliveries import Deliveries


def recorded(*calls):
    deliveries, found = Deliveries(), []
    for what, key, at in calls:
        if what == "acknowledged":
            deliveries.acknowledged(key, at)
        else:
            deliveries.received(key, at, lambda begun, end: found.append((begun, end)))
    return found


def test_each_receipt_counts_from_the_acknowledgement():
    assert recorded(("acknowledged", 1, 1.0), ("received", 1, 1.5), ("received", 1, 1.25)) == [
        (1.0, 1.5),
        (1.0, 1.25),
    ]


def test_a_receipt_before_the_acknowledgement_took_no_time():
    assert recorded(("received", 1, 0.9), ("acknowledged", 1, 1.0)) == [(1.0, 1.0)]


def test_the_write_of_somebody_else_does_not_count():
    assert recorded(("received", 1, 0.9), ("acknowledged", 2, 1.0)) == []


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 100)


def one_each(seconds, number):
    """A number of writes, one every so many seconds from 0 on."""
    return [("acknowledged", each, each * seconds) for each in range(number)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("writes", "found"), [(100, [(0.0, 600.0)]), (101, [])])
def test_a_receipt_ten_minutes_late_counts_unless_too_many_writes_came_since(writes, found):
    assert recorded(*one_each(5.0, writes), ("received", 0, 600.0)) == found


@pytest.mark.usefixtures("small")
def test_the_writes_of_the_last_minute_are_remembered_however_many_they_are():
    assert recorded(*one_each(0.06, 1000), ("received", 0, 60.0)) == [(0.0, 60.0)]


@pytest.mark.usefixtures("small")
def test_old_writes_are_forgotten():
    deliveries = Deliveries()
    for number in range(1, 1001):
        deliveries.acknowledged(number, float(number))
        deliveries.received(-number, float(number), lambda begun, end: None)
    assert list(deliveries._acknowledged) == list(range(901, 1001))
    assert list(deliveries._early) == list(range(-940, -1001, -1))
    assert (len(deliveries._written), len(deliveries._unknown)) == (100, 61)
