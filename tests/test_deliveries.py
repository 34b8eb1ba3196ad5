"""A write counts from its acknowledgement until each who watches has it."""

import pytest

from loadkit.recording import deliveries as module
from loadkit.recording.deliveries import Deliveries, Follower


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
def test_a_key_that_is_acknowledged_again_is_not_forgotten_with_its_first_acknowledgement():
    again = [("acknowledged", "k", 0.0), *one_each(5.0, 99), ("acknowledged", "k", 500.0)]
    assert recorded(*again, ("received", "k", 501.0)) == [(500.0, 501.0)]


@pytest.mark.usefixtures("small")
def test_old_writes_are_forgotten():
    deliveries = Deliveries()
    for number in range(1, 1001):
        deliveries.acknowledged(number, float(number))
        deliveries.received(-number, float(number), lambda begun, end: None)
    assert list(deliveries._acknowledged) == list(range(901, 1001))
    assert list(deliveries._early) == list(range(-940, -1001, -1))
    assert (len(deliveries._written), len(deliveries._unknown)) == (100, 61)


class Watched:
    """Writes of tenant "t" that must reach their followers within ten seconds, and who missed which."""

    def __init__(self):
        self.deliveries = Deliveries()
        self.gone = set()
        self.missed = []
        self.arrived = []

    def follow(self, name, since, tenant="t"):
        follower = Follower(since, lambda: name in self.gone, lambda at: self.missed.append((name, at)))
        self.deliveries.follow(tenant, follower, 10.0)

    def write(self, key, at, took=0.1, tenant="t"):
        self.deliveries.acknowledged(key, at, at - took, tenant)

    def receive(self, key, at):
        self.deliveries.received(key, at, lambda begun, end: self.arrived.append((begun, end)))

    def until(self, at):
        self.deliveries.end(at)
        return sorted(self.missed)


def test_a_write_that_reaches_nobody_is_missed_by_each_of_its_tenant_who_follows():
    watched = Watched()
    for name in ("ann", "bob"):
        watched.follow(name, 0.0)
    watched.follow("eve", 0.0, "another")
    watched.write(1, 5.0)
    watched.write(2, 6.0)
    watched.receive(2, 6.1)
    assert watched.until(60.0) == [("ann", 5.0), ("bob", 5.0)]
    assert watched.arrived == [(6.0, 6.1)]


@pytest.mark.parametrize(
    ("since", "sent", "gone_at", "end", "is_missed"),
    [
        (0.0, 4.9, None, 60.0, True),
        (4.9, 4.9, None, 60.0, True),
        # Its message may have been sent to the followers of an earlier moment.
        (4.95, 4.9, None, 60.0, False),
        (4.95, 4.0, None, 60.0, False),
        # It may have been on its way.
        (0.0, 4.9, 14.0, 60.0, False),
        (0.0, 4.9, 16.0, 60.0, True),
        (0.0, 4.9, None, 14.0, False),
        (0.0, 4.9, None, 15.0, True),
    ],
)
def test_a_write_is_missed_only_by_who_followed_from_its_start_to_a_time_out_after_it(
    since, sent, gone_at, end, is_missed
):
    watched = Watched()
    watched.follow("ann", since)
    watched.write(1, 5.0, 5.0 - sent)
    for second in range(6, 20):
        if second == gone_at:
            watched.gone.add("ann")
        if second < end:
            watched.write(second, float(second))
            watched.receive(second, float(second))
    assert watched.until(end) == ([("ann", 5.0)] if is_missed else [])


def test_a_write_is_missed_by_who_left_later_even_if_no_other_write_was_acknowledged():
    watched = Watched()
    watched.follow("ann", 0.0)
    watched.write(1, 5.0)
    watched.deliveries.find_overdue(15.0)
    watched.gone.add("ann")
    assert watched.until(60.0) == [("ann", 5.0)]


def test_a_follower_who_comes_back_is_another_one():
    watched = Watched()
    watched.follow("ann", 0.0)
    watched.write(1, 5.0)
    watched.gone.add("ann")
    watched.follow("ann again", 7.0)
    watched.write(2, 8.0)
    assert watched.until(60.0) == [("ann again", 8.0)]


def test_a_write_of_a_tenant_without_a_follower_or_of_unknown_start_is_missed_by_nobody():
    watched = Watched()
    watched.write(1, 1.0)
    watched.follow("ann", 2.0)
    watched.write(2, 3.0, tenant="another")
    watched.deliveries.acknowledged(3, 4.0, tenant="t")
    watched.write(4, 20.0)
    assert list(watched.deliveries._unreached) == [4]
    watched.receive(4, 20.1)
    assert watched.until(60.0) == []


@pytest.mark.parametrize("at", [4.95, 5.1, 40.0])
def test_a_write_that_arrives_before_its_acknowledgement_or_late_is_not_missed(at):
    watched = Watched()
    watched.follow("ann", 0.0)
    if at < 5.0:
        watched.receive(1, at)
    watched.write(1, 5.0)
    watched.write(2, 30.0)
    watched.receive(2, 30.0)
    if at > 5.0:
        watched.receive(1, at)
    assert watched.until(60.0) == []
    assert (5.0, max(at, 5.0)) in watched.arrived


def test_a_write_that_is_acknowledged_again_after_its_receipt_is_not_missed():
    watched = Watched()
    watched.follow("ann", 0.0)
    watched.write(1, 5.0)
    watched.receive(1, 5.1)
    watched.write(1, 6.0)
    assert watched.until(60.0) == []


def test_a_receipt_is_remembered_as_long_as_an_answer_may_take():
    watched = Watched()
    watched.deliveries.follow("t", Follower(0.0, lambda: False, watched.missed.append), 120.0)
    watched.receive(1, 5.0)
    watched.receive("another worker's", 100.0)
    watched.write(1, 110.0, 105.0)
    assert watched.until(300.0) == []
    assert watched.arrived == [(110.0, 110.0)]


@pytest.mark.usefixtures("small")
def test_writes_that_reach_nobody_are_forgotten_as_missed_and_share_their_followers():
    watched = Watched()
    for name in ("ann", "bob"):
        watched.follow(name, 0.0)
    for second in range(1, 1001):
        watched.write(second, float(second))
    deliveries = watched.deliveries
    assert (len(deliveries._unreached), len(deliveries._young)) == (100, 10)
    assert len({id(followers) for followers in deliveries._unreached.values()}) == 2  # and of the young none
    assert len(watched.missed) == 2 * 900
    assert len(watched.until(1000.0)) == 2 * 990
    assert not deliveries._unreached


def test_who_is_gone_is_forgotten_when_somebody_comes():
    watched = Watched()
    for number in range(1000):
        watched.follow(number, float(number))
        watched.gone.add(number)
    assert len(watched.deliveries._followers["t"]) == 1
