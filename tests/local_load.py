"""Load on the local environment, as tests put it on."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadkit.engine import run
from loadkit.engine.actions import Actor
from loadkit.engine.observing import observe, observe_database
from loadkit.engine.progress import Progress
from loadkit.engine.testbed import database_observer
from loadkit.environment import environment
from loadkit.grammar import ALERTS
from loadkit.observers import observer_of
from loadkit.observers.base import Observer
from loadkit.observers.observation import LIFE_SIGN, Series
from loadkit.planning import plan as planning
from loadkit.planning.draft import Draft
from loadkit.recording.run import Run
from loadkit.users import discovery
from tests.local_environment import eventually

__all__ = ["LocalLoad"]

_ROOT = Path(__file__).parents[1]
_LOOKS_BACK = 17.0
"""Seconds after a load in which an alert may still begin to fire for what was in it: the rules look at ten seconds, for
five, and are scraped for and evaluated once in each."""


class LocalLoad:
    """What puts load on a local environment that is up, while Prometheus watches all its instances."""

    def __init__(self, facts: Mapping[str, Any], queries: Iterable[str] = ()) -> None:
        """Prepare it.

        Args:
            facts: what its verb "up" or "scale" gave back.
            queries: what is asked of Prometheus besides the measures of the environment's file.

        """
        self._instances = len(facts["instances"])
        self._environment = environment.load("local", _ROOT)
        resolved = self._environment.resolved(facts)
        self._resolved = resolved
        self._target = resolved.target
        observer = observer_of(resolved.observer, queries)
        assert observer is not None
        self._observer: Observer = observer
        self._ended = -math.inf

    def await_calm(self) -> None:
        """Wait until all instances are scraped, and no alert fires, or can yet, for an earlier load."""
        assert eventually(self._is_calm, 60.0), (
            "the instances are not scraped, or an alert fires without load"
        )

    def run(
        self,
        draft: Draft,
        *,
        timeout: float = 10.0,
        actor: Actor | None = None,
        watch: Callable[[Progress], None] | None = None,
        with_database: bool = False,
    ) -> Run:
        """Put on what a draft describes.

        Args:
            draft: the load.
            timeout: seconds for a whole request.
            actor: brings about what happens meanwhile; as `watch`, see `loadkit.engine.run.run`.
            watch: told how it goes.
            with_database: is the database observed too?

        """
        journeys = discovery.find(self._environment.settings.journeys, _ROOT)
        plan = replace(planning.plan(draft, self._environment, journeys), timeout=timeout)
        database = database_observer(self._resolved) if with_database else None
        try:
            done = run.run(plan, self._target, root=_ROOT, actor=actor, watch=watch, database=database)
            observe(done, self._observer)
            if database is not None:
                observe_database(done, database, done.writes)
            return done
        finally:
            self._ended = time.monotonic()

    def _is_calm(self) -> bool:
        if time.monotonic() < self._ended + _LOOKS_BACK:
            return False
        now = time.time()
        seen = self._observer.observe(now - 5.0, now)

        def fresh(name: str) -> list[Series]:
            series = seen[name].series if name in seen else ()
            return [each for each in series if len(each.times) and now - each.times[-1] < 2.0]

        firing = [alert for alert in fresh(ALERTS) if alert.instance != LIFE_SIGN]
        return len(fresh("memory usage")) == self._instances and not firing
