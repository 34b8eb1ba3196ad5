"""Gaps, doubles and disorder of streams are found from their numbers alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.drivers.websocket import ledger as ledger_module
from loadkit.drivers.websocket.ledger import Irregularity, StreamLedger


def totals(numbers, ledger=None, stream="cpu"):
    ledger = StreamLedger() if ledger is None else ledger
    found = Counter()
    for number in numbers:
        for name, value in (ledger.note(stream, number) or Irregularity())._asdict().items():
            found[name] += value
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize(
    ("numbers", "found", "claim"),
    [
        ([5, 6, 7], {}, "a stream may begin anywhere"),
        ([1, 2, 4, 5], {"missing": 1}, "a gap is one message missing"),
        ([1, 10], {"missing": 8}, "a gap of eight"),
        ([1, 2, 2, 3], {"doubled": 1}, "twice in a row"),
        ([1, 2, 3, 1, 4], {"doubled": 1}, "a late double is no disorder"),
        ([1, 3, 2, 4], {"missing": 1, "filled": 1, "out_of_order": 1}, "reordered, and not lost"),
        ([1, 3, 2, 2], {"missing": 1, "filled": 1, "out_of_order": 1, "doubled": 1}, "filled once only"),
        ([1, 5, 3, 2, 4], {"missing": 3, "filled": 3, "out_of_order": 3}, "a gap may fill in any order"),
        ([5, 4, 6], {"out_of_order": 1}, "nothing is known before the first message"),
    ],
)
def test_what_numbers_reveal(numbers, found, claim):
    assert totals(numbers) == found, claim


def test_streams_do_not_mix():
    ledger = StreamLedger()
    assert totals([1, 2], ledger, "cpu") == totals([7, 8], ledger, "disk") == {}
    assert totals([3], ledger, "cpu") == {}
    assert ledger.following == {"cpu": 4, "disk": 9}


def test_a_gap_between_two_connections_is_missing_until_it_is_filled():
    ledger = StreamLedger()
    totals([1, 2, 3], ledger)
    ledger.reconnected()
    assert totals([6], ledger) == {"missing": 2}
    ledger.reconnected()
    assert totals([4, 5, 7], ledger) == {"filled": 2}
    assert ledger.missing == 0


def test_a_new_connection_has_an_order_of_its_own():
    ledger = StreamLedger()
    totals([1, 5, 6], ledger)
    ledger.reconnected()
    assert totals([3, 2, 4], ledger) == {"filled": 3, "out_of_order": 1}
    assert totals([7, 9, 8], ledger) == {"missing": 1, "filled": 1, "out_of_order": 1}


def test_a_resume_that_repeats_messages_doubles_them():
    ledger = StreamLedger()
    totals([1, 2, 3], ledger)
    ledger.reconnected()
    assert totals([2, 3, 4], ledger) == {"doubled": 2}


def test_old_gaps_are_forgotten_and_their_messages_then_untold(monkeypatch):
    monkeypatch.setattr(ledger_module, "_MOST_GAPS", 10)
    ledger = StreamLedger()
    assert totals(range(1, 61, 2), ledger) == {"missing": 29}
    assert ledger.missing == 10
    assert totals([2, 58], ledger) == {"untold": 1, "filled": 1, "out_of_order": 2}


@given(st.lists(st.integers(0, 30), max_size=60))
def test_numbers_are_told_apart_as_sets_tell_them(numbers):
    seen, missing, filled, doubled, out_of_order = set(), 0, 0, 0, 0
    for number in numbers:
        known = [other for other in seen if other >= numbers[0]]
        if seen and number > max(seen):
            missing += number - max(seen) - 1
        elif number < numbers[0]:
            out_of_order += 1
            continue
        elif number in seen:
            doubled += 1
        elif known:
            filled += 1
            out_of_order += 1
        seen.add(number)
    expected = {"missing": missing, "filled": filled, "doubled": doubled, "out_of_order": out_of_order}
    assert totals(numbers) == {name: value for name, value in expected.items() if value}
