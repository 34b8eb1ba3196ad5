"""Errors as people read them."""

import pytest

from loadkit.errors import ConfigurationError, one_line


def raised(error: Exception) -> Exception:
    with pytest.raises(type(error)) as caught:
        raise error
    return caught.value


def test_what_a_user_can_cause_is_told_as_it_is() -> None:
    assert one_line(raised(ConfigurationError("no such file"))) == "no such file"


def test_anything_else_is_one_line_with_its_type_and_its_place() -> None:
    said = one_line(raised(ValueError("two\n   lines")))
    assert said.startswith("ValueError: two lines (test_errors.py, line ")
    assert one_line(raised(StopIteration())).startswith("StopIteration (test_errors.py, line ")
    assert one_line(OSError()) == "OSError"
