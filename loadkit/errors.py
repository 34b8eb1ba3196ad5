"""Errors that a user can cause; each states in one line what was read, where, and what is valid."""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

__all__ = [
    "ConfigurationError",
    "LoadkitError",
    "NotAllowedError",
    "PhraseError",
    "UnreachableError",
    "located",
    "one_line",
]

_LONGEST = 200
"""The maximum number of characters of an error that is shown with its location."""


class LoadkitError(Exception):
    """Base of the errors that end a command with one line on stderr and exit code 2."""

    exit_code = 2


class ConfigurationError(LoadkitError):
    """An environment file, a plan or an option is invalid."""


class NotAllowedError(LoadkitError):
    """The environment file does not allow load on this target, or this much load, or seeding."""


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


def located(error: BaseException, folder: Path) -> str:
    """An error with its location in a folder's code: "KeyError: 'idd' at journeys/browse.py:12".

    The path is relative to the working directory. For a path outside it, the last two parts are
    shown. If the error passed no code of the folder, the location is where it was raised.

    The text of the error is shown only in three cases: it is a constant in the code, it is about a
    name in the code, or it is a `ConfigurationError`. Any other text may contain data, and so a
    credential.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    text = type(error).__name__
    if _is_of_the_code(error, [frame.f_code for frame, _ in frames]):
        text = " ".join([f"{text}:", *str(error).split()])[:_LONGEST]
    places = [(Path(frame.f_code.co_filename), line) for frame, line in frames]
    own = [place for place in places if folder in place[0].parents and "site-packages" not in place[0].parts]
    if not places:
        return text
    path, line = (own or places)[-1]
    here = Path.cwd()
    shown = path.relative_to(here) if here in path.parents else Path(*path.parts[-2:])
    return f"{text} at {shown}:{line}"


def _is_of_the_code(error: BaseException, codes: Sequence[CodeType]) -> bool:
    """Is its text a constant of the code that it passed, about a name in it, or meant for users?"""
    if isinstance(error, AttributeError | NameError) and error.name:  # the interpreter sets `name`
        return True
    if isinstance(error, ConfigurationError):
        return True
    return (
        len(error.args) == 1
        and isinstance(error.args[0], str)
        and any(error.args[0] in code.co_consts for code in codes)
    )


def one_line(error: Exception) -> str:
    """Any error as one line: a `LoadkitError` as it is, any other with its type and location."""
    if isinstance(error, LoadkitError):
        return str(error)
    text = " ".join([f"{type(error).__name__}:", *str(error).split()]).removesuffix(":")
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else text
