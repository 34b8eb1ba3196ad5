"""Load on the local environment while it misbehaves."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from loadkit import environment, journey, planning, run
from loadkit.observers import observer_of
from loadkit.observers.base import Observer
from loadkit.progress import Progress
from loadkit.record import Run
from loadkit.workload import Model
from tests.local_environment import LocalEnvironment, eventually
from tests.matrix.table import HITS, Row

ROOT = Path(__file__).parents[2]

USERS = 40
RAMP = 3.0


class Bench:
    """The local environment, up, with both its instances watched."""

    def __init__(self, local: LocalEnvironment, facts: dict[str, Any]) -> None:
        self._local = local
        self._environment = environment.load("local", ROOT)
        self._target = self._environment.target(facts)
        observer = observer_of(self._environment, facts, [HITS])
        assert observer is not None
        self._observer: Observer = observer

    def run(self, row: Row, hold: float) -> Run:
        """The default mix for `hold` seconds under a row's fault."""
        draft = planning.Draft()
        draft.load(Model.CLOSED, USERS)
        draft.arrive(RAMP)
        draft.hold_for(hold)
        draft.think_for(row.think)
        journeys = journey.find(self._environment.journeys, ROOT)
        plan = planning.plan(draft, self._environment, journeys)
        assert eventually(self._is_watched, 30.0), "the instances are not scraped"
        disturbance = starvation() if row.starves_generator else self._fault(row)
        with disturbance as watch:
            return run.run(plan, self._target, root=ROOT, observer=self._observer, watch=watch)

    @contextmanager
    def _fault(self, row: Row) -> Iterator[Callable[[Progress], None]]:
        """Have the fault on in time, and off again at the end; yields what the run is to tell how it goes."""
        settings = [part for key, value in row.parameters.items() for part in ("--set", f"{key}={value}")]
        switched: list[Future[dict[str, Any]]] = []
        with ThreadPoolExecutor(1) as pool:

            def switch_on() -> None:
                switched.append(pool.submit(self._local.verb, "fault", row.fault, "on", *settings))

            def watch(progress: Progress) -> None:
                if row.at is not None and progress.elapsed >= row.at and not switched:
                    switch_on()

            if row.fault and row.at is None:
                switch_on()
                switched[0].result()
            try:
                yield watch
            finally:
                for each in switched:
                    each.result()
                    self._local.verb("fault", row.fault, "off")
        assert bool(switched) == bool(row.fault), "the run was over before the fault was switched on"

    def _is_watched(self) -> bool:
        now = time.time()
        memory = self._observer.observe(now - 5.0, now)["memory usage"]
        fresh = [series for series in memory.series if len(series.times) and now - series.times[-1] < 2.0]
        return len(fresh) == 2


@contextmanager
def starvation() -> Iterator[Callable[[Progress], None]]:
    """Keep the workers of a run on one core, and that core busy, from its first second on."""
    burners: list[subprocess.Popen[bytes]] = []
    core = min(os.sched_getaffinity(0))

    def watch(_progress: Progress) -> None:
        if burners:
            return
        for worker in psutil.Process().children(recursive=True):
            os.sched_setaffinity(worker.pid, {core})
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
