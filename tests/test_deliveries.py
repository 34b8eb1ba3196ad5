"""A write counts from its acknowledgement until each who watches has it."""

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


def test_old_writes_are_forgotten():
    deliveries = Deliveries()
    for number in range(1000):
        deliveries.acknowledged(number, float(number))
        deliveries.received(-number, float(number), lambda begun, end: None)
    assert len(deliveries._acknowledged) + len(deliveries._early) < 130
