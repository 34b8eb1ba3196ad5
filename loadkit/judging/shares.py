"""The share of the operations that failed, and its interval."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.judging.spells import within
from loadkit.judging.statistics import (
    batch_edges,
    bounds,
    design_effect,
    effective_size,
    grossly_above,
    persistence,
    recurrence,
    without_events,
)

__all__ = ["Share", "interval_of", "lower_bounds"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the operations that failed, and how much it is worth."""

    value: float
    effect: float
    """The design effect of the operations."""
    size: float
    """The effective number of independent operations."""
    batches: int

    @classmethod
    def of(cls, attempts: Integers, failures: Integers | Floats, lent_effect: float) -> "Share":
        """The share of a window from operations and failures by second, shapes (s,)."""
        value = float(failures.sum()) / max(1.0, float(attempts.sum()))
        period = recurrence(failures - value * attempts)
        edges = batch_edges(len(attempts), period)[:-1]
        sizes = np.add.reduceat(attempts, edges).astype(np.float64)
        hits = np.add.reduceat(failures, edges).astype(np.float64)
        is_present = sizes > 0
        sizes, hits = sizes[is_present], hits[is_present]
        effect = max(1.0, lent_effect)
        if len(sizes) > 1:
            own = float(design_effect(hits[:, np.newaxis], sizes)[0]) * persistence(hits / sizes)
            effect = max(effect, own)
        size = effective_size(float(sizes.sum()), np.array(effect), max(2, len(sizes)))
        return cls(value, effect, float(size), len(sizes))


def interval_of(attempts: Integers, failures: Integers, lent_effect: float = 1.0) -> tuple[float, float]:
    """Lower and upper bound of the share of failures, both of operations by second, shapes (s,).

    A single lasting event gives no estimate of a correlation; it counts if it is gross
    (`grossly_above`).
    """
    share = Share.of(attempts, failures, lent_effect)
    lower, upper = bounds(share.value * share.size, share.size)
    bursts = within(failures, attempts)
    gross = grossly_above(float(failures.sum()) / bursts, float(attempts.sum()) / bursts)
    return max(lower, gross, *lower_bounds(attempts, failures, lambda _: lent_effect)), upper


def lower_bounds(
    attempts: Integers, failures: Integers, effect_of: Callable[[Booleans], float]
) -> Iterator[float]:
    """Further lower bounds of a share, each as if some worst seconds had been no worse than the next.

    An outage makes operations look so dependent on each other that it would put a breach in doubt
    that the rest of the window shows for sure. The true window was worse than the assumed one, so
    each is a lower bound of it. More failures therefore do not make a violation less sure.
    `effect_of`: the least design effect without the worst seconds, from the seconds that remain.
    """
    for capped, is_kept in without_events(failures, attempts):
        share = Share.of(attempts, capped, effect_of(is_kept))
        yield bounds(share.value * share.size, share.size)[0]
