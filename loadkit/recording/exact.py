"""Names of the counts behind a claim that something, such as a lost message, never happened.

Code that counts "lost messages" also counts what was compared and what had to be compared. A count
of zero proves the claim only if these two are equal.
"""

__all__ = ["compared", "to_compare"]


def compared(name: str) -> str:
    """The name of the count of compared items."""
    return f"{name}: compared"


def to_compare(name: str) -> str:
    """The name of the count of items that had to be compared."""
    return f"{name}: to compare"
