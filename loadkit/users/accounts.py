"""Assigns accounts to virtual users."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadkit.errors import ConfigurationError
from loadkit.target import Account, Target
from loadkit.workload.schedule import entry_of
from loadkit.workload.workload import Model, Workload

__all__ = ["AccountPool", "Earlier", "demand", "seat_of"]

_OF_TENANT = " of tenant "


def seat_of(role: str, tenant: str) -> str:
    """The role that a user's account must have, and its tenant; "" for any."""
    return f"{role}{_OF_TENANT}{tenant}" if tenant else role


def demand(workload: Workload, roles: Sequence[str]) -> Mapping[str, int]:
    """The accounts per role that the users of a load need; each entry of the mix names a role."""
    users = workload.most_users
    if workload.model is Model.CLOSED:
        return Counter(roles[entry_of(number, workload.mix)] for number in range(users))
    needed: Counter[str] = Counter()
    for entry, role in zip(workload.mix, roles, strict=True):
        needed[role] += math.ceil(entry.share * users)
    return needed


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

    def and_then(self, workload: Workload, roles: Sequence[str]) -> "Earlier":
        """Add the users and accounts of one more load."""
        used = Counter(self.accounts)
        used.update(demand(workload, roles))
        return Earlier(self.users + workload.most_users, used)


class AccountPool:
    """A target's accounts, assigned to users by the role that their journeys require.

    Users whose journey requires no role get accounts with roles that no journey requires, and
    surplus accounts. The same place in a role's row is the same account in every worker.
    """

    def __init__(self, target: Target, needed: Mapping[str, int]) -> None:
        self._has_accounts = bool(target.accounts)
        self._shares = target.shares_accounts
        self._rows: dict[str, list[Account]] = {role: [] for role in needed}
        plain = self._rows.setdefault("", [])
        left_over: list[Account] = []
        of_tenants = {seat: Counter(needed)[seat] for seat in needed if _OF_TENANT in seat}
        for account in target.accounts:
            seat = seat_of(account.role, account.tenant)
            seat = next((each for each in (seat, seat_of("", account.tenant)) if of_tenants.get(each)), "")
            if seat:  # populations of one tenant come first: the others can have any account
                self._rows[seat].append(account)
                of_tenants[seat] -= 1
                continue
            row = self._rows.get(account.role, plain)
            (row if row is plain or len(row) < needed[account.role] else left_over).append(account)
        plain += left_over

    def places(self, role: str) -> float:
        """Most users with a role; infinite if accounts are shared or not needed."""
        if not self._has_accounts:
            return math.inf
        row = self._rows[role]
        return math.inf if self._shares and row else len(row)

    def account(self, role: str, place: int) -> Account | None:
        """The account of the user at `place` (< `places`) of a role; None if none is needed."""
        if not self._has_accounts:
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
        for role, users in needed.items():
            if users > self.places(role):
                role_alone, _, tenant = role.partition(_OF_TENANT)
                kind = f"accounts with the role {role_alone}" if role_alone else "accounts"
                kind += f" of tenant {tenant}" if tenant else ""
                raise ConfigurationError(
                    f"{users} users need {kind} of their own, the environment names {len(self._rows[role])}; "
                    "name more, or let users share them (share_accounts = true)"
                )
