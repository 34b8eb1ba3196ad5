"""Where the users of an open load wait for arrivals, or the arrivals for them."""

import asyncio
import math

from loadkit.recording.timing import CONNECT, QUERY, REQUEST, SEND, WORKFLOW
from loadkit.users.arrival_queue import ArrivalQueue


def test_whoever_came_first_goes_first():
    async def main():
        arrival_queue = ArrivalQueue()
        users = [arrival_queue.turn() for _ in range(2)]
        assert arrival_queue.admit(1.0)
        assert arrival_queue.admit(2.0)
        assert [await user for user in users] == [1.0, 2.0]
        assert not arrival_queue.admit(3.0)
        assert not arrival_queue.admit(4.0)
        assert [await arrival_queue.turn() for _ in range(2)] == [3.0, 4.0]

    asyncio.run(main())


def test_when_it_closes_those_who_wait_go_and_what_is_due_is_still_served():
    async def main():
        arrival_queue = ArrivalQueue()
        waiting = arrival_queue.turn()
        arrival_queue.close()
        assert await waiting == math.inf
        arrival_queue.due.append(5.0)
        assert [await arrival_queue.turn() for _ in range(2)] == [5.0, math.inf]

    asyncio.run(main())


def test_a_message_that_was_only_sent_is_nothing_that_an_arrival_can_fail_as():
    arrival_queue = ArrivalQueue()
    for timing in (REQUEST, QUERY, QUERY, SEND, CONNECT):
        arrival_queue.note_operation("label", timing, "acme")
    assert arrival_queue.served == {("label", "request", "acme"): 1, ("label", "query", "acme"): 2}


def test_a_journey_can_fail_as_each_operation_and_workflow_that_it_had():
    arrival_queue = ArrivalQueue()
    for timings in ((REQUEST, WORKFLOW, QUERY), (QUERY, CONNECT, REQUEST, WORKFLOW), (CONNECT, SEND), ()):
        arrival_queue.note_journey("label", {each.key for each in timings}, "acme")
    assert arrival_queue.served == {("label", "query request workflow", "acme"): 2}


def test_a_user_whose_wait_was_ended_gets_no_arrival_and_stops_none():
    async def main():
        arrival_queue = ArrivalQueue()
        impatient, patient = arrival_queue.turn(), arrival_queue.turn()
        impatient.cancel()
        assert arrival_queue.admit(1.0)
        assert await patient == 1.0
        impatient = arrival_queue.turn()
        impatient.cancel()
        assert not arrival_queue.admit(2.0)
        assert await arrival_queue.turn() == 2.0
        impatient, patient = arrival_queue.turn(), arrival_queue.turn()
        impatient.cancel()
        arrival_queue.close()
        assert await patient == math.inf

    asyncio.run(main())


def test_waits_that_were_ended_count_as_no_free_users():
    async def main():
        arrival_queue = ArrivalQueue()
        for _ in range(3):
            arrival_queue.turn().cancel()
        waiting = arrival_queue.turn()
        assert len(arrival_queue.waiting) == 1
        assert arrival_queue.admit(1.0)
        assert await waiting == 1.0

    asyncio.run(main())
