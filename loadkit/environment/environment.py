"""Environments: the address of a service, the load it allows, and the source of its metrics.

A setting may be a reference, so that the file contains no secret and no temporary address.
``env:NAME`` is an environment variable. ``control:KEY`` is a fact that the control command reports
once the environment is up.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadkit.criterion import KEY_QUERIES
from loadkit.environment.control import LONG, Control
from loadkit.environment.references import References, listed
from loadkit.environment.settings import (
    ActionCommand,
    Database,
    Hosts,
    Measure,
    Settings,
)  # fmt: skip
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observers.base import ObserverSettings
from loadkit.observers.machine import HostFigure
from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import Reading
from loadkit.queries import Query, read_queries
from loadkit.structuring import structure
from loadkit.target import Address, DatabaseUse, NetworkPath, Target
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import MixEntry, Model

__all__ = ["ActionCommand", "Environment", "MeasureQuery", "ResolvedEnvironment", "Settings", "load"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The content of one environment file, and the operations on its service."""

    root: Path
    """The project's root, from which journeys are imported and in which commands run."""
    file: Path
    settings: Settings
    control: Control | None = None

    @property
    def name(self) -> str:
        """The name in reports."""
        return self.settings.name or self.file.stem

    @property
    def measures(self) -> tuple[MeasureQuery, ...]:
        """The measures that the observer queries, besides the queries of sentences."""
        observer = self.settings.observer
        return tuple(_query(*named) for named in observer.measures.items()) if observer else ()

    @property
    def mixes(self) -> Mapping[str, tuple[MixEntry, ...]]:
        """The mixes by name, with journeys by title and shares as ratios."""
        return {
            name: tuple(
                MixEntry(row.journey, row.share / sum(each.share for each in rows), row.region)
                for row in rows
            )
            for name, rows in self.settings.mixes.items()
        }

    @property
    def default_mix(self) -> tuple[MixEntry, ...]:
        """The mix of a load whose sentence states none.

        Raises:
            ConfigurationError: the file has no such mix.

        """
        name = self.settings.default_mix
        if name not in self.settings.mixes:
            raise ConfigurationError(
                f'environments/{self.file.name}: no mix "{name}"; there are: {listed(self.settings.mixes)}'
            )
        return self.mixes[name]

    def up(self, owner: int | None = None) -> dict[str, Any]:
        """Start the environment and return its facts; {} without a control command.

        With `owner`, it stops when the process with that id ends.
        """
        if self.control is None:
            return {}
        return self.control.call("up", *(("--owner", str(owner)) if owner else ()), within=LONG)

    def require_actions(self, actions: Iterable[Action]) -> None:
        """Refuse actions that this environment does not define.

        Raises:
            ConfigurationError: the file does not define an action.

        """
        for action in actions:
            if action.name not in self.settings.actions:
                raise ConfigurationError(
                    f'environments/{self.file.name} does not define "{action.name}" in [actions]; '
                    f"it defines: {listed(self.settings.actions)}"
                )

    def do(self, action: Action, within: float) -> None:
        """Execute an action; see `loadkit.engine.actions.Actor`.

        Args:
            action: the action.
            within: seconds after which the control command is killed.

        Raises:
            ConfigurationError: the control command failed or took too long.

        """
        assert self.control is not None
        self.control.call(*self.settings.actions[action.name].do, within=within)

    def undo(self, action: Action) -> None:
        """Undo an action, if its settings define how.

        Raises:
            ConfigurationError: the control command failed or took too long.

        """
        assert self.control is not None
        if self.settings.actions[action.name].undo:
            self.control.call(*self.settings.actions[action.name].undo)

    def resolved(self, facts: Mapping[str, Any]) -> "ResolvedEnvironment":
        """Resolve every reference of the file, once.

        Args:
            facts: the result of `up`.

        Raises:
            ConfigurationError: a reference has no value, an address is invalid, or the accounts
                cannot be read.

        """
        references = self._references(facts)
        observer = self.settings.observer
        return ResolvedEnvironment(
            environment=self,
            facts=facts,
            target=self._target(references, facts),
            version=references.text("version", self.settings.version),
            database_observer=references.database("database.observer", self.settings.database.observer)
            if self.settings.database
            else Address(""),
            observer=ObserverSettings(
                references.observer(observer.url),
                self.measures,
                observer.scrape_interval,
                self.settings.alerts_matching,
                _hosts(observer.hosts),
            )
            if observer
            else None,
        )

    def target(self, facts: Mapping[str, Any]) -> Target:
        """The target for the engine: a part of `resolved`.

        Raises:
            ConfigurationError: as for `resolved`.

        """
        return self._target(self._references(facts), facts)

    def allow(self, plan: Plan) -> None:
        """Refuse a plan that this environment does not permit.

        Raises:
            NotAllowedError: the environment allows no load, or less load.

        """
        settings = self.settings
        if not settings.load_allowed:
            raise NotAllowedError(f"{self.file.name} does not allow load; expected load_allowed = true")
        loads = [population.workload for population in plan.populations]
        users = sum(load.peak for load in loads if load.model is Model.CLOSED)
        arrivals = sum(load.peak for load in loads if load.model is not Model.CLOSED)
        for planned, what, key, most in (
            (users, "users", "max_users", settings.max_users),
            (arrivals, "arrivals per second", "max_rate", settings.max_rate),
        ):
            if most is not None and planned > most:
                raise NotAllowedError(
                    f"{self.file.name} allows {most:g} {what} ({key}), the plan has {planned:g}"
                )

    def allow_seeding(self) -> None:
        """Refuse to fill a database whose environment file does not permit it.

        Raises:
            NotAllowedError: the environment allows no seeding.

        """
        if not self.settings.seed_allowed:
            raise NotAllowedError(f"{self.file.name} does not allow seeding; expected seed_allowed = true")

    def _references(self, facts: Mapping[str, Any]) -> References:
        known = None if self.control is None else facts
        return References(self.root, self.file.name, known, load_allowed=self.settings.load_allowed)

    def _target(self, references: References, facts: Mapping[str, Any]) -> Target:
        settings = self.settings
        database = settings.database
        return Target(
            name=self.name,
            file=self.file.stem,
            base=references.base(settings.base),
            websocket=references.address("websocket", settings.websocket, ("ws", "wss")),
            database=references.database("database.dsn", database.dsn) if database else Address(""),
            database_use=self._database_use(database) if database else DatabaseUse(),
            accounts=references.accounts(settings.accounts),
            shares_accounts=settings.share_accounts,
            groups=self._groups(),
            journeys=settings.journeys,
            ready=settings.ready,
            websocket_ready=settings.websocket_ready,
            instance_header=settings.instance_header,
            trace_url=settings.trace_url,
            ca_file=references.file("ca_file", settings.ca_file),
            cert_file=references.file("cert_file", settings.cert_file),
            key_file=references.file("key_file", settings.key_file),
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            clock=settings.messages.clock if settings.messages else "",
            judges_round_trips=settings.messages is not None and settings.messages.latency == "round trip",
            processes=self._processes(facts),
            tables={name: references.table(name, data) for name, data in settings.data.items()},
            regions={
                name: NetworkPath(region.latency, region.jitter, region.loss)
                for name, region in settings.regions.items()
            },
        )

    def _groups(self) -> Mapping[str, tuple[str, ...]]:
        """The groups of labels; all named queries of the database are one of them."""
        queries = self.key_queries
        names = tuple(re.sub(r"([\[*?])", r"[\1]", query.name) for query in queries)
        return {**self.settings.groups, **({KEY_QUERIES: names} if names else {})}

    @property
    def key_queries(self) -> tuple[Query, ...]:
        """The named queries of the database.

        Raises:
            ConfigurationError: the folder does not exist or has no query, or a file is not a query.

        """
        database = self.settings.database
        if database is None or not database.queries:
            return ()
        return tuple(read_queries(self.root / database.queries).values())

    def _database_use(self, database: Database) -> DatabaseUse:
        return DatabaseUse(
            queries=str(self.root / database.queries) if database.queries else "",
            tenant=database.tenant,
            pool=database.pool,
            retries=database.retries,
            statement_timeout=database.statement_timeout,
            statement_cache=database.statement_cache,
        )

    def _processes(self, facts: Mapping[str, Any]) -> tuple[int, ...]:
        """The process ids that the control command reports as "processes"; () for none."""
        stated = facts.get("processes", [])
        if not isinstance(stated, list) or not all(type(pid) is int and pid > 1 for pid in stated):
            raise ConfigurationError(
                f'environments/{self.file.name}: the control command reports "processes": {stated!r}; '
                "expected a list of process ids, such as [4711]"
            )
        return tuple(stated)


