"""A service that answers messages after a known time, through the whole path to a verdict."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from loadkit import grammar
from loadkit.engine.run import run
from loadkit.recording.timing import ROUND_TRIP
from loadkit.target import Target
from loadkit.verdict import Status
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.builders import judge
from tests.websocket_server import serving

DELAY = 0.1


def echoing(unanswered: int = 0):
    """Gives the base address of a service that sends each message back after `DELAY`, but each `unanswered`-th."""

    async def echo(ws) -> None:
        number = 0
        with suppress(ConnectionClosed):
            async for message in ws:
                number += 1
                if not unanswered or number % unanswered:
                    await asyncio.sleep(DELAY)
                    await ws.send(message)

    return serving(echo)


def measured(base: str, seconds: int):
    workload = Workload(
        Model.CLOSED,
        (Stage(0, 20), Stage(seconds, 20)),
        (MixEntry("tests.websocket_journeys:ask", 1.0),),
        Think(0.05, 0.15),
    )
    done = run(
        replace(Plan.of("t", workload, cache="as it is"), timeout=0.5),
        Target("t", base, judges_round_trips=True),
        root=Path(__file__).parent.parent,
        workers=1,
    )
    # How busy this machine is with other tests does not matter here.
    return replace(done, observations={})


@pytest.mark.load
@pytest.mark.prove
def test_latency_by_round_trips_is_the_time_that_the_service_takes_to_answer():
    with echoing() as base:
        done = measured(base, 6)
    passes, fails = (
        judge(grammar.criterion(f"the p95 message latency is below {limit} ms"), done) for limit in (250, 90)
    )
    assert (passes.status, fails.status) == (Status.PASS, Status.FAIL)
    assert DELAY <= passes.measured < 2 * DELAY
    assert "judged on the message round trip" in passes.reason
    assert done.table.labels(ROUND_TRIP) == ["WS /live"]


@pytest.mark.load
@pytest.mark.prove
def test_answers_that_never_come_are_failed_messages_and_not_missing_ones():
    with echoing(unanswered=5) as base:
        done = measured(base, 8)
    found = judge(grammar.criterion("the p95 message latency is below 250 ms"), done)
    assert found.status is Status.FAIL
    assert "timeout" in done.table.outcomes
