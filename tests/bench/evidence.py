"""What examples, trace headers and the search for other tenants' data cost, in requests per CPU-second.

``python -m tests.bench.evidence [pauses]``: takes two minutes. One process puts the same load on nginx again
and again, and the kinds take turns in short rounds. So a machine whose speed drifts affects all.
"""

import asyncio
import gc
import itertools
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import uvloop

from loadkit.clock import MonotonicClock
from loadkit.drivers.http.paths import label_of
from loadkit.drivers.registry import drivers_for
from loadkit.engine.worker import Shard, run_users
from loadkit.recording.examples import ExampleLog
from loadkit.recording.recorder import Report
from loadkit.recording.timing import REQUEST
from loadkit.target import Account, Secret, Target
from loadkit.users.pacer import BEST_ALARM
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.bench.server import nginx

__all__ = ["Kind", "costs", "lines"]

_TENANTS = 20
_LEAD = 0.3
"""Seconds from the creation of a load to its start."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A load with or without a part of the evidence."""

    name: str
    size: int
    """Bytes of an answer."""
    has_examples: bool = True
    has_canaries: bool = False


_KINDS = tuple(
    kind
    for size in (300, 8192)
    for kind in (
        Kind(f"{size} B, without examples and traces", size, has_examples=False),
        Kind(f"{size} B", size),
        Kind(f"{size} B, each answer searched", size, has_canaries=True),
    )
)


class _NoExamples(ExampleLog):
    """Wants nothing, at the cost of one comparison."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.slow_from(REQUEST).update(
            {label_of("GET", f"/file/{kind.size}"): float("inf") for kind in _KINDS}
        )


def costs(rounds: int, seconds: float, users: int, think: Think) -> dict[str, list[float]]:
    """For each kind, the CPU time per request in seconds, round by round; users and think time as told."""
    found: dict[str, list[float]] = {kind.name: [] for kind in _KINDS}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # nginx reads the answers as another user
        for kind in _KINDS:
            (Path(folder) / str(kind.size)).write_bytes(_answer(kind.size))
        with nginx(Path(folder)) as server:
            for number in range(rounds):
                for kind in _KINDS if number % 2 == 0 else reversed(_KINDS):
                    found[kind.name].append(_per_request(kind, server.url, seconds, users, think))
    return found


def _canary(tenant: int) -> str:
    return f"tk-{uuid.uuid5(uuid.NAMESPACE_DNS, str(tenant)).hex}"


def _answer(size: int) -> bytes:
    """JSON like that of a dashboard, of the first tenant; each tenth row carries its canary."""
    rows: list[bytes] = []
    while sum(map(len, rows)) < size:
        number = len(rows)
        key = b', "tenant_key": "%b"' % _canary(0).encode() if number % 10 == 0 else b""
        rows.append(b'{"id": %d, "name": "cpu.load", "value": %d.25, "host": "web-%d"%b},\n' % (
            number, number * 37 % 100, number % 7, key,
        ))  # fmt: skip
    return b"".join(rows)[:size]


def _target(kind: Kind, url: str, users: int) -> Target:
    # All users are of the first tenant, whose data the answers hold.
    accounts = tuple(
        Account(f"user{place}", Secret("x"), tenant=f"tenant {number}", canary=Secret(_canary(number)))
        for place, number in enumerate([0] * users + list(range(1, _TENANTS)))
    )
    return Target("bench", url, accounts=accounts if kind.has_canaries else (), shares_accounts=True)


def _per_request(kind: Kind, url: str, seconds: float, users: int, think: Think) -> float:
    workload = Workload(
        Model.CLOSED,
        (Stage(0, users), Stage(seconds, users)),
        (MixEntry("tests.bench.journeys:fetch", 1.0, arguments=(("path", f"/file/{kind.size}"),)),),
        think,
    )
    clock = MonotonicClock()
    sent, before = 0, 0.0

    def count(report: Report) -> bool:
        nonlocal sent, before
        if not before:
            # The first second has the log-in of users, and most examples: each new slowest is one.
            before = time.process_time()
            return True
        sent += report.worker_second.count("sent")
        return True

    target = _target(kind, url, users)
    with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if not kind.has_examples:
            stack.enter_context(patch("loadkit.recording.recorder.ExampleLog", _NoExamples))
            stack.enter_context(patch("loadkit.drivers.http.client.traces", _no_traces))
        runner.run(
            run_users(
                Plan.of("bench", workload, cache="as it is"),
                Shard(0, 1, target, "bench", Path.cwd()),
                clock.now() + _LEAD,
                count,
                clock=clock,
                drivers=drivers_for(["http"], target),
                alarm_of=BEST_ALARM,
            )
        )
        return (time.process_time() - before) / sent


def _no_traces() -> Iterator[bytes]:
    return itertools.repeat(b"")


def lines(found: dict[str, list[float]]) -> Iterator[str]:
    """A line per kind: requests per CPU-second, and the median change within a round, with its quartiles."""
    for name, times in found.items():
        size = name.partition(",")[0]
        base = found[size]
        changes = [100 * (own / other - 1) for own, other in zip(times, base, strict=True)]
        low, middle, high = _quartiles(changes)
        yield (
            f"{name:<40}{1 / statistics.median(times):9,.0f} requests per CPU-second   "
            f"{middle:+5.1f} % CPU ({low:+.1f} to {high:+.1f})"
        )


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else 3 * [values[0]]
    return low, middle, high


def main(show: Callable[[str], None] = print) -> None:
    """Measure users without pauses, or with pauses if the command says `pauses`."""
    think = Think(0.3, 1.3) if sys.argv[1:] == ["pauses"] else Think(0.0, 0.0)
    gc.set_threshold(50_000, 20, 100)  # as in a worker
    for line in lines(costs(5, 4.0, 1000 if think.mean else 100, think)):
        show(line)


if __name__ == "__main__":
    main()
