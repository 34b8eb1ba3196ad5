"""The share of the operations that failed, and its interval."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

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
    serial_effect,
    without_events,
    without_worst,
)

__all__ = ["Share", "interval_of", "lower_bounds"]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Share:
    """The share of the operations that failed, with its effective size."""

    value: float
    effect: float
    """The design effect of the operations."""
    size: float
    """The effective number of independent operations."""
    batches: int

    @classmethod
    def of(
        cls,
        attempts: Integers,
        failures: Integers | Floats,
        borrowed_effect: float = 1.0,
        period: int | None = None,
    ) -> "Share":
        """The share of a window from operations and failures by second, shapes (s,).

        `borrowed_effect`: the least design effect. `period`: the period in seconds at which something
        recurs, or 0; by default, that of the failures.
        """
        value = float(failures.sum()) / max(1.0, float(attempts.sum()))
        if period is None:
            period = recurrence(failures - value * attempts)
        edges = batch_edges(len(attempts), period)[:-1]
        sizes = np.add.reduceat(attempts, edges).astype(np.float64)
        hits = np.add.reduceat(failures, edges).astype(np.float64)
        is_present = sizes > 0
        sizes, hits = sizes[is_present], hits[is_present]
        effect, persists = max(1.0, borrowed_effect), 1.0
        if len(sizes) > 1:
            persists = persistence(hits / sizes)
            effect = max(effect, float(design_effect(hits[:, np.newaxis], sizes)[0]) * persists)
        if not period:
            seconds = (failures.astype(np.float64), attempts.astype(np.float64))
            effect = max(effect, serial_effect(*seconds, value * (1 - value)))
        batches = max(2, len(sizes))
        size = effective_size(float(sizes.sum()), np.array(effect), batches, persists)
        return cls(value, effect, float(size), len(sizes))


def interval_of(
    attempts: Integers, failures: Integers, allowed: float, borrowed_effect: float = 1.0
) -> tuple[float, float]:
    """Lower and upper bound of the share of failures.

    `attempts`, `failures` (s,): operations and failed operations by second. A single lasting event
    gives no estimate of a correlation. It raises the lower bound if it is gross (`grossly_above`).
    If the share is above the `allowed` one but not surely so, `lower_bounds` can decide.
    """
    share = Share.of(attempts, failures, borrowed_effect)
    lower, upper = bounds(share.value * share.size, share.size)
    bursts = within(failures, attempts)
    gross = grossly_above(float(failures.sum()) / bursts, float(attempts.sum()) / bursts)
    lower = max(lower, gross)
    if lower <= allowed < share.value:
        lower = next(lower_bounds(attempts, failures, allowed, lambda _: (borrowed_effect, None)), lower)
    return lower, upper


def lower_bounds(
    attempts: Integers,
    failures: Integers,
    allowed: float,
    correlation_of: Callable[[Booleans], tuple[float, int | None]],
) -> Iterator[float]:
    """Lower bounds of a share above the allowed one, each for a window better than the true one.

    More failures must not make a violation less certain. But an outage makes operations look
    strongly correlated. It would then cast doubt on a violation that the rest of the window shows
    for certain. Single failures in good seconds have the same effect. Therefore the worst seconds
    count as no worse than the next worst, and good seconds count as without failures. The true
    window was worse, so each result is a lower bound of its share.

    `correlation_of`: the least design effect and the period (`Share.of`) of the marked seconds.
    """
    share = float(failures.sum()) / max(1.0, float(attempts.sum()))
    only_in_bad = np.where(failures > share * attempts, failures, 0)
    everything = np.ones(len(attempts), np.bool_)
    assumed = chain(
        ((only_in_bad, everything),),
        without_events(failures, attempts),
        without_worst(only_in_bad, attempts),
    )
    total = float(attempts.sum())
    for failed, is_kept in assumed:
        # A bound that assumes independent operations must show it first. Near the limit, this check
        # avoids nearly all estimates.
        if bounds(float(failed.sum()), total)[0] > allowed:
            share_of_it = Share.of(attempts, failed, *correlation_of(is_kept))
            lower = bounds(share_of_it.value * share_of_it.size, share_of_it.size)[0]
            if lower > allowed:
                yield lower
