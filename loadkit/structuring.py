"""Structures plain data from TOML and JSON into frozen dataclasses.

The type of a field defines the type of its value. `Stated`, next to it in ``Annotated[...]``, adds
the unit, the bounds and an example::

    @dataclass(frozen=True, slots=True)
    class Watching:
        scrape_interval: Annotated[float, Stated("1", unit="seconds", above=0)] = 15.0

Types are strict. An integer is accepted as a float; there is no other conversion. Unknown keys are
refused at every level. Each error is one line with the file, the key path, what was read, what was
expected, and the example.
"""

import difflib
import enum
import functools
import json
import math
import re
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import cattrs
from cattrs.cols import homogenous_tuple_structure_factory, is_mapping, mapping_structure_factory
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from loadkit.errors import ConfigurationError
from loadkit.target import Address, Secret, masked

__all__ = ["Stated", "example_of", "structure"]

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]
"""Makes a value from plain data; its second argument is the type of the value."""

_LONGEST = 60
"""Maximum number of characters of a value in an error."""
_NEAR = 0.75
"""Minimum similarity (`difflib`) of a suggested key: "base" is not suggested for "database"."""
_MOST = 10
"""Maximum number of errors listed; further errors are only counted."""


@dataclass(frozen=True, slots=True)
class Stated:
    """Constraints on a value besides its type, and an example."""

    example: str = ""
    """A valid value as in the file, quotes included: ``300``, ``"/readyz"``."""
    unit: str = ""
    """The unit of a number: "seconds"."""
    above: float | None = None
    """Exclusive lower bound of a number."""
    at_least: float | None = None
    at_most: float | None = None
    what: str = ""
    """What is expected, instead of the words for the type: "a path that begins with /"."""
    holds: Callable[[Any], bool] | None = None
    """Is a value of the right type acceptable? `what` states the condition in words."""

    def expected(self, of_type: str) -> str:
        """What is expected, in words."""
        if self.what:
            return self.what
        words = f"{of_type} of {self.unit}" if self.unit else of_type
        least = f" above {self.above:g}" if self.above is not None else ""
        least = f", at least {self.at_least:g}" if self.at_least is not None else least
        most = f"at most {self.at_most:g}" if self.at_most is not None else ""
        return f"{words}{least}{' and ' if least and most else ', ' if most else ''}{most}"

    def accepts(self, value: Any) -> bool:
        """Is a value of the right type within the bounds?"""
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Some settings are infinite by default, but a file cannot state infinity.
            return (
                math.isfinite(value)
                and (self.above is None or value > self.above)
                and (self.at_least is None or value >= self.at_least)
                and (self.at_most is None or value <= self.at_most)
            )
        return self.holds is None or self.holds(value)


class MismatchError(ValueError):
    """A value of the wrong type or beyond its bounds."""

    def __init__(self, value: Any, expected: str) -> None:
        super().__init__(f"expected {expected}")
        self.value = value
        self.expected = expected


def structure(
    kind: type[T],
    data: Any,
    where: str,
    *,
    allow_unknown: bool = False,
    is_secret: bool = False,
    hooks: Mapping[type, Callable[[Any], Any]] = types.MappingProxyType({}),
) -> T:
    """Make a value of a type from plain data.

    Args:
        kind: a dataclass, or a tuple or mapping of dataclasses.
        data: the result of `tomllib` or `json`.
        where: the file; it begins each line of the error.
        allow_unknown: ignore keys that `kind` does not have, for files that other programs use too.
        is_secret: the error repeats none of the data.
        hooks: functions by type; each makes a value of its type from data of another form.

    Raises:
        ConfigurationError: the data does not match `kind`; the message has one line per mistake.

    """
    converter = _converter(allow_unknown) if not hooks else _new_converter(allow_unknown, hooks)
    try:
        return converter.structure(data, kind)
    except (BaseValidationError, MismatchError) as error:
        found = _problems(error, _Place(), is_secret=is_secret)
        lines = list(dict.fromkeys(problem.line(is_secret=is_secret) for problem in found))
        more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
        raise ConfigurationError("\n".join(f"{where}: {line}" for line in lines[:_MOST] + more)) from None


def example_of(kind: type, name: str) -> str:
    """An example line of a file for a field: ``hold = 300``; "" where the field has no example."""
    (field,) = (field for field in fields(kind) if field.name == name)
    stated = _stated(field.type)
    return f"{name} = {stated.example}" if stated.example else ""


