"""Environment files: where a service is, what may be done to it, and how its own figures are read.

A value may be a reference, so that no secret and no passing address stands in a file: ``env:NAME`` is an environment
variable, ``control:KEY`` a fact that the environment's control command tells once it is up.
"""

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from loadkit.criterion import Unit
from loadkit.environment.control import Control
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observers.base import ObserverSettings
from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import Reading
from loadkit.target import Account, Secret, Target
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import MixEntry, Model

__all__ = ["ActionCommand", "Environment", "MeasureQuery", "load"]

_STATED = {
    "name", "base", "websocket", "database", "load_allowed", "max_users", "max_rate", "max_minutes", "journeys", "ready",
    "version", "ca_file", "cert_file", "key_file", "timeout", "connect_timeout", "read_timeout", "hold", "ramp", "time_scale", "users_scale", "share_accounts", "alerts_matching", "control",
    "instances", "traffic", "accounts", "observer", "groups", "mixes", "default_mix", "default_load", "regions", "levels",
    "actions", "curves",
}  # fmt: skip

_NUMBERS = {
    "max_users": 1000, "max_rate": 5000, "max_minutes": 120, "hold": 300, "ramp": 30, "timeout": 10,
    "connect_timeout": 3, "read_timeout": 5, "time_scale": 0.1, "users_scale": 0.1, "default_load": 100, "instances": 2,
}  # fmt: skip
"""Values that must be numbers, times in seconds, each with one as it may be."""
_SCALES = {"time_scale", "users_scale"}


