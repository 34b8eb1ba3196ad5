"""The answer to a message that the generator sent; it is found when its bytes arrive."""

from collections.abc import Callable

__all__ = ["Answer", "Matches"]

Matches = Callable[[str | bytes], bool]
"""Is a message the answer? Text is `str`, binary is `bytes`."""


class Answer:
    """One message that is awaited among all others of a connection."""

    __slots__ = ("_matches", "at", "error", "message", "size")

    def __init__(self, matches: Matches) -> None:
        self._matches = matches
        self.message: str | bytes | None = None
        """None until it has arrived."""
        self.at = 0.0
        """When its bytes arrived; monotonic clock."""
        self.size = 0
        """Its size in bytes."""
        self.error: Exception | None = None
        """The exception that the journey's code raised for a message; None for none."""

    @property
    def is_over(self) -> bool:
        """Has the answer arrived, or did the journey's code raise an exception?"""
        return self.message is not None or self.error is not None

    def look(self, message: str | bytes, size: int, at: float) -> bool:
        """Check a message of `size` bytes that arrived at `at`. Is the wait over now?"""
        try:
            is_found = self._matches(message)
        except Exception as error:
            self.error = error
            return True
        if is_found:
            self.message, self.size, self.at = message, size, at
        return is_found
