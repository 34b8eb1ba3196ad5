"""Traces of requests: the `traceparent` header, and the address that shows a trace."""

import asyncio
import math

from loadkit.clock import MonotonicClock
from loadkit.drivers.http.driver import HttpDriver
from loadkit.engine.run import run
from loadkit.environment import environment
from loadkit.recording.recorder import Recorder
from loadkit.target import Target
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.workload import MixEntry, Think
from tests.bad_servers import always_says, in_a_thread, listening
from tests.http_session import OK, running
from tests.suites import ROOT
from tests.user_meeting import WritingDriver, lines_of
from tests.virtual_time import VirtualLoop, plan_of

BROKEN = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"


def users_of(driver, recorder, clock, count=1):
    """Recorded users of one worker and population."""
    context = WorkerContext(plan_of(), clock, (driver,), recorder, Pacer(clock, LoopAlarm), "run-7")
    users = [User(number, MixEntry("m:f", 1.0), None, context) for number in range(count)]
    for user in users:
        user.meter.start(clock.now(), math.inf)
    return users


# --- through httpx


def through_httpx(use):
    """The headers of what a user sends through httpx to a service that fails, and the examples of that."""

    async def main():
        async with listening(always_says(BROKEN)) as server:
            clock = MonotonicClock()
            driver = HttpDriver(Target("t", server.base))
            (user,) = users_of(driver, Recorder(0, clock.now()), clock)
            user.use_httpx()
            await use(user)
            user.close()
            await asyncio.sleep(0)
        assert user.meter.recorder.httpx_requests == len(server.requests), "else nothing is proven"
        heads = [request.partition(b"\r\n\r\n")[0] for request in server.requests]
        sent = [lines_of(head.partition(b"\r\n")[2]) for head in heads]
        return sent, user.meter.recorder.examples.drain()

    return running(main())


def test_each_request_through_httpx_carries_a_trace_of_its_own_that_its_example_names():
    async def use(user):
        await user.get("/broken")
        await user.post("/broken", json={"n": 1})

    sent, examples = through_httpx(use)
    traces = [headers["traceparent"].split("-") for headers in sent]
    assert [flags for *_, flags in traces] == ["01", "00"]  # one of a second is to be traced
    named = [example.exchange.trace for example in examples]
    assert named == [trace for _, trace, _, _ in traces]
    assert len(set(named)) == 2


def test_a_trace_of_the_journeys_own_is_kept_through_httpx():
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    sent, (example,) = through_httpx(lambda user: user.get("/broken", headers={"Traceparent": own}))
    assert [headers["traceparent"] for headers in sent] == [own]
    assert example.exchange.trace == "a" * 32


# --- how many are sampled


def flags_of(use):
    """The flags of the traces that two users of one population send, in order."""
    loop = VirtualLoop()

    async def main():
        driver, recorder = WritingDriver(loop.clock), Recorder(0, 0.0)
        await use(recorder, *users_of(driver, recorder, loop.clock, count=2))
        return [lines_of(headers)["traceparent"].rpartition("-")[2] for _, _, headers, _, _ in driver.asked]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def test_in_each_second_the_first_request_of_a_population_is_sampled_and_no_other():
    async def use(recorder, one, other):
        for _ in range(3):
            for user in (one, other, one):
                await user.get("/")
            recorder.report()

    assert flags_of(use) == ["01", "00", "00"] * 3


def test_a_request_that_is_not_recorded_is_not_sampled_and_the_next_recorded_one_is():
    async def use(_recorder, one, other):
        await one.get("/", record=False)
        await other.get("/")

    assert flags_of(use) == ["00", "01"]


# --- where they are shown


def test_the_address_in_the_environment_file_that_shows_traces_is_a_fact_of_the_run(tmp_path):
    address = "http://traces.example/{trace}"
    folder = tmp_path / "environments"
    folder.mkdir()
    with in_a_thread(always_says(OK)) as server:
        (folder / "here.toml").write_text(f'base = "{server.base}"\ntrace_url = "{address}"\n')
        target = environment.load("here", tmp_path).target({})
        plan = plan_of(level=2, seconds=1, think=Think(0.05, 0.15), drain=1.0)
        done = run(plan, target, root=ROOT, workers=1)
    assert done.facts["trace_url"] == address