@dataclass(frozen=True, slots=True)
class ActionCommand:
    """How an action is brought about, in verbs of the control command."""

    do: tuple[str, ...]
    undo: tuple[str, ...] = ()
    """What makes it undone at the run's end; empty where nothing has to."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment file, read; references are resolved when a value is asked for."""

    name: str
    root: Path
    """The project's root: journeys are imported from there, commands run there."""
    file: Path
    values: Mapping[str, Any]
    control: Control | None = None
    measures: tuple[MeasureQuery, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mixes: Mapping[str, tuple[MixEntry, ...]] = field(default_factory=dict)
    """By name; journeys by their titles here, as sentences name them."""
    levels: Mapping[str, int] = field(default_factory=dict)
    actions: Mapping[str, ActionCommand] = field(default_factory=dict)
    """By name, as sentences have it: "an instance is killed"."""
    curves: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """By name: seconds, and the share of the stated load that is reached at their end."""

    @property
    def journeys(self) -> str:
        """The package of the journeys."""
        return str(self.values.get("journeys", ""))

    @property
    def time_scale(self) -> float:
        """Ratio of the stated arrival and hold that is spent; below 1 the run is a rehearsal."""
        return float(self.values.get("time_scale", 1.0))

    @property
    def users_scale(self) -> float:
        """Ratio of the stated users that is put on; below 1 the run is a rehearsal."""
        return float(self.values.get("users_scale", 1.0))

    @property
    def hold(self) -> float:
        """Seconds that a load holds where the sentence does not say."""
        return float(self.values.get("hold", 60.0))

    @property
    def ramp(self) -> float:
        """Seconds over which users arrive where the sentence does not say."""
        return float(self.values.get("ramp", 10.0))

    @property
    def timeout(self) -> float:
        """Seconds for a whole request; a longer one failed."""
        return float(self.values.get("timeout", 10.0))

    @property
    def default_mix(self) -> tuple[MixEntry, ...]:
        """What users do where the sentence does not say."""
        name = str(self.values.get("default_mix", "default"))
        try:
            return self.mixes[name]
        except KeyError:
            raise ConfigurationError(
                f'{self.file.name}: no mix "{name}"; there are: {_listed(self.mixes)}'
            ) from None

    @property
    def default_load(self) -> int:
        """Users where the sentence does not say."""
        return int(self.values.get("default_load", 100))

    @property
    def max_minutes(self) -> float:
        """Minutes that all runs of a session may take by plan."""
        return float(self.values.get("max_minutes", 120.0))

    @property
    def version(self) -> str:
        """The version that is to be judged; empty where any will do."""
        return str(self._resolved(self.values.get("version", ""), {}))

    @property
    def instances(self) -> int:
        """How many instances there must be before the load; 0 where any number will do."""
        return int(self.values.get("instances", 0))

    @property
    def alerts_matching(self) -> str:
        """A regular expression of the names of the alerts that "no alert fires" speaks of; all where none is given."""
        return str(self.values.get("alerts_matching", ".+"))

    @property
    def traffic(self) -> str:
        """The measure that counts the requests that the service serves, to notice those of others."""
        return str(self.values.get("traffic", ""))

    def up(self, owner: int | None = None) -> dict[str, Any]:
        """Start it, where it has a control command; it goes when process `owner` does. Return its facts ({} without)."""
        if self.control is None:
            return {}
        return self.control.call("up", *(("--owner", str(owner)) if owner else ()))

    def require_actions(self, actions: Iterable[Action]) -> None:
        """Refuse what cannot be brought about here.

        Raises:
            ConfigurationError: the file does not say how.

        """
        for action in actions:
            if action.name not in self.actions:
                raise ConfigurationError(
                    f'environments/{self.file.name} does not say how "{action.name}" is brought about ([actions]); '
                    f"it knows: {_listed(self.actions)}"
                )

    def do(self, action: Action) -> None:
        """Bring an action about; see `loadkit.engine.actions.Actor`.

        Raises:
            ConfigurationError: the control command failed.

        """
        assert self.control is not None
        self.control.call(*self.actions[action.name].do)

    def undo(self, action: Action) -> None:
        """Make it undone, where something has to.

        Raises:
            ConfigurationError: the control command failed.

        """
        assert self.control is not None
        if self.actions[action.name].undo:
            self.control.call(*self.actions[action.name].undo)

    def observer_settings(self, facts: Mapping[str, Any]) -> ObserverSettings | None:
        """The ``[observer]`` table with its references resolved; None where nothing observes.

        Raises:
            ConfigurationError: a reference leads nowhere, there is no such kind of observer, or its address is missing.

        """
        table = {key: value for key, value in self.values.get("observer", {}).items() if key != "measures"}
        settings = {key: self._resolved(value, facts) for key, value in table.items()}
        if not settings:
            return None
        kind = settings.get("kind", "prometheus")
        if kind != "prometheus":
            raise ConfigurationError(f'{self.file.name}: no observer of kind "{kind}"; expected "prometheus"')
        if not settings.get("url"):
            raise ConfigurationError(
                f'{self.file.name}: the observer needs url = "http://…", where Prometheus is'
            )
        return ObserverSettings(
            url=str(settings["url"]),
            measures=self.measures,
            scrape_interval=float(settings.get("scrape_interval", 15.0)),
            alerts_matching=self.alerts_matching,
        )

    def database(self, facts: Mapping[str, Any]) -> Secret | None:
        """The DSN of the service's database, where it is told."""
        value = self._resolved(self.values.get("database", ""), facts)
        return Secret(str(value)) if value else None

    def target(self, facts: Mapping[str, Any]) -> Target:
        """What the engine needs to load it.

        Args:
            facts: what `up` returned.

        Raises:
            ConfigurationError: a reference leads nowhere, the accounts cannot be read, or the address has a password in it.

        """
        base = str(self._resolved(self.values["base"], facts)).rstrip("/")
        if "@" in urlsplit(base).netloc:
            raise ConfigurationError(
                f"{self.file.name}: base has a name or password before its host, which nobody would be sent; "
                "expected https://host, and [accounts] for who logs in"
            )
        return Target(
            name=self.name,
            base=base,
            websocket=str(self._resolved(self.values.get("websocket", ""), facts)).rstrip("/"),
            accounts=self._accounts(facts),
            shares_accounts=bool(self.values.get("share_accounts", False)),
            groups=self.groups,
            journeys=self.journeys,
            ready=str(self.values.get("ready", "")),
            ca_file=self._path("ca_file", facts),
            cert_file=self._path("cert_file", facts),
            key_file=self._path("key_file", facts),
            connect_timeout=float(self.values.get("connect_timeout", math.inf)),
            read_timeout=float(self.values.get("read_timeout", math.inf)),
        )

    def allow(self, plan: Plan) -> None:
        """Refuse a plan that this environment does not permit.

        Raises:
            NotAllowedError: no load is allowed here, or not as much.

        """
        if self.values.get("load_allowed") is not True:
            raise NotAllowedError(f"{self.file.name} does not allow load (load_allowed = true would)")
        loads = [population.workload for population in plan.populations]
        for what, limit, peaks in (
            ("users", "max_users", [load.peak for load in loads if load.model is Model.CLOSED]),
            (
                "arrivals per second",
                "max_rate",
                [load.peak for load in loads if load.model is not Model.CLOSED],
            ),
        ):
            most = self.values.get(limit)
            if most is not None and sum(peaks) > float(most):
                raise NotAllowedError(
                    f"{self.file.name} allows {most} {what} ({limit}), the plan has {sum(peaks):g}"
                )

    def _accounts(self, facts: Mapping[str, Any]) -> tuple[Account, ...]:
        table = self.values.get("accounts")
        if not table:
            return ()
        file = self.root / str(self._resolved(table.get("file", ""), facts))
        try:
            rows = json.loads(file.read_text())
            return tuple(
                Account(row["username"], Secret(row["password"]), row.get("tenant", ""), row.get("role", ""))
                for row in rows
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{self.file.name}: cannot read accounts from {file.name}: {error}; expected a JSON list of "
                '{"username": …, "password": …, "tenant": …, "role": …}'
            ) from None

    def _path(self, key: str, facts: Mapping[str, Any]) -> str:
        """A file that the environment names, from the project's root; "" where it names none."""
        named = str(self._resolved(self.values.get(key, ""), facts))
        return str(self.root / named) if named else ""

    def _resolved(self, value: Any, facts: Mapping[str, Any]) -> Any:
        if not isinstance(value, str):
            return value
        kind, _, name = value.partition(":")
        if kind == "env":
            if name not in os.environ:
                raise ConfigurationError(f"{self.file.name}: the environment variable {name} is not set")
            return os.environ[name]
        if kind == "control":
            if name not in facts:
                raise ConfigurationError(f'{self.file.name}: the control command tells no "{name}"')
            return facts[name]
        return value


def load(name: str, root: Path) -> Environment:
    """Read environments/NAME.toml under a project's root.

    Raises:
        ConfigurationError: there is none of that name, or it cannot be used.

    """
    folder = root / "environments"
    file = folder / f"{name}.toml"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.toml"))
        raise ConfigurationError(f'no environment "{name}"; there are: {_listed(known)}')
    try:
        values = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"environments/{file.name}: {error}") from None
    unknown = sorted(set(values) - _STATED)
    if unknown:
        raise ConfigurationError(
            f"environments/{file.name}: unknown key {unknown[0]}; known: {_listed(_STATED)}"
        )
    for key, example in _NUMBERS.items():
        value = values.get(key, example)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value < 0 or (key in _SCALES and not 0 < value <= 1):
            raise ConfigurationError(
                f"environments/{file.name}: {key} = {json.dumps(value, default=str)}: expected a number"
                f"{' above 0 and at most 1' if key in _SCALES else ''}, such as {key} = {example}"
            )
    if "base" not in values:
        raise ConfigurationError(
            f'environments/{file.name}: needs base = "https://…", the address of the service'
        )
    observed = dict(_table(file, "observer", values.get("observer", {}))).get("measures", {})
    return Environment(
        name=str(values.get("name", name)),
        root=root,
        file=file,
        values=values,
        control=Control(tuple(values["control"]), root) if "control" in values else None,
        measures=tuple(_parts(file, "observer.measures", observed, _measure).values()),
        groups=_parts(file, "groups", values.get("groups", {}), _group),
        mixes=_parts(file, "mixes", values.get("mixes", {}), _mix),
        levels=_parts(file, "levels", values.get("levels", {}), lambda _, users: int(users)),
        actions=_parts(
            file,
            "actions",
            values.get("actions", {}),
            lambda _, table: _action_command(table, "control" in values),
        ),
        curves=_parts(file, "curves", values.get("curves", {}), _curve),
    )


