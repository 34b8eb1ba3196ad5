import asyncio

import pytest

from loadkit.drivers.http.outbox import MOST, Outbox


class Sender:
    def __init__(self, sent):
        self._sent = sent

    def flush(self):
        self._sent.append(self)


@pytest.mark.parametrize(
    ("added", "at_once", "next_turn"),
    [
        (1, 0, 1),
        (3, 0, 3),
        (MOST - 1, 0, MOST - 1),
        (MOST, MOST, MOST),  # none waits for more than so many
        (MOST + 3, MOST, MOST + 3),
        (3 * MOST, 3 * MOST, 3 * MOST),
    ],
)
def test_requests_of_one_turn_leave_together_in_their_order(added, at_once, next_turn):
    sent = []
    senders = [Sender(sent) for _ in range(added)]

    async def main():
        outbox = Outbox()
        for sender in senders:
            outbox.add(sender)
        assert sent == senders[:at_once]
        await asyncio.sleep(0)
        assert sent == senders[:next_turn]

    asyncio.run(main())


def test_those_of_the_next_turn_leave_too():
    sent = []

    async def main():
        outbox = Outbox()
        for turn in range(1, 4):
            outbox.add(Sender(sent))
            await asyncio.sleep(0)
            assert len(sent) == turn

    asyncio.run(main())
