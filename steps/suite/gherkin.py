"""Reads feature files as editors save them: with a byte order mark, any space after a keyword."""

import os
from pathlib import Path

from behave import parser
from behave.model import Feature, Step

from loadkit.errors import ConfigurationError

__all__ = ["install", "parse_file"]


class _Parser(parser.Parser):  # type: ignore[misc]  # behave has no types
    def parse_step(self, line: str) -> Step | None:
        """Read a line as a step. behave itself accepts only the plain space after a keyword."""
        return super().parse_step(" ".join(line.split(maxsplit=1)))


def parse_file(filename: str, language: str | None = None) -> Feature | None:
    """Read a feature file; None if it is empty.

    Raises:
        ConfigurationError: the file is not UTF-8.
        ParserError: the file is not Gherkin.

    """
    data = Path(filename).read_bytes()
    try:
        return _Parser(language).parse(data.decode("utf-8-sig"), filename)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{os.path.relpath(filename)}:{line}: cannot read the byte 0x{data[error.start]:02x}; "
            "expected UTF-8; save the file as UTF-8 text"
        ) from None
    except parser.ParserError as error:
        error.filename = filename
        raise


def install() -> None:
    """Replace behave's reader of feature files; behave has no setting for that."""
    parser.parse_file = parse_file