@dataclass(frozen=True, slots=True)
class ResolvedEnvironment:
    """An environment that is up, with every reference of its file resolved."""

    environment: Environment
    facts: Mapping[str, Any]
    """The report of its control command at the start; empty without a control command."""
    target: Target
    version: str
    """The version to be judged; empty for any version."""
    observer: ObserverSettings | None
    """The settings of its observer; None without one."""
    database_observer: Address = Address("")  # noqa: RUF009  nothing changes it
    """The address of the database for a role that may only read; empty for none."""


def _hosts(hosts: Hosts) -> Mapping[HostFigure, str]:
    """The queries that the file states for the figures of other machines."""
    queries = {figure: str(getattr(hosts, figure)) for figure in HostFigure}
    return {figure: query for figure, query in queries.items() if query}


def load(name: str, root: Path) -> Environment:
    """Read environments/NAME.toml under a project's root.

    Raises:
        ConfigurationError: no file has that name, or it is invalid; one line per mistake.

    """
    folder = root / "environments"
    file = folder / f"{name}.toml"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.toml"))
        raise ConfigurationError(f'no environment "{name}"; there are: {listed(known)}')
    where = f"environments/{file.name}"
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    settings = structure(Settings, values, where)
    return Environment(root, file, settings, Control(settings.control, root) if settings.control else None)


def _query(name: str, measure: Measure) -> MeasureQuery:
    capacity = measure.of
    return MeasureQuery(
        name=name,
        reading=Reading.COUNTER if measure.counter else Reading.GAUGE,
        unit=measure.unit,
        query=measure.counter or measure.gauge,
        capacity=capacity if isinstance(capacity, str) else "",
        capacity_value=0.0 if isinstance(capacity, str) else capacity,
        per=measure.per,
        judged=measure.judged,
    )