Value = TypeVar("Value")
_EXAMPLES = {
    "observer.measures": "gauge = 'db_pool_used{job=\"metrics\"}'",
    "groups": 'auth = ["* /api/v1/auth/*"]',
    "mixes": 'default = [{ journey = "watch a dashboard", share = 100 }]',
    "levels": "peak = 1000",
    "actions": '"an instance is killed" = { do = ["kill"], undo = ["restore"] }',
    "curves": '"peak hour" = [[600, 0.5], [600, 1.0]]',
}
"""Of each table an entry as it may be."""


def _parts(file: Path, key: str, table: Any, read: Callable[[str, Any], Value]) -> dict[str, Value]:
    """A table of the file, each entry read from its title and what stands there.

    Raises:
        ConfigurationError: one cannot be read.

    """
    parts: dict[str, Value] = {}
    for title, entry in _table(file, key, table):
        try:
            parts[title] = read(title, entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError(
                f'environments/{file.name}: [{key}] "{title}" cannot be read: {_why(error)}; '
                f"expected such as {_EXAMPLES[key]}"
            ) from None
    return parts


def _table(file: Path, key: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The entries of a table.

    Raises:
        ConfigurationError: it is none.

    """
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"environments/{file.name}: {key} is no table; expected [{key}] and its entries below"
        )
    return value.items()


def _why(error: Exception) -> str:
    """What is wrong with an entry, in words."""
    if isinstance(error, KeyError):
        return f"it does not say {error.args[0]}"
    return str(error) if isinstance(error, ValueError) else "it is of another kind"


def _measure(name: str, table: Mapping[str, Any]) -> MeasureQuery:
    reading = Reading.COUNTER if "counter" in table else Reading.GAUGE
    capacity = table.get("of", "")
    return MeasureQuery(
        name=name,
        reading=reading,
        unit=Unit(table.get("unit", "ratio")),
        query=str(table[str(reading)]),
        capacity=capacity if isinstance(capacity, str) else "",
        capacity_value=0.0 if isinstance(capacity, str) else float(capacity),
        per=str(table.get("per", "instance")),
        judged=str(table.get("judged", "p95")),
    )


def _action_command(table: Mapping[str, Any], has_control: bool) -> ActionCommand:
    if not has_control:
        raise ValueError("it is a verb of the control command, and there is none (control = [...])")
    return ActionCommand(tuple(table["do"]), tuple(table.get("undo", ())))


def _group(_: str, patterns: list[str] | str) -> tuple[str, ...]:
    if isinstance(patterns, str):
        raise TypeError  # its letters are no patterns
    return tuple(patterns)


def _curve(_: str, points: list[list[float]]) -> tuple[tuple[float, float], ...]:
    curve = tuple((float(seconds), float(share)) for seconds, share in points)
    if min(part for point in curve for part in point) < 0 or not max(share for _, share in curve):
        raise ValueError("seconds and shares of the load are none below 0, and one share is above")
    return curve


def _mix(_: str, rows: list[Mapping[str, Any]]) -> tuple[MixEntry, ...]:
    total = sum(float(row["share"]) for row in rows)
    return tuple(
        MixEntry(
            journey=str(row["journey"]),
            share=float(row["share"]) / total,
            region=str(row.get("region", "")),
        )
        for row in rows
    )


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