# --- types


@functools.cache
def _converter(allow_unknown: bool) -> cattrs.Converter:
    return _new_converter(allow_unknown, {})


def _new_converter(allow_unknown: bool, hooks: Mapping[type, Callable[[Any], Any]]) -> cattrs.Converter:
    """A converter that never converts a value of one type into another."""
    converter = cattrs.Converter(forbid_extra_keys=not allow_unknown, detailed_validation=True)
    by_kind: dict[type, Hook] = {kind: _plain(kind, words) for kind, words in _WORDS.items()}
    by_kind |= {kind: _text_of(kind) for kind in (Secret, Address)}
    by_kind |= {enum.StrEnum: _enumerated}
    by_kind |= {kind: functools.partial(_made, make) for kind, make in hooks.items()}
    for kind, hook in by_kind.items():
        converter.register_structure_hook(kind, hook)
    factories: tuple[tuple[Callable[[Any], bool], Callable[[Any, cattrs.Converter], Hook]], ...] = (
        (lambda kind: get_origin(kind) is Literal, _literal),
        (lambda kind: get_origin(kind) in {Union, types.UnionType}, _union),
        (lambda kind: get_origin(kind) is tuple, _tuple),
        (is_mapping, _mapping),
        (is_dataclass, _record),
        (lambda kind: get_origin(kind) is Annotated, _annotated),
    )
    for applies, factory in factories:  # cattrs tries the factory registered last first
        converter.register_structure_hook_factory(applies, factory)
    return converter


def _made(make: Callable[[Any], Any], value: Any, _: Any) -> Any:
    """The result of a hook; its errors become a ValueError, as a KeyError means a missing key."""
    try:
        return make(value)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"cannot be read: {type(error).__name__}: {error}") from None


_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _plain(kind: type, words: str) -> Hook:
    accepted = (int, float) if kind is float else kind

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise MismatchError(value, words)
        return kind(value)

    return hook


def _text_of(kind: type[Secret]) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, str):
            # The error must not repeat a secret; addresses are masked where they are printed.
            raise MismatchError(value if kind is Address else Secret(""), _WORDS[str])
        return kind(value)

    return hook


def _enumerated(value: Any, kind: type[enum.StrEnum]) -> Any:
    return _one_of({member.value: member for member in kind}, value)


def _literal(kind: Any, _: cattrs.Converter) -> Hook:
    known = {value: value for value in get_args(kind)}
    return lambda value, _: _one_of(known, value)


def _one_of(known: Mapping[str, Any], value: Any) -> Any:
    if not isinstance(value, str) or value not in known:
        *others, last = (json.dumps(each) for each in known)
        raise MismatchError(value, f"{', '.join(others)} or {last}" if others else last)
    return known[value]


def _union(kind: Any, converter: cattrs.Converter) -> Hook:
    members = [member for member in get_args(kind) if member is not types.NoneType]
    made = [(member, converter.get_structure_hook(member)) for member in members]
    may_be_none = len(members) < len(get_args(kind))

    def hook(value: Any, _: Any) -> Any:
        if value is None and may_be_none:
            return None
        refusals = []
        for member, make in made:
            try:
                return make(value, member)
            except MismatchError as refusal:
                refusals.append(refusal)
        raise MismatchError(value, " or ".join(refusal.expected for refusal in refusals))

    return hook


def _tuple(kind: Any, converter: cattrs.Converter) -> Hook:
    members = get_args(kind)
    if len(members) == 2 and members[1] is Ellipsis:
        make = homogenous_tuple_structure_factory(kind, converter)
        return _of_shape(list | tuple, "a list", make)
    made = [(member, converter.get_structure_hook(member)) for member in members]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(made):
            raise MismatchError(value, f"a list of {len(made)} values")
        items, errors = [], []
        for index, (item, (member, make)) in enumerate(zip(value, made, strict=True)):
            try:
                items.append(make(item, member))
            except Exception as error:
                error.add_note(IterableValidationNote("", index, member))
                errors.append(error)
        if errors:
            raise IterableValidationError("", errors, kind)
        return tuple(items)

    return hook


def _mapping(kind: Any, converter: cattrs.Converter) -> Hook:
    return _of_shape(Mapping, "a table", mapping_structure_factory(kind, converter))


