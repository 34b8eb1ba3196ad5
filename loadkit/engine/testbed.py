"""The environment under test: started for the first run, stopped at the end if started here."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadkit.engine import run as engine
from loadkit.engine import small_load
from loadkit.engine.observing import observe, observe_database
from loadkit.engine.progress import Progress
from loadkit.environment import lock, preflight
from loadkit.environment.capacity import Capacity
from loadkit.environment.control import LONG
from loadkit.environment.environment import Environment, ResolvedEnvironment
from loadkit.environment.preflight import Check, NotReadyError
from loadkit.environment.records import cleaned
from loadkit.errors import ConfigurationError, LoadkitError, one_line
from loadkit.observers import observer_of
from loadkit.observers.database import DEADLOCKS
from loadkit.recording import archive
from loadkit.recording.run import STOP_REQUESTED, Run
from loadkit.target import Target, masked
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Stage, Workload

if TYPE_CHECKING:
    from loadkit.observers.postgres import PostgresObserver

__all__ = ["NOT_RESTORED", "Testbed", "Watcher"]

NOT_RESTORED = "not restored"
"""The name of the fact of a run that did not leave the environment as it was.

Its value is the reason in words."""

Watcher = Callable[[str], AbstractContextManager[Callable[[Progress], None]]]
"""Shows the progress of a run with a title.

It gives a context manager with a function, which is called about once a second."""

_WARM_UP = 5.0
"""Seconds of warm-up load for the service's cache."""
_CLEANING = "removing the rows of earlier runs"
_KEPT_FACTS = ("version", "instances", "rows")
"""Facts of an environment that are stored with its runs; others (the DSN) contain secrets."""


