"""What a second worker adds: users on a service inside their own process, so that nothing but the workers is in the way."""

import asyncio
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import uvloop

from loadkit.clock import MonotonicClock
from loadkit.drivers.fake import Answer, FakeDriver
from loadkit.engine.worker import Shard, run_users
from loadkit.recording.recorder import Report
from loadkit.target import Target
from loadkit.users.pacer import BEST_ALARM
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

__all__ = ["operations_per_second"]

_USERS = 100
_LEAD = 2.0
"""Seconds for the workers' processes to start."""
_ANSWER = Answer(0.0, body=b'{"id": 17}')


def operations_per_second(workers: int, seconds: int) -> float:
    """How many operations per second so many workers do together."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        start = time.time() + _LEAD
        parts = [executor.submit(_done, index, workers, seconds, start) for index in range(workers)]
        return sum(part.result() for part in parts) / seconds


def _done(index: int, of: int, seconds: int, start: float) -> int:
    """One worker's share: how many operations it did."""
    workload = Workload(
        Model.CLOSED,
        (Stage(0, _USERS), Stage(seconds, _USERS)),
        (MixEntry("tests.bench.journeys:read", 1.0),),
        Think(0, 0),
    )
    clock = MonotonicClock()
    sent = 0

    def count(report: Report) -> bool:
        nonlocal sent
        sent += report.worker_second.count("sent")
        return True

    shard = Shard(index, of, Target("bench", "http://in.process"), "bench", Path.cwd())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            run_users(
                Plan.of("bench", workload, cache="as it is"),
                shard,
                clock.moment(start),
                count,
                clock=clock,
                drivers=(FakeDriver(lambda _begun, _method, _path: _ANSWER, clock),),
                alarm_of=BEST_ALARM,
            )
        )
    return sent
