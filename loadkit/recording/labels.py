"""How many labels a record holds: a path with a name in it must not become thousands of them."""

from collections import defaultdict
from collections.abc import Iterable

__all__ = ["MOST_LABELS", "OTHER_LABELS", "LabelLimit", "commonest_shape"]

MOST_LABELS = 300
"""Labels that one worker counts apart. An API has some dozens; more are values in paths."""
OTHER_LABELS = "(other labels)"
"""Under which the rest is counted."""


class LabelLimit:
    """Admits the first labels, and counts all further ones together."""

    __slots__ = ("_admitted", "_most")

    def __init__(self, most: int = MOST_LABELS) -> None:
        self._most = most
        self._admitted: set[str] = set()

    def admit(self, label: str) -> str:
        """The label under which operations of this label are counted."""
        admitted = self._admitted
        if label in admitted:
            return label
        if len(admitted) >= self._most:
            return OTHER_LABELS
        admitted.add(label)
        return label


def commonest_shape(labels: Iterable[str]) -> tuple[str, int]:
    """The path that most of some labels share but for one segment, that segment written "*"; and how many do.

    "GET /products/*" of 300 labels such as "GET /products/blue-shirt".
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
