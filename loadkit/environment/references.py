"""Resolves references in environment files: texts, addresses, accounts, tables of test data.

``env:NAME`` is an environment variable. ``control:KEY`` is a fact that the control command reports
once the environment is up.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loadkit.environment.settings import Accounts, Data, Database, Observer, Settings
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.structuring import example_of, structure
from loadkit.tables import DataTable, scan
from loadkit.target import Account, Address, is_loopback

__all__ = ["References", "listed"]


@dataclass(frozen=True, slots=True)
class References:
    """Resolves the references of settings.

    Each method takes the key path of a setting and its text. It raises ConfigurationError where a
    reference has no value, or an invalid one.
    """

    root: Path
    """The project's root, to which paths of files are relative."""
    file_name: str
    """The name of the environment file, for errors."""
    facts: Mapping[str, Any] | None
    """The report of the control command; None without a control command."""
    load_allowed: bool
    """Does the environment allow load?"""

    def text(self, path: str, stated: str) -> str:
        """The text of a setting, or the value to which it refers."""
        kind, _, name = stated.partition(":")
        if kind == "env":
            if name not in os.environ:
                variable = name or "NAME"
                trouble = f"the environment variable {name} is not set" if name else "it names no variable"
                raise self._error(path, stated, trouble, f"export {variable}={_example(path)}")
            return os.environ[name]
        if kind == "control":
            if self.facts is None:
                example = f"control = {_example('control')}"
                raise self._error(path, stated, "there is no control command to report it", example)
            if name not in self.facts:
                trouble = f'the control command reports no "{name}"; it reports: {listed(self.facts)}'
                raise self._error(path, stated, trouble)
            return str(self.facts[name])
        return stated

    def address(self, path: str, stated: Address, schemes: tuple[str, ...]) -> Address:
        """An address with one of these schemes, without a final slash; empty for an empty text."""
        address = Address(self.text(path, stated.reveal()).rstrip("/"))
        try:
            parts = urlsplit(address.reveal())
            is_valid = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_valid = False
        if address and not is_valid:
            known = " or ".join(f"{scheme}://" for scheme in schemes)
            trouble = f"{_shown(address, stated)} is not an address with {known}"
            raise self._error(path, stated, trouble, f"{path} = {_example(path)}")
        return address

    def base(self, stated: Address) -> str:
        """The address of the service, without credentials or a query, which would not be sent."""
        address = self.address("base", stated, _HTTP)
        parts = urlsplit(address.reveal())
        if "@" in parts.netloc or parts.query or parts.fragment:
            trouble = f"{_shown(address, stated)} has credentials or a query, which would not be sent"
            raise self._error(
                "base", stated, trouble, f"base = {_example('base')}, and [accounts] for credentials"
            )
        if not address:
            raise self._error("base", stated, "it is empty", f"base = {_example('base')}")
        return address.reveal()

    def observer(self, stated: Address) -> Address:
        """The address of Prometheus. It may contain a user name and a password, which are sent."""
        address = self.address("observer.url", stated, _HTTP)
        if not address or urlsplit(address.reveal()).query:
            trouble = (
                f"{_shown(address, stated)} has a query, which would not be sent"
                if address
                else "it is empty"
            )
            raise self._error("observer.url", stated, trouble, f"url = {_example('observer.url')}")
        return address

    def database(self, path: str, stated: Address) -> Address:
        """The address of a database; empty for an empty text. Errors show no password."""
        address = Address(self.text(path, stated.reveal()))
        if not address:
            return address
        try:
            parts = urlsplit(address.reveal())
            host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
            is_valid = parts.scheme in _POSTGRES and bool(host) and parts.port != 0
        except ValueError:
            host, is_valid = "", False
        example = f"{path.rpartition('.')[2]} = {_example(path)}"
        if not is_valid:
            trouble = f"{_shown(address, stated)} is not an address with postgresql:// and a host"
            raise self._error(path, stated, trouble, example)
        # A host that begins with "/" is the folder of a Unix socket of this machine.
        if not (host.startswith("/") or is_loopback(host) or self.load_allowed):
            raise NotAllowedError(
                f"environments/{self.file_name}: {path}: {address} is another machine, and load is "
                "not allowed; expected load_allowed = true"
            )
        return address

    def file(self, path: str, stated: str) -> str:
        """The path of an existing file; "" where the setting is empty."""
        named = self.text(path, stated)
        if not named:
            return ""
        file = self.root / named
        if not os.path.isfile(file):  # noqa: PTH113  Path.is_file raises if the path is too long
            # The variable may contain a secret by mistake: the error does not repeat its value.
            trouble = "it is a folder" if os.path.isdir(file) else "there is no such file"  # noqa: PTH112  as above
            raise self._error(path, stated, trouble, f"{path.rpartition('.')[2]} = {_example(path)}")
        return str(file)

    def accounts(self, stated: Accounts | None) -> tuple[Account, ...]:
        """The accounts of the users; of the file's content, errors repeat the names of tenants alone."""
        if stated is None:
            return ()
        file = Path(self.file("accounts.file", stated.file))
        try:
            rows = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not JSON"
            raise self._error(
                "accounts.file", stated.file, f"cannot read accounts from {file.name}: {why}", _ACCOUNTS
            ) from None
        where = f"environments/{self.file_name}: cannot read accounts from {file.name}"
        if stated.canary and isinstance(rows, list):
            rows = [
                {**row, "canary": row.get(stated.canary, "")} if isinstance(row, dict) else row
                for row in rows
            ]
        # The file may also belong to another program, which needs other keys.
        accounts = structure(tuple[Account, ...], rows, where, allow_unknown=True, is_secret=True)
        of_tenants = [account for account in accounts if account.tenant]
        lacking = [account for account in of_tenants if not account.canary]
        named = f'"{stated.canary}", which `canary` names' if stated.canary else '"canary"'
        if lacking and len(lacking) < len(of_tenants):
            # The data of these tenants could not be found in other answers, and their users would
            # not search for other tenants' data.
            raise ConfigurationError(
                f"{where}: {len(lacking):,} of {len(of_tenants):,} accounts of tenants have no {named}; "
                "expected such a text in all of them, or in none"
            )
        if of_tenants and not lacking and (trouble := _ambiguous(of_tenants)):
            raise ConfigurationError(
                f"{where}: {trouble} {named}; expected one text for each tenant, which no other tenant has"
            )
        return accounts

    def table(self, name: str, stated: Data) -> DataTable:
        """A table of test data; errors repeat no value of the file."""
        file = self.file(f"data.{name}.file", stated.file)
        if not file:
            raise self._error(f"data.{name}.file", stated.file, "it is empty", 'file = "data/products.csv"')
        try:
            return scan(name, Path(file), stated.per, repeat=stated.repeat)
        except ConfigurationError as error:
            raise ConfigurationError(f"environments/{self.file_name}: data.{name}: {error}") from None

    def _error(self, path: str, stated: str | Address, trouble: str, example: str = "") -> ConfigurationError:
        text = stated.reveal() if isinstance(stated, Address) else stated
        is_reference = text.partition(":")[0] in {"env", "control"}
        shown = text if is_reference else str(stated)
        expected = f"; expected such as {example}" if example else ""
        return ConfigurationError(f'environments/{self.file_name}: {path} = "{shown}": {trouble}{expected}')


