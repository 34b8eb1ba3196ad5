"""Assigns accounts to virtual users."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadkit.errors import ConfigurationError
from loadkit.recording.worker_second import WorkerSecond
from loadkit.target import Account, Target
from loadkit.workload.schedule import entry_of
from loadkit.workload.workload import Model, Workload

__all__ = ["ALL_IN_USE", "AccountPool", "Earlier", "accounts_in_use", "accounts_of", "demand", "seat_of"]

ALL_IN_USE = "all in use: "
"""The start of the names of counts: the accounts of an open load that were all in use while an arrival
waited for a user. The rest is `accounts_of` a seat."""
_OF_TENANT = " of tenant "
_IN_GROUPS = " in groups of "
_SHARE = "name more, or let users share them (share_accounts = true)"


def seat_of(role: str, tenant: str, group: int = 1) -> str:
    """What a user's account must be: "" for any account.

    Args:
        role: its role; "" for any.
        tenant: its tenant; "" for any.
        group: so many users, one after the other, must be of one tenant, whichever that is.

    """
    if tenant:
        return f"{role}{_OF_TENANT}{tenant}"
    return f"{role}{_IN_GROUPS}{group}" if group > 1 else role


def accounts_of(seat: str) -> str:
    """The accounts of a seat in words: "accounts", "accounts with the role admin of tenant globex"."""
    seat, _, group = seat.partition(_IN_GROUPS)
    role, _, tenant = seat.partition(_OF_TENANT)
    words = f"accounts with the role {role}" if role else "accounts"
    words = f"{words}{_OF_TENANT}{tenant}" if tenant else words
    return f"{words}{_IN_GROUPS}{group} of one tenant" if group else words


def demand(workload: Workload, roles: Sequence[str]) -> Mapping[str, int]:
    """The accounts per role that the users of a load need; each entry of the mix names a role."""
    users = workload.most_users
    if workload.model is Model.CLOSED:
        return Counter(roles[entry_of(number, workload.mix)] for number in range(users))
    needed: Counter[str] = Counter()
    for entry, role in zip(workload.mix, roles, strict=True):
        needed[role] += math.ceil(entry.share * users)
    return needed


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
class Earlier:
    """Users and accounts of other populations; those of the next one follow them."""

    users: int = 0
    accounts: Mapping[str, int] = field(default_factory=dict)
    """By role."""
    turn: int = 0
    turns: int = 1
    """Populations that take the accounts after these in turn: this one is number `turn`, from 0."""

    def place(self, role: str, number: int) -> int:
        """The place of the account of user `number` with a role, from 0."""
        return self.accounts.get(role, 0) + self.turn + self.turns * number

    def most_users(self, role: str, places: int) -> int:
        """How many users with a role have one of so many places."""
        return max(0, math.ceil((places - self.place(role, 0)) / self.turns))

    def and_then(self, workload: Workload, roles: Sequence[str]) -> "Earlier":
        """Add the users and accounts of one more load."""
        used = Counter(self.accounts)
        used.update(demand(workload, roles))
        return Earlier(self.users + workload.most_users, used)


class AccountPool:
    """A target's accounts, assigned to users by the role that their journeys require.

    Users whose journey requires no role get accounts with roles that no journey requires, and
    surplus accounts. The same place in a role's row is the same account in every worker.

    Users of one tenant get the accounts that the other users are least likely to need, so those
    keep that tenant's usual share. Of a tenant with too few accounts for all users that an open load
    may need, they get half. So do users in groups, each of one tenant: large tenants have more groups.
    """

    def __init__(self, target: Target, needed: Mapping[str, int]) -> None:
        self._accounts = target.accounts
        self._shares = target.shares_accounts
        usual = {seat: users for seat, users in needed.items() if not (_tenant_of(seat) or _group_of(seat))}
        self._usual = _rows_of(target.accounts, usual)
        """The rows of the users of any tenant, as they are without users of one tenant."""
        self._complete: dict[str, int] = {}
        """How many accounts the users of one tenant have, by tenant, where these are all that they need."""
        special: dict[str, list[Account]] = {}
        for tenant in dict.fromkeys(filter(None, map(_tenant_of, needed))):
            special |= self._rows_of_tenant(tenant, needed)
        for seat in filter(_group_of, needed):
            special[seat] = self._row_of_groups(seat, needed[seat], self._taken(special))
        taken = self._taken(special)
        left = [account for account in target.accounts if id(account) not in taken]
        self._rows = _rows_of(left, usual) | special

    def _rows_of_tenant(self, tenant: str, needed: Mapping[str, int]) -> dict[str, list[Account]]:
        """The rows of the users of one tenant."""
        users = {seat.partition(_OF_TENANT)[0]: needed[seat] for seat in needed if _tenant_of(seat) == tenant}
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
            seat_of(role, tenant): rows[role] if self._shares else rows[role][:number]
            for role, number in users.items()
        }

    def _taken(self, rows: Mapping[str, Sequence[Account]]) -> set[int]:
        """The ids of the accounts that others cannot have; none where users share accounts."""
        return set() if self._shares else {id(account) for row in rows.values() for account in row}

    def _row_of_groups(self, seat: str, users: int, taken: set[int]) -> list[Account]:
        """The row of users in groups: each group follows the one before, and is of one tenant."""
        role, size = seat.partition(_IN_GROUPS)[0], _group_of(seat)
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

    def places(self, role: str) -> float:
        """Most users with a role; infinite if accounts are shared or not needed."""
        if not self._accounts:
            return math.inf
        row = self._rows[role]
        return math.inf if self._shares and row else len(row)

    def account(self, role: str, place: int) -> Account | None:
        """The account of the user at `place` (< `places`) of a role; None if none is needed."""
        if not self._accounts:
            return None
        row = self._rows[role]
        return row[place % len(row)]

    def of_each_tenant(self, needed: Mapping[str, int]) -> tuple[Account, ...]:
        """The first account of each tenant among those of so many users by role."""
        firsts: dict[str, Account] = {}
        for role, users in needed.items():
            for account in self._rows.get(role, ())[:users]:
                firsts.setdefault(account.tenant, account)
        return tuple(firsts.values())

    def require(self, needed: Mapping[str, int]) -> None:
        """Refuse more users than there are accounts.

        Raises:
            ConfigurationError: there are too few.

        """
        for seat, users in needed.items():
            if users > self.places(seat):
                there_are = self._named(seat) if _tenant_of(seat) else len(self._rows[seat])
                raise _too_few(users, seat, there_are)
        for tenant, users in self._complete.items():
            usual, left = (
                sum(
                    account.tenant == tenant
                    for role in self._usual
                    for account in rows[role][: needed.get(role, 0)]
                )
                for rows in (self._usual, self._rows)
            )
            if left < usual:
                seat = seat_of("", tenant)
                raise _too_few(usual + users, seat, self._named(seat))

    def _named(self, seat: str) -> int:
        """How many accounts of a tenant the environment names, and of a role if the seat has one."""
        role, _, tenant = seat.partition(_OF_TENANT)
        return sum(each.tenant == tenant and role in {"", each.role} for each in self._accounts)


def _tenant_of(seat: str) -> str:
    return seat.partition(_OF_TENANT)[2]


def _group_of(seat: str) -> int:
    """How many users are of one tenant; 0 if it does not matter."""
    return int(seat.partition(_IN_GROUPS)[2] or 0)


def _rows_of(accounts: Iterable[Account], needed: Mapping[str, int]) -> dict[str, list[Account]]:
    """Accounts by the role of the users who get them; those that no role needs are in the row of ""."""
    rows: dict[str, list[Account]] = {role: [] for role in needed}
    plain = rows.setdefault("", [])
    left_over: list[Account] = []
    for account in accounts:
        row = rows.get(account.role, plain)
        (row if row is plain or len(row) < needed[account.role] else left_over).append(account)
    plain += left_over
    return rows


def _too_few(users: int, seat: str, there_are: int) -> ConfigurationError:
    return ConfigurationError(
        f"{users} users need {accounts_of(seat)} of their own, the environment names {there_are}; {_SHARE}"
    )
