"""A testbed that puts no load on: it makes runs of a service that answers as told, and notes what it was asked."""

import json
import os
import signal
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from loadkit.environment.environment import Environment
from loadkit.errors import UnreachableError
from loadkit.recording.ending import Ending
from loadkit.recording.run import Run
from loadkit.workload.plan import Plan
from tests.builders import run_of, samples_of

ORDERS = Path("orders.json")
"""How the service answers: {"seconds": 0.01, "trouble": "", "mistake": "", "ended": "complete", "interrupt": false, "facts": {}}."""
LOG = Path("testbed.log")
"""One line for each call: "run Run A: 100 users", "close"."""


class FakeTestbed:
    """See `steps.suite.session.Testbed`."""

    def __init__(self, environment: Environment, runs: Path, **_: object) -> None:
        self._groups = environment.settings.groups

    def run(self, plan: Plan, title: str, queries: Iterable[str], measures: Collection[str]) -> Run:
        orders = json.loads(ORDERS.read_text())
        _note(" ".join([f"run {title}", *queries]))
        if orders.get("trouble"):
            raise UnreachableError(orders["trouble"])
        if orders.get("mistake"):
            raise KeyError(orders["mistake"])
        if orders.get("interrupt"):
            os.kill(os.getpid(), signal.SIGINT)
        seconds = int(plan.seconds)
        starts = np.arange(0, seconds, 0.01)
        times = np.full(len(starts), orders.get("seconds", 0.01))
        run = run_of(samples_of(starts, times, label="GET /shop/items"), plan, groups=self._groups)
        facts = {**run.facts, **orders.get("facts", {})}
        return replace(run, ended=Ending.read(orders.get("ended", "complete")), facts=facts)

    def close(self) -> None:
        _note("close")


def _note(line: str) -> None:
    with LOG.open("a") as log:
        log.write(f"{line}\n")
