"""What examples, trace headers and the search for other tenants' data cost the generator.

``python -m tests.bench.evidence [pauses]``: takes three minutes. One process puts a steady load on
nginx, and switches a part of the evidence on and off while its users go on: the same users,
connections and memory. The blocks are short, in the order on-off-off-on or off-on-on-off by lot.
So a machine whose speed drifts affects both alike, and so does what occurs each second.

A block's cost is the CPU time of the process, user and system, by request. If the kernel counts
instructions, they are shown as well: they have less noise. Each group of four blocks gives a ratio.
Shown are the median of the ratios and its interval at 95 %, which assumes nothing of their
distribution.
"""

import asyncio
import contextlib
import gc
import itertools
import json
import math
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvloop

from loadkit.clock import MonotonicClock
from loadkit.drivers.canaries import TenantSearch
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.registry import drivers_for
from loadkit.engine.worker import Shard, run_users
from loadkit.recording.recorder import Report
from loadkit.target import Account, Secret, Target
from loadkit.users.pacer import BEST_ALARM
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.bench.instructions import InstructionCounter
from tests.bench.server import nginx

__all__ = ["PARTS", "Block", "Cost", "Part", "Switch", "answer", "cost_of", "median_interval", "order"]

_TENANTS = 20
_SIZES = (300, 8192)
"""Bytes of an answer."""
_LEAD = 0.3
"""Seconds from the creation of a load to its start."""
_WARM_UP = 2.0
"""Seconds with the log-in of users and most examples: at first, each slowest answer is one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the evidence, and what it may cost."""

    name: str
    aim: float
    """A ratio."""
    is_rate: bool
    """Is the aim of requests per CPU-second, or else of CPU time?"""


PARTS = (Part("examples and trace headers", 0.03, True), Part("canary search", 0.05, False))
_EXAMPLES, _SEARCH = PARTS


@dataclass(frozen=True, slots=True)
class Block:
    """A short time with a part on or off."""

    is_on: bool
    requests: int
    cpu: float
    """Seconds of the process, user and system."""
    instructions: int = 0
    """In user mode; 0 where they are not counted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """By how much something grows with a part: ratios, 0 for nothing."""

    low: float
    middle: float
    high: float

    def words(self, aim: float, *, is_rate: bool) -> str:
        """The sentence: the median, its interval, and whether it is within the aim.

        Args:
            aim: the most that it may cost, a ratio.
            is_rate: say the cost as what is lost of a rate, such as requests per CPU-second.

        """
        low, middle, high = self.low, self.middle, self.high
        if is_rate:
            low, middle, high = (1 / (1 + each) - 1 for each in (high, middle, low))
        least, most = (-high, -low) if is_rate else (low, high)
        answer = "within it" if most <= aim else "above it" if least > aim else "undecided"
        return f"{100 * middle:+.1f} % ({100 * low:+.1f} to {100 * high:+.1f}), target {100 * aim:.0f} %: {answer}"


def order(groups: int, seed: int) -> list[bool]:
    """On and off for groups of four blocks. Each group is free of any linear drift."""
    choices = random.Random(seed)
    return [is_on ^ flip for flip in choices.choices([False, True], k=groups) for is_on in _GROUP]


_GROUP = (True, False, False, True)


def cost_of(blocks: Sequence[Block], of: Callable[[Block], float]) -> Cost:
    """What a part costs, from whole groups of four blocks.

    Args:
        blocks: in the order of `order`.
        of: what is compared, such as the CPU time of a block.

    """
    ratios: list[float] = []
    for place in range(0, len(blocks) - 3, 4):
        on, off = (
            sum(of(block) / block.requests for block in blocks[place : place + 4] if block.is_on is state)
            for state in (True, False)
        )
        ratios.append(on / off - 1)
    low, high = median_interval(ratios)
    return Cost(low, statistics.median(ratios), high)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The interval at 95 % of the median of what values were drawn from: two of them by rank.

    The number of values below the median is binomial, whatever their distribution. Fewer than six
    values have no such interval, and it is infinite.
    """
    ordered, count = sorted(values), len(values)
    below, rank = 0.0, 0
    while (below := below + math.comb(count, rank) / 2**count) <= 0.025:
        rank += 1
    return (ordered[rank - 1], ordered[-rank]) if rank else (-math.inf, math.inf)


def answer(size: int) -> bytes:
    """JSON of nearly `size` bytes like that of a dashboard; each tenth row has the own tenant's canary."""
    rows: list[dict[str, Any]] = []
    while True:
        number = len(rows)
        row = {
            "id": number,
            "name": "cpu.load",
            "value": number * 37 % 100 + 0.25,
            "host": f"web-{number % 7}",
        }
        rows.append(row | ({"tenant_key": _canary(0)} if number % 10 == 0 else {}))
        if len(found := json.dumps({"rows": rows}).encode()) > size:
            return json.dumps({"rows": rows[:-1]}).encode() if number else found


def _canary(tenant: int) -> str:
    return f"tk-{uuid.uuid5(uuid.NAMESPACE_DNS, str(tenant)).hex}"


