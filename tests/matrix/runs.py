"""Load on the local environment while it misbehaves."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import psutil

from loadkit import grammar
from loadkit.engine.progress import Progress
from loadkit.judging.families import queries_for
from loadkit.planning.draft import Draft
from loadkit.recording.run import Run
from loadkit.workload.workload import Model
from tests.local_environment import LocalEnvironment
from tests.local_load import LocalLoad
from tests.matrix import system
from tests.matrix.database import ANALYSTS, RECORDS
from tests.matrix.messages import CONNECTIONS, DELIVERED
from tests.matrix.table import CRITERIA, Row

RAMP = 3.0
_LAST, _LATE = 19, 5
"""The niceness of who comes last, and of who gets a seventh of its core beside two others. With less, workers
that hold connections do not report, which ends their run before anything is judged."""


class Bench:
    """The local environment, up, with both its instances watched."""

    def __init__(self, local: LocalEnvironment, facts: Mapping[str, Any]) -> None:
        self._local = local
        self._load = LocalLoad(facts, _queries())

    def run(self, row: Row, hold: float) -> Run:
        """The default mix for `hold` seconds under a row's fault."""
        draft = Draft()
        draft.load(Model.CLOSED, row.users)
        draft.arrive(RAMP)
        draft.hold_for(hold)
        draft.think_for(row.think)
        self._load.await_calm()
        with self._disturbance(row, _LAST) as watch:
            return self._load.run(draft, timeout=row.timeout, watch=watch)

    def stream(self, row: Row, hold: float) -> Run:
        """Connections that receive live metrics for `hold` seconds under a row's fault."""
        draft = Draft()
        draft.load(Model.CLOSED, CONNECTIONS, mix="live metrics", called="connections", connects=True)
        draft.arrive(RAMP)
        draft.hold_for(hold)
        draft.deliver(DELIVERED)
        with self._disturbance(row, _LATE) as watch:
            return self._load.run(draft, watch=watch)

    def store(self, row: Row, hold: float) -> Run:
        """Records that are stored, and analysts who query them, for `hold` seconds under a row's fault."""
        draft = Draft()
        draft.insert(RECORDS, 1)
        draft.arrive(RAMP)
        draft.hold_for(hold)
        draft.analyse(ANALYSTS, 0)
        self._load.await_calm()
        with self._faults(row) as watch:
            return self._load.run(draft, watch=watch, with_database=True)

    def mix(self, row: Row, hold: float) -> Run:
        """All protocols at once for `hold` seconds under a row's fault."""
        draft = Draft()
        draft.load(Model.CLOSED, system.CONNECTIONS, mix="live metrics", called="connections", connects=True)
        draft.arrive(RAMP)
        draft.hold_for(hold)
        draft.deliver(system.DELIVERED)
        draft.load(Model.CLOSED, system.DASHBOARDS, mix="live dashboards", called="dashboards", connects=True)
        draft.load(Model.CLOSED, system.API_USERS, mix="API")
        draft.insert(system.RECORDS, 1)
        draft.load(
            Model.CLOSED,
            system.INVALID_USERS,
            journey="insert invalid metrics",
            called="senders of invalid records",
        )
        draft.analyse(system.ANALYSTS, 0)
        draft.load(Model.CLOSED, system.WORKFLOW_USERS, mix="complete workflows", called="workflow users")
        self._load.await_calm()
        with self._faults(row) as watch:
            return self._load.run(draft, watch=watch, with_database=True)

    def _disturbance(self, row: Row, niceness: int) -> AbstractContextManager[Callable[[Progress], None]]:
        """What a row disturbs: the load generator or the service."""
        return starvation(row.at or 0.0, niceness) if row.starves_generator else self._faults(row)

    @contextmanager
    def _faults(self, row: Row) -> Iterator[Callable[[Progress], None]]:
        """Have the faults on in time, and off again at the end; yields what the run is to tell how it goes."""
        switched: list[Future[None]] = []
        with ThreadPoolExecutor(1) as pool:

            def switch_on() -> None:
                switched.append(pool.submit(self._switch_on, row.fault, row.parameters))

            def watch(progress: Progress) -> None:
                if row.at is not None and progress.elapsed >= row.at and not switched:
                    switch_on()

            for fault, parameters in row.amid.items():
                self._switch_on(fault, parameters)
            if row.fault and row.at is None:
                switch_on()
                switched[0].result()
            try:
                yield watch
            finally:
                for each in switched:
                    each.result()
                    self._local.verb("fault", row.fault, "off")
                for fault in row.amid:
                    self._local.verb("fault", fault, "off")
        assert bool(switched) == bool(row.fault), "the run was over before the fault was switched on"

    def _switch_on(self, fault: str, parameters: Mapping[str, float]) -> None:
        settings = [part for key, value in parameters.items() for part in ("--set", f"{key}={value}")]
        self._local.verb("fault", fault, "on", *settings)


def _queries() -> list[str]:
    """What the criteria ask Prometheus for, besides the measures of the environment's file."""
    return [query for sentence in CRITERIA.values() for query in queries_for(grammar.criterion(sentence))]


@contextmanager
def starvation(at: float, niceness: int) -> Iterator[Callable[[Progress], None]]:
    """Keep the workers of a run on one core, and that core busy with what goes before them, from `at` (s) on."""
    burners: list[subprocess.Popen[bytes]] = []
    core = min(os.sched_getaffinity(0))

    def watch(progress: Progress) -> None:
        if burners or progress.elapsed < at:
            return
        for worker in psutil.Process().children(recursive=True):
            os.sched_setaffinity(worker.pid, {core})
            worker.nice(niceness)
        for _ in range(2):
            burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
            os.sched_setaffinity(burner.pid, {core})
            burners.append(burner)

    try:
        yield watch
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
