"""What a user can cause, each in one line: what was read, where, what was expected, an example that works."""

from dataclasses import dataclass

__all__ = ["ConfigurationError", "LoadkitError", "NotAllowedError", "PhraseError", "UnreachableError"]


class LoadkitError(Exception):
    """Base of all errors that end a command with one line on stderr and exit code 2, before or without load."""

    exit_code = 2


class ConfigurationError(LoadkitError):
    """An environment file, a plan or an option cannot be used as it is."""


class NotAllowedError(LoadkitError):
    """Load on this target, or this much of it, is not allowed by its environment file."""


class UnreachableError(LoadkitError):
    """Something the run needs does not answer."""


@dataclass
class PhraseError(LoadkitError):
    """A sentence, or a part of one, that cannot be read."""

    sentence: str
    """The text as it was written."""
    word: str
    """The part of it that is wrong."""
    expected: str
    """What would be right in its place, with an example."""
    where: str = ""
    """file:line, where known."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        text = f'{place}"{self.sentence}": cannot read "{self.word}"; {self.expected}'
        return " ".join(text.splitlines())
