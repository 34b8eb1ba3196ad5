"""Errors that a user can cause; each states in one line what was read, where, and what works."""

import traceback
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "ConfigurationError",
    "LoadkitError",
    "NotAllowedError",
    "PhraseError",
    "UnreachableError",
    "one_line",
]


class LoadkitError(Exception):
    """Base of the errors that end a command with one line on stderr and exit code 2."""

    exit_code = 2


class ConfigurationError(LoadkitError):
    """An environment file, a plan or an option is invalid."""


class NotAllowedError(LoadkitError):
    """The environment file does not allow load on this target, or not as much."""


class UnreachableError(LoadkitError):
    """A service that the run needs does not answer."""


@dataclass
class PhraseError(LoadkitError):
    """A sentence, or a part of one, that cannot be read."""

    sentence: str
    """The text as it was written."""
    word: str
    """The part of it that is wrong."""
    expected: str
    """What was expected there, with an example."""
    where: str = ""
    """file:line, where known."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        text = f'{place}"{self.sentence}": cannot read "{self.word}"; {self.expected}'
        return " ".join(text.splitlines())


def one_line(error: Exception) -> str:
    """Any error as one line: a `LoadkitError` as it is, any other with its type and location."""
    if isinstance(error, LoadkitError):
        return str(error)
    text = " ".join([f"{type(error).__name__}:", *str(error).split()]).removesuffix(":")
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text
