"""The clock of a service on another host: its offset, the error of that, and what it does to verdicts."""

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response

from loadkit import grammar
from loadkit.engine.run import run
from loadkit.engine.service_clock import Offset, RoundTrip, clock_facts, offset_of, service_offset
from loadkit.errors import ConfigurationError
from loadkit.target import Target
from loadkit.verdict import Status
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.builders import judge
from tests.websocket_server import serving

delays = st.floats(0, 1)


@given(st.floats(-1000, 1000), st.lists(st.tuples(delays, delays), min_size=1))
def test_the_offset_is_within_its_uncertainty_whatever_the_way_there_and_back_takes(offset, ways):
    trips = [RoundTrip(0.0, there + offset, there + back) for there, back in ways]
    found = offset_of(trips)
    assert abs(found.seconds - offset) <= found.uncertainty + 1e-9
    assert found.uncertainty <= min(there + back for there, back in ways) / 2 + 1e-9


def test_instances_whose_clocks_differ_are_all_within_the_uncertainty():
    found = offset_of([RoundTrip(0.0, 0.0, 0.002), RoundTrip(0.0, 0.3, 0.004)])
    assert found.seconds == pytest.approx(-0.001)
    assert found.seconds + found.uncertainty >= 0.298 - 0.002


def test_the_drift_between_two_measurements_adds_to_the_uncertainty():
    assert Offset(0.25, 0.001).until(Offset(0.26, 0.002)) == pytest.approx(
        {"offset": 0.25, "drift": 0.01, "uncertainty": 0.012}
    )


class Service:
    """Its clock is ahead by 250 ms at its start, and gains `drift` seconds per second."""

    def __init__(self, drift: float = 0.0, latency: float = 0.05, tells: str = "json") -> None:
        self.drift, self.latency, self.tells = drift, latency, tells
        self.began = time.time()

    def now(self) -> float:
        now = time.time()
        return now + 0.25 + self.drift * (now - self.began)

    def answer(self, _connection, request):
        if "Upgrade" in request.headers:
            return None
        headers = Headers({"X-Time": str(self.now())} if self.tells == "header" else {})
        body = json.dumps({"time": self.now()}).encode() if self.tells == "json" else b"ok"
        headers["Content-Length"], headers["Connection"] = str(len(body)), "close"
        return Response(200, "OK", headers, body)

    async def push(self, ws) -> None:
        number = 0
        with suppress(ConnectionClosed):
            while True:
                number += 1
                await ws.send(json.dumps(["a", number, self.now() - self.latency]))
                await asyncio.sleep(0.05)


def served(service: Service):
    """Gives the base address of a service, which runs in a thread."""
    return serving(service.push, process_request=service.answer)


@pytest.mark.parametrize("tells", ["json", "header"])
def test_the_offset_of_a_service_is_measured_by_round_trips(tells):
    with served(Service(tells=tells)) as base:
        found = service_offset(Target("t", base, clock="/clock"))
    assert abs(found.seconds - 0.25) <= found.uncertainty


def test_an_answer_without_a_time_is_refused_before_the_load():
    with served(Service(tells="nothing")) as base, pytest.raises(ConfigurationError, match="tells no time"):
        service_offset(Target("t", base, clock="/clock"))


def test_a_clock_that_cannot_be_asked_after_the_load_is_not_known():
    target = Target("t", "http://127.0.0.1:1", clock="/clock")
    assert clock_facts(target, Offset(0.25, 0.001)) == {}
    assert clock_facts(Target("t", "http://127.0.0.1:1"), None) == {"clock": {"uncertainty": 0.0}}
    assert clock_facts(Target("t", "http://192.0.2.1:1"), None) == {}


def verdicts(drift: float, *limits: int):
    """What a load of the service says of limits in milliseconds."""
    workload = Workload(
        Model.CLOSED, (Stage(0, 20), Stage(5, 20)), (MixEntry("tests.websocket_journeys:follow", 1.0),)
    )
    with served(Service(drift)) as base:
        done = run(
            Plan.of("t", workload, cache="as it is"),
            Target("t", base, clock="/clock"),
            root=Path(__file__).parent.parent,
            workers=1,
        )
    # How busy this machine is with other tests does not matter here.
    done = replace(done, observations={})
    return done, [
        judge(grammar.criterion(f"the p95 message latency is below {limit} ms"), done) for limit in limits
    ]


@pytest.mark.load
@pytest.mark.prove
def test_a_service_whose_clock_is_off_and_drifts_gets_the_right_verdicts():
    """The latency is 50 ms. The clock is 250 ms ahead, and gains 2 ms per second of the load."""
    done, (passes, doubtful, fails) = verdicts(0.002, 250, 62, 10)
    clock = done.facts["clock"]
    assert 0.25 < clock["offset"] < 0.4
    assert 0.005 < clock["drift"] < clock["uncertainty"]
    assert (passes.status, doubtful.status, fails.status) == (
        Status.PASS,
        Status.INCONCLUSIVE,
        Status.FAIL,
    )
    for found in (passes, doubtful, fails):
        assert "the clocks differ by" in found.reason
        assert found.details["clock_uncertainty"] == clock["uncertainty"]
    lower, upper = passes.interval
    assert upper - lower >= 1.5 * clock["uncertainty"]
