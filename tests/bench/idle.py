"""The memory of idle connections: how much more a worker takes that holds many instead of few.

`python -m tests.bench.idle` prints the bytes of a connection, with all of its virtual user. The
sockets are the kernel's, and not in it.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from loadkit.clock import Clock
from loadkit.engine.worker import Shard, run_shard
from loadkit.recording.recorder import Report
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.bench.message_server import MessageServer, message_server

__all__ = ["FEW", "MANY", "idle_bytes"]

FEW, MANY = 300, 3300
"""Idle connections of two workers; their difference in memory is that of the connections alone."""
_PER_SECOND = 1000
"""Connections that are opened per second."""
_START, _SETTLED, _LONGEST = 1.0, 2.0, 60.0
"""Seconds until the load begins, from the last handshake until the memory is read, and of the load."""


class _Nowhere:
    """The end of a channel behind which nobody reads the reports."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def __call__(self, report: Report) -> bool:
        return True

    def clock_offset(self, clock: Clock) -> float:
        return 0.0


def idle_bytes(few: int = FEW, many: int = MANY) -> Mapping[str, float]:
    """Bytes of an idle connection in the memory of a worker: its share of shared pages, and resident."""
    with message_server() as server:
        before, after = (_memory(server, connections) for connections in (few, many))
    return {name: (getattr(after, name) - getattr(before, name)) / (many - few) for name in ("pss", "rss")}


def _memory(server: MessageServer, connections: int) -> psutil._ntuples.pfullmem:
    """The memory of a worker that holds so many idle connections."""
    server.set_rate(0)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.idle", server.url, str(connections)],
        cwd=Path(__file__).parent.parent.parent,
    )
    try:
        last = time.monotonic() + _LONGEST
        while server.figures()["connections"] < connections:
            if worker.poll() is not None or time.monotonic() > last:
                raise RuntimeError(f"the worker never held {connections} connections")
            time.sleep(0.1)
        time.sleep(_SETTLED)
        return psutil.Process(worker.pid).memory_full_info()
    finally:
        worker.kill()
        worker.wait()
        while server.figures()["connections"]:
            time.sleep(0.1)


def _hold(url: str, connections: int) -> None:
    """Be a worker."""
    stages = Stage(connections / _PER_SECOND, connections), Stage(_LONGEST, connections)
    workload = Workload(Model.CLOSED, stages, (MixEntry("tests.bench.journeys:follow", 1.0),))
    run_shard(
        Plan.of("bench", workload, cache="as it is"),
        Shard(0, 1, Target("bench", url), "bench", Path.cwd()),
        time.time() + _START,
        _Nowhere(),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with contextlib.suppress(KeyboardInterrupt):
            _hold(sys.argv[1], int(sys.argv[2]))
    else:
        print(json.dumps(idle_bytes()))
