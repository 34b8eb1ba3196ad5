"""Where load is put on: the environment is brought up for the first run, and taken down after the last."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loadkit import archive
from loadkit import run as engine
from loadkit.environment import Environment
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.observers import observer_of
from loadkit.record import Run
from loadkit.workload import Plan
from steps.suite import live

__all__ = ["EnvironmentBench"]


class EnvironmentBench:
    """The environment of a session: up from its first run on, down at its end unless it was up before."""

    def __init__(self, environment: Environment, runs: Path) -> None:
        """Prepare it; nothing is started yet.

        Args:
            environment: what is loaded.
            runs: the folder that keeps the runs.

        """
        self._environment = environment
        self._runs = runs
        self._facts: Mapping[str, Any] | None = None
        self._trouble: LoadkitError | None = None
        self._is_ours = False

    def run(self, plan: Plan, title: str, queries: Iterable[str]) -> Run:
        """Put the load on, start to finish, and keep what was seen; see `steps.suite.session.Bench`."""
        facts = self._up()
        target = self._environment.target(facts)
        observer = observer_of(self._environment, facts, queries)
        with live.watcher(title) as watch:
            run = engine.run(plan, target, root=self._environment.root, observer=observer, watch=watch)
        try:
            archive.save(run, self._runs)
        except ConfigurationError as error:
            # The evidence in memory is whole: what cannot be kept can still be judged.
            print(error, file=sys.stderr)
        return run

    def close(self) -> None:
        """Take the environment down, where this session brought it up."""
        if self._is_ours and self._environment.control is not None:
            self._is_ours = False
            self._environment.control.call("down")

    def _up(self) -> Mapping[str, Any]:
        """The facts of the environment, which is brought up where it is not; trouble is not looked for twice."""
        if self._trouble is not None:
            raise self._trouble
        if self._facts is None:
            try:
                control = self._environment.control
                self._is_ours = control is not None and not control.call("status").get("up", False)
                self._facts = self._environment.up(owner=os.getpid() if self._is_ours else None)
            except LoadkitError as error:
                self._trouble = error
                raise
        return self._facts
