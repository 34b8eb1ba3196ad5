"""Environments: where a service is, what may be done to it, and how its own figures are read.

A setting may be a reference, so that no secret and no passing address stands in a file: ``env:NAME`` is
an environment variable, ``control:KEY`` a fact that the control command reports once it is up.
"""

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadkit.environment.control import Control
from loadkit.environment.settings import Accounts, ActionCommand, Measure, Observer, Settings
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observers.base import ObserverSettings
from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import Reading
from loadkit.structuring import example_of, structure
from loadkit.target import Account, Address, Target
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import MixEntry, Model

__all__ = ["ActionCommand", "Environment", "MeasureQuery", "ResolvedEnvironment", "Settings", "load"]


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment file, read, and what can be done with its service."""

    root: Path
    """The project's root: journeys are imported from there, commands run there."""
    file: Path
    settings: Settings
    control: Control | None = None

    @property
    def name(self) -> str:
        """As reports have it."""
        return self.settings.name or self.file.stem

    @property
    def measures(self) -> tuple[MeasureQuery, ...]:
        """What the observer is asked for, besides the queries of sentences."""
        observer = self.settings.observer
        return tuple(_query(*named) for named in observer.measures.items()) if observer else ()

    @property
    def mixes(self) -> Mapping[str, tuple[MixEntry, ...]]:
        """By name; journeys by their titles here, as sentences name them, and shares as ratios."""
        return {
            name: tuple(
                MixEntry(row.journey, row.share / sum(each.share for each in rows), row.region)
                for row in rows
            )
            for name, rows in self.settings.mixes.items()
        }

    @property
    def default_mix(self) -> tuple[MixEntry, ...]:
        """What users do where the sentence does not say.

        Raises:
            ConfigurationError: the file has no such mix.

        """
        name = self.settings.default_mix
        if name not in self.settings.mixes:
            raise ConfigurationError(
                f'environments/{self.file.name}: no mix "{name}"; there are: {_listed(self.settings.mixes)}'
            )
        return self.mixes[name]

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
            if action.name not in self.settings.actions:
                raise ConfigurationError(
                    f'environments/{self.file.name} does not say how "{action.name}" is brought about ([actions]); '
                    f"it knows: {_listed(self.settings.actions)}"
                )

    def do(self, action: Action) -> None:
        """Bring an action about; see `loadkit.engine.actions.Actor`.

        Raises:
            ConfigurationError: the control command failed.

        """
        assert self.control is not None
        self.control.call(*self.settings.actions[action.name].do)

    def undo(self, action: Action) -> None:
        """Make it undone, where something has to.

        Raises:
            ConfigurationError: the control command failed.

        """
        assert self.control is not None
        if self.settings.actions[action.name].undo:
            self.control.call(*self.settings.actions[action.name].undo)

    def resolved(self, facts: Mapping[str, Any]) -> "ResolvedEnvironment":
        """Look up every reference of the file, once.

        Args:
            facts: what `up` returned.

        Raises:
            ConfigurationError: a reference leads nowhere, an address cannot be used, or the accounts
                cannot be read.

        """
        references = _References(self, facts)
        observer = self.settings.observer
        return ResolvedEnvironment(
            environment=self,
            facts=facts,
            target=self._target(references),
            version=references.text("version", self.settings.version),
            observer=ObserverSettings(
                references.observer(observer.url),
                self.measures,
                observer.scrape_interval,
                self.settings.alerts_matching,
            )
            if observer
            else None,
        )

    def target(self, facts: Mapping[str, Any]) -> Target:
        """What the engine needs to load it: a part of `resolved`.

        Raises:
            ConfigurationError: as `resolved`.

        """
        return self._target(_References(self, facts))

    def allow(self, plan: Plan) -> None:
        """Refuse a plan that this environment does not permit.

        Raises:
            NotAllowedError: no load is allowed here, or not as much.

        """
        settings = self.settings
        if not settings.load_allowed:
            raise NotAllowedError(f"{self.file.name} does not allow load (load_allowed = true would)")
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

    def _target(self, references: "_References") -> Target:
        settings = self.settings
        return Target(
            name=self.name,
            base=references.base(settings.base),
            websocket=references.address("websocket", settings.websocket, ("ws", "wss")),
            accounts=references.accounts(settings.accounts),
            shares_accounts=settings.share_accounts,
            groups=settings.groups,
            journeys=settings.journeys,
            ready=settings.ready,
            ca_file=references.file("ca_file", settings.ca_file),
            cert_file=references.file("cert_file", settings.cert_file),
            key_file=references.file("key_file", settings.key_file),
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
        )


@dataclass(frozen=True, slots=True)
class ResolvedEnvironment:
    """An environment that is up, with every reference of its file looked up."""

    environment: Environment
    facts: Mapping[str, Any]
    """What its control command reported as it came up; empty where it has none."""
    target: Target
    version: str
    """The version to be judged; empty where any will do."""
    observer: ObserverSettings | None
    """How its service is watched; None where nothing observes."""


def load(name: str, root: Path) -> Environment:
    """Read environments/NAME.toml under a project's root.

    Raises:
        ConfigurationError: there is none of that name, or one line for each mistake in it.

    """
    folder = root / "environments"
    file = folder / f"{name}.toml"
    if not file.is_file():
        known = sorted(path.stem for path in folder.glob("*.toml"))
        raise ConfigurationError(f'no environment "{name}"; there are: {_listed(known)}')
    where = f"environments/{file.name}"
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    settings = structure(Settings, values, where)
    return Environment(root, file, settings, Control(settings.control, root) if settings.control else None)


