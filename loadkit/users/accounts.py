"""Assigns accounts to virtual users."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from loadkit.errors import ConfigurationError
from loadkit.recording.worker_second import ALL_IN_USE, WorkerSecond
from loadkit.target import Account, Target
from loadkit.workload.schedule import entry_of
from loadkit.workload.workload import Model, Workload

__all__ = [
    "AccountKind",
    "AccountPool",
    "UsedBefore",
    "accounts_in_use",
    "demand",
    "least_demand",
]

_SHARE = "name more, or let users share them (share_accounts = true)"


class AccountKind(NamedTuple):
    """The requirements on a user's account, from its journey and from the plan."""

    role: str = ""
    """Its role; "" for any."""
    tenant: str = ""
    """Its tenant; "" for any."""
    group: int = 1
    """The number of consecutive users who belong to one tenant; any tenant is allowed."""

    def __str__(self) -> str:
        """Such accounts in words: "accounts", "accounts with the role admin of tenant globex"."""
        words = f"accounts with the role {self.role}" if self.role else "accounts"
        if self.tenant:
            return f"{words} of tenant {self.tenant}"
        return f"{words} in groups of {self.group} of one tenant" if self.group > 1 else words

    @property
    def is_usual(self) -> bool:
        """May each of its users belong to any tenant?"""
        return not self.tenant and self.group == 1


def demand(workload: Workload, kinds: Sequence[AccountKind]) -> Mapping[AccountKind, int]:
    """The number of accounts that the users of a load need, by kind.

    `kinds` has one element for each entry of the mix.
    """
    users = workload.most_users
    if workload.model is Model.CLOSED:
        return Counter(kinds[entry_of(number, workload.mix)] for number in range(users))
    needed: Counter[AccountKind] = Counter()
    for entry, kind in zip(workload.mix, kinds, strict=True):
        needed[kind] += math.ceil(entry.share * users)
    return needed


def least_demand(workload: Workload, kinds: Sequence[AccountKind], workers: int) -> Mapping[AccountKind, int]:
    """The minimum number of accounts that a load needs, by kind; see `demand`.

    Users of an open load are added when arrivals need them, while accounts are left. Each worker
    serves a part of the arrivals of each entry of the mix, so it needs a user for each entry.
    """
    if workload.model is Model.CLOSED:
        return demand(workload, kinds)
    return {kind: workers * entries for kind, entries in Counter(kinds).items()}


def accounts_in_use(worker_seconds: Iterable[WorkerSecond]) -> tuple[str, ...]:
    """A warning for each open load whose arrivals waited because all its accounts were in use."""
    most: dict[tuple[str, str], int] = {}
    for each in worker_seconds:
        for population, counts in each.counts.items():
            for name, number in counts.items():
                if name.startswith(ALL_IN_USE):
                    of = name.removeprefix(ALL_IN_USE), population
                    most[of] = max(number, most.get(of, 0))
    return tuple(
        f"all {accounts} for the {population} were in use ({number:,}). Arrivals waited for a user, and "
        f"their times include the wait; {_SHARE}"
        for (accounts, population), number in most.items()
    )


@dataclass(frozen=True, slots=True)
class UsedBefore:
    """The users and accounts of earlier populations. Those of the next population follow them."""

    users: int = 0
    accounts: Counter[AccountKind] = field(default_factory=Counter)

    def plus(self, workload: Workload, kinds: Sequence[AccountKind]) -> "UsedBefore":
        """Add the users and accounts of one more load."""
        used = Counter(self.accounts)
        used.update(demand(workload, kinds))
        return UsedBefore(self.users + workload.most_users, used)


