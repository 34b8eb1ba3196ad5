"""What is lost at the end of a subscription shows in what others know of its streams."""

from loadkit.drivers.websocket.heads import StreamHeads
from loadkit.drivers.websocket.ledger import StreamLedger

PATIENCE = 10.0


def following(number, stream="cpu"):
    ledger = StreamLedger()
    ledger.begin(stream, number)
    return ledger.following


def heads_with(*moments):
    """Heads of a stream that a publisher knew: pairs of a moment and the newest number then."""
    heads = StreamHeads()
    heads.follow("acme", {}, PATIENCE)
    for at, number in moments:
        heads.know("acme", "cpu", number)
        heads.look(at)
    return heads


def test_what_is_older_than_the_time_out_is_lost_and_what_is_younger_is_not_known():
    heads = heads_with((0.0, 100), (8.0, 180), (12.0, 220))
    # At 11 s: number 100 was there 10 s before, 180 a second before.
    assert heads.unseen("acme", following(100), 11.0) == (0, 80)
    assert heads.unseen("acme", following(90), 11.0) == (10, 80)
    assert heads.unseen("acme", following(180), 11.0) == (0, 0)


def test_what_was_published_in_the_last_second_is_not_expected():
    heads = heads_with((10.0, 100), (11.0, 200))
    assert heads.unseen("acme", following(100), 11.5) == (0, 0)


def test_one_subscriber_learns_from_another():
    heads = StreamHeads()
    other = following(500)
    heads.follow("acme", other, PATIENCE)
    heads.look(0.0)
    heads.forget(other)
    heads.look(11.0)
    assert heads.unseen("acme", following(400), 11.0) == (100, 0)


def test_streams_of_two_tenants_are_two_streams():
    heads = heads_with((0.0, 100))
    heads.look(11.0)
    assert heads.unseen("globex", following(5), 11.0) == (0, 0)
    assert heads.unseen("acme", following(5, "memory"), 11.0) == (0, 0)


def test_the_past_is_forgotten():
    heads = heads_with(*((float(at), at) for at in range(1000)))
    assert len(heads._past) <= PATIENCE + 3


def test_a_stream_begins_where_the_service_says_and_leaves_out_what_it_skips():
    ledger = StreamLedger()
    assert ledger.begin("cpu", 17) == 0
    assert ledger.note("cpu", 18) is None
    assert ledger.note("cpu", 20).missing == 1
    assert ledger.begin("cpu", 20) == 0
    assert ledger.begin("cpu", 1200) == 1180
    assert ledger.note("cpu", 1201) is None
    assert ledger.missing == 1181
