"""The answer to a message that the generator sent: found when its bytes arrive."""

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
        """Its bytes."""
        self.error: Exception | None = None
        """What the journey's code raised when it looked at a message; None if it did not."""

    @property
    def is_over(self) -> bool:
        """Has it arrived, or can nobody tell any more whether it does?"""
        return self.message is not None or self.error is not None

    def look(self, message: str | bytes, size: int, at: float) -> bool:
        """Look at a message of `size` bytes that arrived at a moment. Is the waiting over now?"""
        try:
            is_found = self._matches(message)
        except Exception as error:
            self.error = error
            return True
        if is_found:
            self.message, self.size, self.at = message, size, at
        return is_found
