"""Where load is put on: the environment is brought up for the first run, and taken down after the last."""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from loadkit.engine import run as engine
from loadkit.environment import lock, preflight
from loadkit.environment.environment import Environment, ResolvedEnvironment
from loadkit.environment.preflight import NotReadyError
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.live import terminal as live
from loadkit.observers import observer_of
from loadkit.recording import archive
from loadkit.recording.ending import INTERRUPTED
from loadkit.recording.run import Run
from loadkit.target import Target, masked
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Stage, Workload

__all__ = ["EnvironmentBench"]

_WARM_UP = 5.0
"""Seconds of load that warm the service's cache."""
_TOLD = ("version", "instances", "rows")
"""Facts of an environment that are kept with its runs; others (the DSN) have secrets in them."""


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
        self._resolved: ResolvedEnvironment | None = None
        self._trouble: LoadkitError | None = None
        self._is_ours = False

    def run(self, plan: Plan, title: str, queries: Iterable[str]) -> Run:
        """Put the load on, start to finish, and keep what was seen; see `steps.suite.session.Bench`."""
        resolved = self._up()
        target = resolved.target
        observer = observer_of(resolved.observer, queries)
        run_id = engine.new_id()
        with lock.hold(target, title):
            checks = preflight.ready(lambda: preflight.look(plan, resolved, observer))
            with live.watcher(title) as watch:
                self._prepare_cache(plan, target, run_id)
                run = engine.run(
                    plan,
                    target,
                    root=self._environment.root,
                    run_id=run_id,
                    observer=observer,
                    actor=self._environment,
                    watch=watch,
                )
            if plan.disturbs:
                self._look_after(run)
        run.facts = {
            **run.facts,
            "environment": masked({name: resolved.facts[name] for name in _TOLD if name in resolved.facts}),
            "preflight": [str(check) for check in checks],
        }
        run.warnings = (*run.warnings, *(str(check) for check in checks if not check.holds))
        try:
            archive.save(run, self._runs)
        except ConfigurationError as error:
            # The evidence in memory is whole: what cannot be kept can still be judged.
            print(error, file=sys.stderr)
        return run

    def close(self) -> None:
        """Take the environment down, where this session brought it up."""
        control = self._environment.control
        if not self._is_ours or control is None:
            return
        self._is_ours = False
        try:
            control.call("down")
        except ConfigurationError as error:
            # It goes with this process in any case, and the verdicts stand.
            print(f"{self._environment.name}: {error}", file=sys.stderr)

    def _up(self) -> ResolvedEnvironment:
        """The environment, which is brought up where it is not; trouble is not looked for twice."""
        if self._trouble is not None:
            raise self._trouble
        if self._resolved is None:
            try:
                control = self._environment.control
                self._is_ours = control is not None and not control.call("status").get("up", False)
                facts = self._environment.up(owner=os.getpid() if self._is_ours else None)
                self._resolved = self._environment.resolved(facts)
            except LoadkitError as error:
                self._trouble = error
                raise
        return self._resolved

    def _look_after(self, run: Run) -> None:
        """See that the environment is as it was before a run that disturbed it; else there is no later run."""
        control, before = self._environment.control, self._resolved
        if control is None or before is None:
            return
        try:
            preflight.ready(lambda: preflight.as_before(before.facts, control.call("status")))
        except LoadkitError as error:
            self._trouble = NotReadyError(
                f"run {run.id} disturbed the environment, and it is not as it was: {error}"
            )

    def _prepare_cache(self, plan: Plan, target: Target, run_id: str) -> None:
        """Warm the service's cache with load that is not looked at, or have it emptied.

        A ramp is never judged, so where it is long enough it does the warming.
        """
        load = plan.workload
        if plan.cache == "cold":
            if self._environment.control is None:
                raise ConfigurationError(
                    f"{self._environment.file.name} has no control command, which could empty the cache"
                )
            self._environment.control.call("flush")
        elif load.stages[0].seconds < _WARM_UP or load.stages[0].level == 0:
            warm_up = engine.run(
                replace(plan.with_workloads(_short), actions=()),
                target,
                root=self._environment.root,
                run_id=run_id,
            )
            if warm_up.ended == INTERRUPTED:
                raise KeyboardInterrupt


def _short(workload: Workload) -> Workload:
    """A tenth of a load, for as long as it takes to warm a cache."""
    level = max(1.0, round(workload.peak / 10))
    return replace(workload, stages=(Stage(0, level), Stage(_WARM_UP, level)))
