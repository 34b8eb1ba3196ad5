"""Searches what a user receives for the data of other tenants.

Each tenant has a canary: a secret text that occurs in its data, and in no data of other tenants.
If all canaries have a common beginning, a faster search is enough. It looks for this beginning,
followed by anything but the rest of the own canary.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stringzilla import count

from loadkit.target import Account

__all__ = ["Canaries", "TenantSearch"]

_COMMON = 3
"""Least length, in bytes, of a common beginning that is rare enough to be searched alone."""


@dataclass(slots=True)
class TenantSearch:
    """Finds the canaries of all tenants except one. It also notes whether the own one ever occurs."""

    tenant: str
    """The name of the tenant."""
    others: Mapping[bytes, str]
    """The other tenants by canary."""
    is_other: re.Pattern[bytes]
    """Matches any of the other canaries."""
    is_suspect_text: Callable[[str], object]
    """Returns a true value for text that may contain another canary.

    Most messages are text, and encoding one would take longer than the search."""
    own: bytes
    """The canary of the tenant."""
    beginning: bytes
    """The common beginning of all canaries, if bytes that contain it more often than `own` contain
    another canary, and other bytes do not; else b"".

    That is so if it cannot overlap itself, and `own` contains it once. Two counts take a fifth of
    the time of a regular expression. Only bytes are counted, because stringzilla crashes on text
    that cannot be encoded."""
    is_own_found: bool = False
    """Has the canary of the tenant occurred?"""

    def finds_own(self, content: bytes | str) -> bool:
        """Does a text contain the canary of the tenant, for the first time?"""
        if self.is_own_found:
            return False
        self.is_own_found = self.own.decode() in content if isinstance(content, str) else self.own in content
        return self.is_own_found

    def found(self, content: bytes | str) -> str:
        """The name of a tenant whose canary a text contains; "" if there is no such canary."""
        if isinstance(content, str):
            if not self.is_suspect_text(content):
                return ""
            content = content.encode()
        beginning = self.beginning
        if beginning and count(content, beginning) == count(content, self.own):
            return ""
        hit = self.is_other.search(content)
        return self.others[hit[0]] if hit else ""


class Canaries:
    """The canaries of the tenants of all accounts."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        accounts = list(accounts)
        self._tenants = frozenset(account.tenant for account in accounts) - {""}
        found = {account.tenant: account.canary.reveal() for account in accounts if account.canary}
        self._canaries = {tenant: canary.encode() for tenant, canary in found.items()}
        self._beginning = b""
        if len(self._canaries) > 1:
            common = _common_beginning(list(found.values())).encode()
            self._beginning = common if len(common) >= _COMMON else b""
        self._searches: dict[str, TenantSearch | None] = {}

    def search_for(self, tenant: str) -> TenantSearch | None:
        """The search of a user of a tenant; None if this tenant or all others have no canary."""
        if tenant not in self._searches:
            self._searches[tenant] = self._made(tenant)
        return self._searches[tenant]

    def lacks_search(self, tenant: str) -> bool:
        """Is a search for other tenants' data needed, but impossible for lack of canaries?"""
        return tenant in self._tenants and len(self._tenants) > 1 and self.search_for(tenant) is None

    def _made(self, tenant: str) -> TenantSearch | None:
        own = self._canaries.get(tenant)
        others = {canary: name for name, canary in self._canaries.items() if canary != own}
        if own is None or not others:
            return None
        # The longest comes first, because one canary may be the beginning of another.
        pattern = re.compile(b"|".join(re.escape(each) for each in sorted(others, key=len, reverse=True)))
        suspect, beginning = pattern, b""
        if self._beginning and not any(canary.startswith(own) for canary in others):
            begin, end = own[: len(self._beginning)], own[len(self._beginning) :]
            suspect = re.compile(re.escape(begin) + b"(?!" + re.escape(end) + b")")
            overlaps = any(begin.endswith(begin[:length]) for length in range(1, len(begin)))
            if not overlaps and own.find(begin, 1) < 0:
                beginning = self._beginning  # one object for all tenants, so that identity is enough
        # A canary is text in UTF-8, and so is its pattern.
        text = re.compile(suspect.pattern.decode())
        return TenantSearch(tenant, others, pattern, text.search, own, beginning)


def _common_beginning(texts: list[str]) -> str:
    first, last = min(texts), max(texts)
    for length, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:length]
    return min(first, last, key=len)