# --- references


@dataclass(frozen=True, slots=True)
class _References:
    """Looks up what settings refer to.

    Each method takes the key path of a setting and its text. It raises ConfigurationError where that
    leads nowhere.
    """

    environment: Environment
    facts: Mapping[str, Any]

    def text(self, path: str, said: str) -> str:
        """What a setting says, or what it refers to."""
        kind, _, name = said.partition(":")
        if kind == "env":
            if name not in os.environ:
                variable = name or "NAME"
                trouble = f"the environment variable {name} is not set" if name else "it names no variable"
                raise self._error(path, said, trouble, f"export {variable}={_example(path)}")
            return os.environ[name]
        if kind == "control":
            if self.environment.control is None:
                example = f"control = {_example('control')}"
                raise self._error(path, said, "there is no control command to report it", example)
            if name not in self.facts:
                trouble = f'the control command reports no "{name}"; it reports: {_listed(self.facts)}'
                raise self._error(path, said, trouble)
            return str(self.facts[name])
        return said

    def address(self, path: str, said: Address, schemes: tuple[str, ...]) -> Address:
        """An address with one of these schemes, without a slash at its end; empty for an empty text."""
        address = Address(self.text(path, said.reveal()).rstrip("/"))
        try:
            parts = urlsplit(address.reveal())
            is_one = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if address and not is_one:
            known = " or ".join(f"{scheme}://" for scheme in schemes)
            trouble = f"{_shown(address, said)} is no address with {known}"
            raise self._error(path, said, trouble, f"{path} = {_example(path)}")
        return address

    def base(self, said: Address) -> str:
        """The address of the service. Credentials or a query in it would not be sent: they are refused."""
        address = self.address("base", said, _HTTP)
        parts = urlsplit(address.reveal())
        if "@" in parts.netloc or parts.query or parts.fragment:
            trouble = f"{_shown(address, said)} has credentials or a query, which would not be sent"
            raise self._error(
                "base", said, trouble, f"base = {_example('base')}, and [accounts] for who logs in"
            )
        if not address:
            raise self._error("base", said, "it is empty", f"base = {_example('base')}")
        return address.reveal()

    def observer(self, said: Address) -> Address:
        """The address of Prometheus. It may hold a name and a password, which are sent."""
        address = self.address("observer.url", said, _HTTP)
        if not address or urlsplit(address.reveal()).query:
            trouble = (
                f"{_shown(address, said)} has a query, which would not be sent" if address else "it is empty"
            )
            raise self._error("observer.url", said, trouble, f"url = {_example('observer.url')}")
        return address

    def file(self, path: str, said: str) -> str:
        """The path of a file that is there; "" where the setting is empty."""
        named = self.text(path, said)
        if not named:
            return ""
        file = self.environment.root / named
        if not os.path.isfile(file):  # noqa: PTH113  Path.is_file raises where the text is too long for a path
            # A variable may hold the secret itself, put there by mistake: its value is not repeated.
            raise self._error(
                path, said, "there is no such file", f"{path.rpartition('.')[2]} = {_example(path)}"
            )
        return str(file)

    def accounts(self, said: Accounts | None) -> tuple[Account, ...]:
        """Who the users log in as. Nothing of the file is repeated in an error."""
        if said is None:
            return ()
        file = Path(self.file("accounts.file", said.file))
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise self._error(
                "accounts.file", said.file, f"cannot read accounts from {file.name}: {why}", _ACCOUNTS
            ) from None
        where = f"environments/{self.environment.file.name}: cannot read accounts from {file.name}"
        # The file may be another program's too, which needs other keys.
        return structure(tuple[Account, ...], rows, where, allow_unknown=True, is_secret=True)

    def _error(self, path: str, said: str | Address, trouble: str, example: str = "") -> ConfigurationError:
        text = said.reveal() if isinstance(said, Address) else said
        is_reference = text.partition(":")[0] in {"env", "control"}
        shown = text if is_reference else str(said)
        expected = f"; expected such as {example}" if example else ""
        return ConfigurationError(
            f'environments/{self.environment.file.name}: {path} = "{shown}": {trouble}{expected}'
        )


_HTTP = ("http", "https")
_ACCOUNTS = '[{"username": "ann", "password": "…", "tenant": "acme", "role": "admin"}]'


def _shown(address: Address, said: Address) -> str:
    """An address that a reference led to; "it" where the setting says it itself."""
    return "it" if address == said else str(address)


def _example(path: str) -> str:
    """A value of a setting as the file may have it."""
    kind: type = Settings
    *tables, name = path.split(".")
    for table in tables:
        kind = {"accounts": Accounts, "observer": Observer}[table]
    return example_of(kind, name).partition(" = ")[2]


def _query(name: str, measure: Measure) -> MeasureQuery:
    whole = measure.of
    return MeasureQuery(
        name=name,
        reading=Reading.COUNTER if measure.counter else Reading.GAUGE,
        unit=measure.unit,
        query=measure.counter or measure.gauge,
        capacity=whole if isinstance(whole, str) else "",
        capacity_value=0.0 if isinstance(whole, str) else whole,
        per=measure.per,
        judged=measure.judged,
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