_HTTP = ("http", "https")
_POSTGRES = ("postgresql", "postgres")
_ACCOUNTS = '[{"username": "ann", "password": "…", "tenant": "acme", "role": "admin"}]'


_ESCAPED = re.compile(r"""[^ -~]|["'\\<>&]""")
"""Characters that services may write as escape sequences, which the search would not find."""


def _ambiguous(accounts: Iterable[Account]) -> str:
    """Why canaries do not tell tenants apart, up to the name of their key; "" if they do."""
    canaries: dict[str, str] = {}
    tenants: dict[str, str] = {}
    for account in accounts:
        tenant, canary = account.tenant, account.canary.reveal()
        if canaries.setdefault(tenant, canary) != canary:
            return f"the accounts of the tenant {json.dumps(tenant)} differ in"
        if (other := tenants.setdefault(canary, tenant)) != tenant:
            return f"the tenants {json.dumps(other)} and {json.dumps(tenant)} have the same"
        if _ESCAPED.search(canary):
            return f"the tenant {json.dumps(tenant)} has a character that JSON may escape in its"
    if len(set(map(len, tenants))) > 1:  # else none can contain another
        every = "\n".join(tenants)
        for canary, tenant in tenants.items():
            if every.count(canary) > 1:
                other = next(name for text, name in tenants.items() if canary in text and name != tenant)
                return f"the text of the tenant {json.dumps(other)} contains that of {json.dumps(tenant)} in"
    return ""


def _shown(address: Address, stated: Address) -> str:
    """The address to which a reference refers; "it" where the setting is the address itself."""
    return "it" if address == stated else str(address)


def _example(path: str) -> str:
    """An example value of a setting, as in the file."""
    kind: type = Settings
    *tables, name = path.split(".")
    if tables[:1] == ["data"]:
        return example_of(Data, name).partition(" = ")[2]
    for table in tables:
        kind = {"accounts": Accounts, "observer": Observer, "database": Database}[table]
    return example_of(kind, name).partition(" = ")[2]


def listed(names: Iterable[str]) -> str:
    """Names in order, or "none"."""
    return ", ".join(sorted(names)) or "none"