class Testbed:
    """Executes plans on an environment, one after the other, and stores the runs.

    From its first plan until `close`, no other testbed can load the environment. Otherwise the one
    that started the environment would stop it while another still loads it.
    """

    def __init__(
        self, environment: Environment, runs: Path, *, watcher: Watcher, tell: Callable[[str], None]
    ) -> None:
        """Create a testbed; nothing is started yet.

        Args:
            environment: the environment under test.
            runs: the folder of the stored runs.
            watcher: shows the progress of each load.
            tell: receives status lines, and a line about each problem that does not end the run.

        """
        self._environment = environment
        self._runs = runs
        self._watcher = watcher
        self._tell = tell
        self._resolved: ResolvedEnvironment | None = None
        self._trouble: Exception | None = None
        self._is_ours = False
        self._lock = ExitStack()
        self._name_load: Callable[[str], None] | None = None
        """Changes the name of the load in the lock; None until the lock is held."""

    def run(self, plan: Plan, title: str, queries: Iterable[str], measures: Collection[str] = ()) -> Run:
        """Execute the load, and store the run with its observations.

        Args:
            plan: the plan.
            title: for the live status, and for other sessions that find the environment under load.
            queries: queries of this run's criteria, besides the measures of the environment.
            measures: the names of the measures that this run's criteria judge.

        Raises:
            LoadkitError: the load could not be executed.

        """
        up = self._hold(title)
        observer = observer_of(up.observer, queries)
        database = database_observer(up, awaits_deadlocks=DEADLOCKS in measures)
        run_id = engine.new_id()
        clean = self._clean(up)
        up = self._up()  # its facts now state the remaining rows
        checks = preflight.ready(lambda: preflight.look(plan, up, observer))
        carried, target = self._carried(plan, up)
        checks = (*checks, *clean, *carried)
        with self._watcher(title) as watch:
            target = self._prepare_cache(plan, target, run_id)
            run = engine.run(
                plan,
                target,
                root=self._environment.root,
                run_id=run_id,
                actor=self._environment,
                database=database,
                watch=watch,
            )
            _describe(run, up.facts, checks)
            # Stored first, in case a later step fails or is interrupted.
            is_kept = self._keep(run)
        try:
            if observer is not None:
                observe(run, observer)
            if database is not None:
                observe_database(run, database, run.writes)
        except KeyboardInterrupt:
            # The load was complete. What was not observed is not judged, and no further load starts.
            run.facts = {**run.facts, STOP_REQUESTED: True}
            run.warnings = (*run.warnings, "the observers were interrupted while they read their results")
        if is_kept and (observer or database):
            self._keep(run, is_same_load=True)
        if plan.disturbs and not self._is_restored(run) and is_kept:
            self._keep(run, is_same_load=True)
        return run

    def capacity(self, plan: Plan, seconds: float) -> Capacity:
        """Measure this machine's capacity for a plan; see `loadkit.engine.small_load.measure`.

        Raises:
            LoadkitError: the small load could not be executed.

        """
        up = self._hold(f"calibration: a part of {plan.in_words}")
        parts = small_load.find_parts(up)
        found = small_load.measure(plan, up, parts, seconds)
        if parts:
            small_load.keep(found, plan, up.target, parts)
        return found

    def _clean(self, up: ResolvedEnvironment) -> tuple[Check, ...]:
        """Remove the rows of earlier runs before a load, because no verdict may depend on them.

        The writes of each run were compared with the stored rows directly after that run.

        Raises:
            NotReadyError: the rows could not be removed.

        """
        database, control = self._environment.settings.database, self._environment.control
        if database is None or not database.clean or control is None:
            return ()
        self._tell(f"{_CLEANING} …")
        try:
            found = cleaned(control.call(*database.clean, within=LONG), self._environment.name)
        except ConfigurationError as error:
            reason = "; ".join(str(error).splitlines())
            raise NotReadyError(f"cannot remove the rows of earlier runs: {reason}") from None
        self._tell(f"{_CLEANING}: {found}")
        if found.rows is not None:
            self._resolved = replace(up, facts={**up.facts, "rows": found.rows})
        return (Check("the rows of earlier runs", str(found)),)

    def _carried(self, plan: Plan, up: ResolvedEnvironment) -> tuple[tuple[Check, ...], Target]:
        """Check that this machine can carry the plan; otherwise show a warning before the load.

        Nothing is checked if the plan is small, or if the environment's parts run on other
        machines. The result also contains the target with the remaining rows of test data.
        """
        parts = small_load.find_parts(up) if preflight.may_fill_machine(plan) else {}
        if not parts:
            return (), up.target
        taken = Counter[str]()
        capacity = small_load.kept(plan, up.target, parts)
        if capacity is None:
            try:
                capacity = small_load.measure(plan, up, parts, small_load.SHORTEST, taken)
            except LoadkitError:  # the same problem will end the run, with its reason
                return (), engine.without_rows(up.target, taken)
            small_load.keep(capacity, plan, up.target, parts)
        check = preflight.check_capacity(capacity, plan)
        if not check.holds:
            self._tell(f"warning: {check}")
        return (check,), engine.without_rows(up.target, taken)

    def close(self) -> None:
        """Stop the environment if it was started here, and release its lock."""
        control = self._environment.control
        with self._lock:
            self._name_load = None
            if not self._is_ours or control is None:
                return
            self._is_ours = False
            try:
                control.call("down")
            except Exception as error:
                # The environment ends with this process in any case. Verdicts are unaffected.
                self._tell(f"{self._environment.name}: {one_line(error)}")

    def _hold(self, load: str) -> ResolvedEnvironment:
        """The environment, started if necessary, with its lock, which is held until `close`.

        Raises:
            BusyError: another process loads the environment; it also decides when to stop it.

        """
        up = self._up()
        if self._name_load is not None:
            self._name_load(load)
            return up
        try:
            self._name_load = self._lock.enter_context(lock.hold(up.target, load))
        except lock.BusyError:
            self._is_ours = False
            raise
        return up

    def _up(self) -> ResolvedEnvironment:
        """The environment, started if necessary; a failed start is not repeated."""
        if self._trouble is not None:
            raise self._trouble
        if self._resolved is None:
            environment, control = self._environment, self._environment.control
            try:
                self._is_ours = control is not None and not control.call("status").get("up", False)
                facts = environment.up(owner=os.getpid() if self._is_ours else None)
                self._resolved = environment.resolved(facts)
            except Exception as error:
                self._trouble = error
                raise
        return self._resolved

    def _keep(self, run: Run, *, is_same_load: bool = False) -> bool:
        """Write a run to its folder (see `archive.save`). Return whether that succeeded."""
        try:
            archive.save(run, self._runs, is_same_load=is_same_load)
        except Exception as error:
            # The run in memory is complete, so it can be judged without being stored.
            self._tell(one_line(error))
            run.warnings = (*run.warnings, f"the run is not stored as it was judged: {one_line(error)}")
            return False
        return True

    def _is_restored(self, run: Run) -> bool:
        """Is the environment restored after a disturbing run? If not, refuse later runs."""
        control, before = self._environment.control, self._resolved
        if control is None or before is None:
            return True
        try:
            preflight.ready(lambda: preflight.check_restored(before.facts, control.call("status")))
        except Exception as error:
            trouble = (
                f"run {run.id} disturbed the environment, and it is not as it was before: {one_line(error)}"
            )
            self._trouble = NotReadyError(trouble)
            self._tell(trouble)
            run.facts = {**run.facts, NOT_RESTORED: trouble}
            run.warnings = (*run.warnings, trouble)
            return False
        return True

    def _prepare_cache(self, plan: Plan, target: Target, run_id: str) -> Target:
        """Warm the service's cache with load that is not recorded, or empty it.

        A ramp is never judged, so a long enough ramp serves as the warm-up. The run must not repeat
        the warm-up's rows of test data, or names that depend on its run id or seed. The service
        would refuse them. Return the target with the remaining rows.
        """
        load = plan.workload
        if plan.cache == "cold":
            if self._environment.control is None:
                raise ConfigurationError(
                    f"{self._environment.file.name} has no control command that could empty the cache"
                )
            self._environment.control.call("flush")
        elif load.stages[0].seconds < _WARM_UP or load.stages[0].level == 0:
            warming = replace(plan.with_workloads(_warming), actions=(), seed=plan.seed + 1)
            warm_up = engine.run(warming, target, root=self._environment.root, run_id=f"{run_id}-warmup")
            if warm_up.was_interrupted:
                raise KeyboardInterrupt
            return engine.without_rows(target, warm_up.facts.get(engine.ROWS_TAKEN, {}))
        return target


