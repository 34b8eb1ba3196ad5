"""The counts behind a claim that something never happened: how often it did, and how much was looked at for it.

Who counts something that must not be, such as "lost messages", also counts under the two names that this module makes of
its name. Zero of it proves something only where both are equal.
"""

__all__ = ["compared", "to_compare"]


def compared(name: str) -> str:
    """The name of the count of what was looked at."""
    return f"{name}: compared"


def to_compare(name: str) -> str:
    """The name of the count of what had to be looked at."""
    return f"{name}: to compare"