def _record(kind: type, converter: cattrs.Converter) -> Hook:
    return _of_shape(Mapping, "a table", make_dict_structure_fn(kind, converter))


def _of_shape(shape: Any, words: str, make: Callable[..., Any]) -> Hook:
    """A hook that checks the container: cattrs accepts a text as a list, and a list as a table."""

    def hook(value: Any, kind: Any) -> Any:
        if not isinstance(value, shape):
            raise MismatchError(value, words)
        return make(value, kind)

    return hook


def _annotated(kind: Any, converter: cattrs.Converter) -> Hook:
    inner = get_args(kind)[0]
    make, stated = converter.get_structure_hook(inner), _stated(kind)

    def hook(value: Any, _: Any) -> Any:
        try:
            made = make(value, inner)
        except MismatchError as refusal:
            raise MismatchError(refusal.value, stated.expected(refusal.expected)) from None
        if not stated.accepts(made):
            raise MismatchError(value, stated.expected(_WORDS.get(inner, "a number")))
        return made

    return hook


def _stated(kind: Any) -> Stated:
    """The `Stated` annotation of a type, or an empty one."""
    annotations = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((each for each in annotations if isinstance(each, Stated)), Stated())


# --- errors


@dataclass(frozen=True, slots=True)
class _Place:
    """A position in the data."""

    path: str = ""
    """``observer.measures."CPU utilization".of``."""
    example: str = ""
    """The example of the innermost enclosing value that has one: ``hold = 300``."""

    def key(self, name: str, kind: Any) -> "_Place":
        """The position of a value of a table."""
        shown = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
        example = _stated(kind).example
        path = f"{self.path}.{shown}" if self.path else shown
        return _Place(path, f"{shown} = {example}" if example else self.example)

    def item(self, index: int, kind: Any) -> "_Place":
        """The position of a value of a list."""
        return _Place(f"{self.path}[{index}]", _stated(kind).example or self.example)


_BARE = re.compile(r"[A-Za-z0-9_-]+")
"""A key that TOML reads without quotes."""


@dataclass(frozen=True, slots=True)
class _Problem:
    """One mistake in the data."""

    path: str
    text: str
    read: tuple[Any, ...] = ()
    """The value that was read, where there is one."""

    def line(self, *, is_secret: bool) -> str:
        """The mistake in words, without the file."""
        read = f" = {_shown(self.read[0])}" if self.read and not is_secret else ""
        return f"{self.path}{read}: {self.text}" if self.path else self.text


def _problems(error: BaseException, place: _Place, *, is_secret: bool) -> Iterator[_Problem]:
    """All mistakes below a position, from the errors that cattrs collected."""
    such = f"such as {place.example}" if place.example else ""
    match error:
        case BaseValidationError():
            for each in error.exceptions:
                yield from _problems(each, _place_of(each, place), is_secret=is_secret)
        case ForbiddenExtraKeysError():
            for name in sorted(error.extra_fields):
                yield _unknown(name, error.cl, place, is_secret=is_secret)
        case KeyError():
            yield _Problem(place.path, f"missing; expected {such}" if such else "missing")
        case MismatchError():
            yield _Problem(place.path, ", ".join(filter(None, [str(error), such])), (error.value,))
        case _:  # raised by the `__post_init__` of a dataclass, about several of its fields
            yield _Problem(place.path, "cannot be used" if is_secret else str(error))


def _place_of(error: Exception, around: _Place) -> _Place:
    """The position of an error, from the notes of cattrs."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return around.key(note.name, note.type)
        if isinstance(note, IterableValidationNote):
            if isinstance(note.index, int):
                return around.item(note.index, note.type)
            return around.key(note.index, note.type)
    return around


def _unknown(name: str, kind: type, place: _Place, *, is_secret: bool) -> _Problem:
    """The mistake of a key that its table does not have."""
    known = [field.name for field in fields(kind)]
    near = difflib.get_close_matches(name, known, 1, _NEAR)
    if is_secret:
        return _Problem(place.path, f"unknown key; known: {', '.join(known)}")
    if not near:
        return _Problem(place.key(name, None).path, f"unknown key; known: {', '.join(known)}")
    example = example_of(kind, near[0])
    such = f" expected such as {example}" if example else ""
    return _Problem(place.key(name, None).path, f"unknown key; did you mean {near[0]}?{such}")


def _shown(value: Any) -> str:
    """A value as it was read, shortened and without credentials."""
    text = masked(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
