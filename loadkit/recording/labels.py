"""Limits on labels and kinds of failure, because variable values in them can create thousands."""

from collections import defaultdict
from collections.abc import Iterable

__all__ = [
    "MOST_JOURNEY_ERRORS",
    "MOST_LABELS",
    "MOST_OUTCOMES",
    "OTHER_FAILURES",
    "OTHER_JOURNEY_ERRORS",
    "OTHER_LABELS",
    "LabelLimit",
    "advice",
    "most_common_shape",
]

MOST_LABELS = 300
"""Labels that one worker counts separately. An API has some dozens; more labels contain values in
paths."""
OTHER_LABELS = "(other labels)"
"""The label for all further operations."""
MOST_OUTCOMES = 40
"""Kinds of failure that one worker counts separately."""
OTHER_FAILURES = "(other failures)"
"""The outcome for all further kinds of failure."""
MOST_JOURNEY_ERRORS = 20
"""Errors in the code of journeys that one worker counts separately."""
OTHER_JOURNEY_ERRORS = "journeys failed themselves (other errors)"
"""The name for all further errors in the code of journeys."""


class LabelLimit:
    """Keeps the first names, and maps all further ones to a common name."""

    __slots__ = ("_admitted", "_most", "_others")

    def __init__(self, most: int = MOST_LABELS, others: str = OTHER_LABELS) -> None:
        self._most = most
        self._others = others
        self._admitted: set[str] = set()

    def admit(self, name: str) -> str:
        """The name under which operations of this name are counted."""
        admitted = self._admitted
        if name in admitted:
            return name
        if len(admitted) >= self._most:
            return self._others
        admitted.add(name)
        return name


def most_common_shape(labels: Iterable[str]) -> tuple[str, int]:
    """The most common path shape, with one segment replaced by "*", and the number of its labels.

    Example: "GET /products/*" for 300 labels such as "GET /products/blue-shirt".
    """
    shapes: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for label in labels:
        segments = label.split("/")
        for place in range(1, len(segments)):
            shape = (*segments[:place], "*", *segments[place + 1 :])
            shapes[shape].add(segments[place])
    if not shapes:
        return "", 0
    shape, values = max(shapes.items(), key=lambda item: len(item[1]))
    return "/".join(shape), len(values)


def advice(labels: Iterable[str], outcomes: Iterable[str]) -> tuple[str, ...]:
    """Advice for journeys whose labels or failures contain variable values; empty if none do."""
    known, failures = list(labels), list(outcomes)
    messages = []
    if OTHER_LABELS in known:
        shape, _ = most_common_shape(known)
        messages.append(
            f"a worker counts {MOST_LABELS} labels separately; all further operations are counted as "
            f'"{OTHER_LABELS}". Most labels look like "{shape}": give them one label, '
            f'such as user.get(path, label="{shape.replace("*", "{name}")}")'
        )
    if OTHER_FAILURES in failures:
        checks = [failure for failure in failures if failure.startswith("check: ")]
        example = f', such as "{checks[0]}"' if checks else ""
        messages.append(
            f"a worker counts {MOST_OUTCOMES} kinds of failure separately; all further ones are counted as "
            f'"{OTHER_FAILURES}". Do not put variable values in the text of a check{example}'
        )
    return tuple(messages)