@dataclass(slots=True)
class Switch:
    """The clients of all users, and what they can leave out."""

    part: Part
    clients: list[HttpClient] = field(default_factory=list)
    searches: dict[int, TenantSearch | None] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    traces: dict[int, Iterator[bytes]] = field(default_factory=dict)

    def add(self, client: HttpClient) -> None:
        number = id(client)
        self.clients.append(client)
        self.searches[number], self.traces[number] = client._search, client._traces
        self.slowest = client._slow_from

    def turn(self, *, on: bool) -> None:
        """With `_SEARCH`, examples are always on; with `_EXAMPLES`, the search is always off."""
        for client in self.clients:
            number = id(client)
            if self.part is _SEARCH:
                client._search = self.searches[number] if on else None
            else:
                client._search = None
                client._slow_from = self.slowest if on else _NO_EXAMPLES
                client._traces = self.traces[number] if on else itertools.repeat(b"")


_LABEL = "GET /file"
_NO_EXAMPLES = {_LABEL: math.inf}


def _target(url: str, users: int) -> Target:
    # All users are of the first tenant, whose data the answers hold.
    accounts = tuple(
        Account(f"user{place}", Secret("x"), tenant=f"tenant {number}", canary=Secret(_canary(number)))
        for place, number in enumerate([0] * users + list(range(1, _TENANTS)))
    )
    return Target("bench", url, accounts=accounts, shares_accounts=True)


@dataclass(frozen=True, slots=True)
class _How:
    """A load, and its blocks."""

    users: int
    think: Think
    block: float
    """Seconds, at least."""
    settling: float
    """Seconds after a switch that do not count: requests in flight began before it."""


_BUSY = _How(32, Think(0.0, 0.0), 0.1, 0.01)
_PAUSING = _How(1000, Think(0.3, 1.3), 0.4, 0.02)
_SECONDS = 38.0
"""Of the blocks of one load."""
_FEWEST = 200
"""Requests of a block: a busy machine can stop the server for longer than a block takes."""


def _blocks(
    part: Part,
    path: str,
    url: str,
    how: _How,
    counter: InstructionCounter | None,
    seconds: float = _SECONDS,
) -> list[Block]:
    """Put a load on the server, with a part on and off by turns."""
    workload = Workload(
        Model.CLOSED,
        (Stage(0, how.users), Stage(2 * _SECONDS, how.users)),
        (MixEntry("tests.bench.journeys:fetch", 1.0, arguments=(("path", path),)),),
        how.think,
    )
    clock, target, switch = MonotonicClock(), _target(url, how.users), Switch(part)
    reported, found, is_over = 0, list[Block](), False

    def count(report: Report) -> bool:
        nonlocal reported
        reported += report.worker_second.count("sent")
        return not is_over

    def reading() -> tuple[int, float, int]:
        sent = reported + switch.clients[0]._meter.recorder.sent
        return sent, time.process_time(), counter.read() if counter else 0

    async def alternate() -> None:
        nonlocal is_over
        await asyncio.sleep(_LEAD + _WARM_UP)
        end = clock.now() + seconds
        for number, is_on in enumerate(order(10_000, 1)):
            if number % 4 == 0 and clock.now() > end:
                break
            switch.turn(on=is_on)
            await asyncio.sleep(how.settling)
            before = after = reading()
            while after[0] < before[0] + _FEWEST:
                await asyncio.sleep(how.block)
                after = reading()
            found.append(Block(is_on, after[0] - before[0], after[1] - before[1], after[2] - before[2]))
        is_over = True

    async def load() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(alternate())
            group.create_task(
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

    create = HttpClient.__init__

    def created(client: HttpClient, *arguments: Any) -> None:
        create(client, *arguments)
        switch.add(client)

    with (
        patch.object(HttpClient, "__init__", created),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(load())
    return found


def lines(part: Part, size: int, blocks: Sequence[Block]) -> Iterator[str]:
    """What a part costs with answers of a size, in sentences."""
    cpu = cost_of(blocks, lambda block: block.cpu)
    what = "requests per CPU-second" if part.is_rate else "CPU time"
    rate = sum(block.requests for block in blocks) / sum(block.cpu for block in blocks)
    yield (
        f"{part.name}: {what} {cpu.words(part.aim, is_rate=part.is_rate)} "
        f"[answers of {size} B, {len(blocks)} blocks, {rate:,.0f} requests per CPU-second]"
    )
    if all(block.instructions for block in blocks):
        counted = cost_of(blocks, lambda block: block.instructions)
        yield f"{part.name}: instructions {counted.words(part.aim, is_rate=False)} [answers of {size} B]"


def main(show: Callable[[str], None] = print) -> None:
    """Measure users without pauses, or with pauses if the command says `pauses`."""
    how = _PAUSING if sys.argv[1:] == ["pauses"] else _BUSY
    gc.set_threshold(50_000, 20, 100)  # as in a worker
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)  # nginx reads the answers as another user
        for size in _SIZES:
            (folder / str(size)).write_bytes(answer(size))
        server = stack.enter_context(nginx(folder))
        counter = None
        with contextlib.suppress(OSError):
            counter = stack.enter_context(InstructionCounter())
        if counter is None:
            show("instructions: this kernel does not count them; CPU time alone")
        for part, size in itertools.product(PARTS, _SIZES):
            for line in lines(part, size, _blocks(part, f"/file/{size}", server.url, how, counter)):
                show(line)


if __name__ == "__main__":
    main()
