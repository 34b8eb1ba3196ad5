"""A user with a driver that keeps what is asked of it."""

import asyncio

from loadkit.drivers.canaries import Canaries
from loadkit.drivers.fake import Answer, FakeDriver
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.masking import Mask
from loadkit.recording.recorder import Recorder
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.workload import MixEntry
from tests.virtual_time import VirtualLoop, plan_of


class WritingDriver:
    """Keeps what is asked of it."""

    name = "http"
    descriptors_per_user = 1

    def __init__(self, clock):
        self.asked = []
        self._driver = FakeDriver(
            lambda _now, _method, path: Answer(
                0.1,
                status_code=500 if path == "/broken" else 200,
                body=b"<html>" if path in ("/page", "/broken") else b"{}",
                failure=path[2:].replace("%20", " ") if path[1:2] == "!" else "",
                held_back=0.03 if path == "/held" else 0.0,
            ),
            clock,
        )

    def client(self, meter):
        return HttpClient(meter, self)

    instance_header = "X-Instance"
    canaries = Canaries(())
    mask = Mask()

    def session(self):
        session, asked = self._driver.session(), self.asked

        class Session:
            def request(self, method, path, headers, more, body, deadline):
                asked.append((method, path, headers.block + more, body, deadline))
                return session.request(method, path, headers, more, body, deadline)

            def close(self):
                pass

        return Session()

    def httpx_session(self, note, options):
        return self.session()


class Meeting:
    """A user, what it sent, and what was recorded."""

    def __init__(self, loop, account=None, **plan):
        self.clock = loop.clock
        self.driver = WritingDriver(loop.clock)
        recorder = Recorder(0, 0.0)
        stated = plan_of(**plan)
        self.recorder = recorder.population(stated.populations[0].name)
        context = WorkerContext(
            stated, loop.clock, (self.driver,), recorder, Pacer(loop.clock, LoopAlarm), "run-7"
        )
        self.user = User(3, MixEntry("m:f", 1.0, "eu", (("topic", "cpu"),)), account, context)
        self.user.meter.start(0.0, float("inf"))


def following(user, done, **how):
    """What the engine has the user do."""
    return Lifecycle(user, user.meter._pacer).follow(done, **how)


def meet(use, **rest):
    loop = VirtualLoop()

    async def main():
        meeting = Meeting(loop, **rest)
        await use(meeting.user)
        meeting.user.close()
        return meeting

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def only_request(meeting):
    (asked,) = meeting.driver.asked
    return asked


def lines_of(block):
    """What stands on the wire, by name."""
    fields = [line.split(": ", 1) for line in block.decode().split("\r\n") if line]
    assert len({name.lower() for name, _ in fields}) == len(fields), fields
    return {name.lower(): value for name, value in fields}


def mistakes_of(recorder):
    """How often each error of a journey's code was met."""
    return {
        name.removeprefix(JOURNEY_ERROR): number
        for name, number in recorder.counts.items()
        if name.startswith(JOURNEY_ERROR)
    }