class AccountPool:
    """Assigns a target's accounts to users. Each kind of account has a row (a list) of accounts.

    Users whose journey requires no role get accounts with roles that no journey requires, and
    surplus accounts. The same place in a row is the same account in every worker.

    Users of one tenant get the accounts that the other users are least likely to need. So the other
    users keep their usual share of that tenant. If a tenant has too few accounts for all users that
    an open load may need, its users get half of them. Users in groups also get the accounts that
    others are least likely to need. Each group is of one tenant; large tenants have more groups.
    """

    def __init__(self, target: Target, needed: Mapping[AccountKind, int]) -> None:
        self._accounts = target.accounts
        self._shares = target.shares_accounts
        usual = {kind.role: users for kind, users in needed.items() if kind.is_usual}
        self._usual = _rows_of(target.accounts, usual)
        """By role, the rows of users of any tenant, before users of one tenant take accounts."""
        self._complete: dict[str, int] = {}
        """By tenant, the number of accounts of its users, if they have all that they need."""
        special: dict[AccountKind, list[Account]] = {}
        for tenant in dict.fromkeys(kind.tenant for kind in needed if kind.tenant):
            special |= self._rows_of_tenant(tenant, needed)
        for kind in needed:
            if kind.group > 1:
                special[kind] = self._row_of_groups(kind, needed[kind], self._taken(special))
        taken = self._taken(special)
        left = [account for account in target.accounts if id(account) not in taken]
        self._rows = {AccountKind(role): row for role, row in _rows_of(left, usual).items()} | special

    def _rows_of_tenant(
        self, tenant: str, needed: Mapping[AccountKind, int]
    ) -> dict[AccountKind, list[Account]]:
        """The rows of the users of one tenant."""
        users = {kind.role: number for kind, number in needed.items() if kind.tenant == tenant}
        # Surplus accounts come first, then those at the end of a row.
        spare = [
            [account for account in reversed(self._usual[role]) if account.tenant == tenant]
            for role in sorted(self._usual)
        ]
        if sum(users.values()) <= sum(map(len, spare)):
            self._complete[tenant] = sum(users.values())
        elif not self._shares:
            spare = [row[: math.ceil(len(row) / 2)] for row in spare]
        rows = _rows_of((account for row in spare for account in row), users)
        return {
            AccountKind(role, tenant): rows[role] if self._shares else rows[role][:number]
            for role, number in users.items()
        }

    def _taken(self, rows: Mapping[AccountKind, Sequence[Account]]) -> set[int]:
        """The ids of the accounts that other users cannot have; empty if users share accounts."""
        return set() if self._shares else {id(account) for row in rows.values() for account in row}

    def _row_of_groups(self, kind: AccountKind, users: int, taken: set[int]) -> list[Account]:
        """The row of users in groups. Groups follow one another, and each is of one tenant."""
        role, size = kind.role, kind.group
        rows = self._usual.values() if role else [self._usual[""]]
        begun: dict[str, list[Account]] = {}
        found: list[Account] = []
        for account in (each for row in rows for each in reversed(row)):
            if id(account) in taken or (role and account.role != role):
                continue
            group = begun.setdefault(account.tenant, [])
            group.append(account)
            if len(group) == size:
                found += begun.pop(account.tenant)
        if self._shares:  # a tenant with fewer accounts than a group has users
            tenants = {account.tenant for account in found}
            for tenant, group in begun.items():
                if tenant not in tenants:
                    found += [group[number % len(group)] for number in range(size)]
            return found
        return found[:users]

    def places(self, kind: AccountKind) -> float:
        """The maximum number of users of a kind; infinite if accounts are shared or not used."""
        if not self._accounts:
            return math.inf
        row = self._rows[kind]
        return math.inf if self._shares and row else len(row)

    def account(self, kind: AccountKind, place: int) -> Account | None:
        """The account at `place` (< `places`) of a kind's row; None if the target has none."""
        if not self._accounts:
            return None
        row = self._rows[kind]
        return row[place % len(row)]

    def of_each_tenant(self, needed: Mapping[AccountKind, int]) -> tuple[Account, ...]:
        """The first account of each tenant, among those of the given numbers of users by kind."""
        firsts: dict[str, Account] = {}
        for kind, users in needed.items():
            for account in self._rows.get(kind, ())[:users]:
                firsts.setdefault(account.tenant, account)
        return tuple(firsts.values())

    def require(self, needed: Mapping[AccountKind, int]) -> None:
        """Refuse more users than there are accounts.

        Raises:
            ConfigurationError: there are too few.

        """
        for kind, users in needed.items():
            if users > self.places(kind):
                there_are = len(self._rows[kind])
                if not kind.tenant:
                    raise _too_few(users, kind, there_are)
                named = self._named(kind)
                raise _too_few(users, kind, named, kept=named - there_are if named >= users else 0)
        for tenant, users in self._complete.items():
            usual = left = 0
            for role, row in self._usual.items():
                of_role = AccountKind(role)
                first = needed.get(of_role, 0)
                usual += sum(account.tenant == tenant for account in row[:first])
                left += sum(account.tenant == tenant for account in self._rows[of_role][:first])
            if left < usual:
                kind = AccountKind("", tenant)
                raise _too_few(usual + users, kind, self._named(kind))

    def _named(self, kind: AccountKind) -> int:
        """The number of accounts of the kind's tenant, and of its role if it has one."""
        return sum(each.tenant == kind.tenant and kind.role in {"", each.role} for each in self._accounts)


def _rows_of(accounts: Iterable[Account], needed: Mapping[str, int]) -> dict[str, list[Account]]:
    """Accounts by the role of their users. The accounts that no role needs are in the row of ""."""
    rows: dict[str, list[Account]] = {role: [] for role in needed}
    plain = rows.setdefault("", [])
    left_over: list[Account] = []
    for account in accounts:
        row = rows.get(account.role, plain)
        (row if row is plain or len(row) < needed[account.role] else left_over).append(account)
    plain += left_over
    return rows


def _too_few(users: int, kind: AccountKind, there_are: int, kept: int = 0) -> ConfigurationError:
    """The error for too few accounts; other users have `kept` of the existing ones."""
    but = f", and other users keep {kept} of them" if kept else ""
    return ConfigurationError(
        f"{users} users need {kind} of their own, the environment names {there_are}{but}; {_SHARE}"
    )
