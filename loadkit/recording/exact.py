"""Names of the counts behind a claim that something, such as a lost message, never happened.

Whoever counts "lost messages" also counts what was compared and what had to be compared. Zero
proves the claim only where the two are equal.
"""

__all__ = ["compared", "to_compare"]


def compared(name: str) -> str:
    """The name of the count of what was looked at."""
    return f"{name}: compared"


def to_compare(name: str) -> str:
    """The name of the count of what had to be looked at."""
    return f"{name}: to compare"
