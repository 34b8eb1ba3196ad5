"""Which account a virtual user has."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loadkit.errors import ConfigurationError
from loadkit.target import Account, Target
from loadkit.workload.schedule import entry_of
from loadkit.workload.workload import Model, Workload

__all__ = ["AccountPool", "Earlier", "demand"]


def demand(workload: Workload, roles: Sequence[str]) -> Mapping[str, int]:
    """How many accounts of each role the users of a load need, by the role that each entry of the mix asks for."""
    users = workload.most_users
    if workload.model is Model.CLOSED:
        return Counter(roles[entry_of(number, workload.mix)] for number in range(users))
    needed: Counter[str] = Counter()
    for entry, role in zip(workload.mix, roles, strict=True):
        needed[role] += math.ceil(entry.share * users)
    return needed


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the populations before one have taken: its users and accounts come after theirs."""

    users: int = 0
    accounts: Mapping[str, int] = field(default_factory=dict)
    """By role."""

    def and_then(self, workload: Workload, roles: Sequence[str]) -> "Earlier":
        """With those of one more load."""
        taken = Counter(self.accounts)
        taken.update(demand(workload, roles))
        return Earlier(self.users + workload.most_users, taken)


class AccountPool:
    """A target's accounts, dealt to users by the role that their journeys ask for.

    Users whose journey asks for no role get accounts of roles that none asks for, and what the others leave over.
    The same place in a role's row is the same account in every worker.
    """

    def __init__(self, target: Target, needed: Mapping[str, int]) -> None:
        self._has_accounts = bool(target.accounts)
        self._shares = target.shares_accounts
        self._rows: dict[str, list[Account]] = {role: [] for role in needed}
        plain = self._rows.setdefault("", [])
        left_over: list[Account] = []
        for account in target.accounts:
            row = self._rows.get(account.role, plain)
            (row if row is plain or len(row) < needed[account.role] else left_over).append(account)
        plain += left_over

    def places(self, role: str) -> float:
        """How many users with that role there can be; infinite where accounts are shared or not needed."""
        if not self._has_accounts:
            return math.inf
        row = self._rows[role]
        return math.inf if self._shares and row else len(row)

    def account(self, role: str, place: int) -> Account | None:
        """The account of the user at `place`, below `places`, among those with a role; None where none is needed."""
        if not self._has_accounts:
            return None
        row = self._rows[role]
        return row[place % len(row)]

    def require(self, needed: Mapping[str, int]) -> None:
        """Refuse more users than there are accounts.

        Raises:
            ConfigurationError: there are too few.

        """
        for role, users in needed.items():
            if users > self.places(role):
                kind = f"accounts with the role {role}" if role else "accounts"
                raise ConfigurationError(
                    f"{users} users need {kind} of their own, the environment names {len(self._rows[role])}; "
                    "name more, or let users share them (share_accounts = true)"
                )