def database_observer(
    up: ResolvedEnvironment, *, awaits_deadlocks: bool = False
) -> "PostgresObserver | None":
    """The observer of the database; None if the environment names no role that may read it.

    Args:
        up: the environment.
        awaits_deadlocks: see `DatabaseAccess.awaits_deadlocks`.

    """
    settings = up.environment.settings.database
    if settings is None or not up.database_observer:
        return None
    from loadkit.observers.postgres import DatabaseAccess, PostgresObserver

    access = DatabaseAccess(
        up.database_observer,
        up.target.database,
        up.environment.key_queries,
        settings.tenant,
        settings.example_tenant,
        settings.stored,
        frozenset(account.tenant for account in up.target.accounts) - {""},
        awaits_deadlocks,
    )
    return PostgresObserver(access)


def _warming(load: Workload) -> Workload:
    """A tenth of a load for a few seconds."""
    level = max(1.0, round(load.peak / 10))
    return replace(load, stages=(Stage(0, level), Stage(_WARM_UP, level)))


def _describe(run: Run, facts: Mapping[str, Any], checks: Iterable[Check]) -> None:
    """Add the facts of the environment and the preflight checks to a run."""
    run.facts = {
        **run.facts,
        "environment": masked({name: facts[name] for name in _KEPT_FACTS if name in facts}),
        "preflight": [str(check) for check in checks],
    }
    run.warnings = (*run.warnings, *(str(check) for check in checks if not check.holds))
