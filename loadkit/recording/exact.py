"""Names of the counts behind a claim that something, such as a lost message, never happened.

Code that counts "lost messages" also counts what was compared and what had to be compared. A count
of zero proves the claim only if these two are equal.

A search for the data of other tenants also proves nothing if the canaries are out of date. So each
worker notes once for each tenant that its users received their own canary.
"""

__all__ = ["CANARIES", "compared", "own_canary", "to_compare"]

CANARIES = "tenants with a canary"
"""The fact of a run: their number. It is absent if there are none, or if an earlier version did not
look for the own canary."""


def compared(name: str) -> str:
    """The name of the count of compared items."""
    return f"{name}: compared"


def own_canary(tenant: str) -> str:
    """The name of the count of workers in which users of a tenant received its canary."""
    return f"own canary received ({tenant})"


def to_compare(name: str) -> str:
    """The name of the count of items that had to be compared."""
    return f"{name}: to compare"
