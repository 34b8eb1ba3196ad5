"""Bad spells: ten-second windows in which a criterion was surely violated.

The whole window may satisfy the criterion nevertheless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion
from loadkit.judging.finding import Finding
from loadkit.judging.statistics import CONFIDENCE, is_surely_above, is_surely_below, without_worst
from loadkit.verdict import Status

__all__ = [
    "SPELL",
    "Spells",
    "confidence_of_each",
    "dispersion",
    "in_spells",
    "is_over_beside",
    "longest_stretch",
    "spell_starts",
    "surely_over",
    "surely_under",
    "thin",
    "weigh",
    "within",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

SPELL = 10
"""The length of a spell window in seconds."""
_LASTING = 3
"""This number of bad windows in a row is a lasting bad spell."""
_SHARE = 0.05
"""If more than this share of the windows is bad, and more than one, this is a lasting spell too."""


@dataclass(frozen=True, slots=True)
class Spells:
    """Which ten-second windows were over the limit."""

    over: Booleans
    """By window, in order of time."""
    thin: Booleans
    """The windows that count as over because the traffic nearly stopped."""
    stretch: int = 0
    """The longest stretch of seconds in which most operations were over the limit."""
    seconds: int = 0
    """The length of all windows together, if the stretch is known."""

    @classmethod
    def of(
        cls, over: Booleans, lulls: Booleans | None = None, stretch: int = 0, seconds: int = 0
    ) -> "Spells":
        """Combine windows over the limit by their operations with lulls, which count as over."""
        thin = np.zeros(len(over), np.bool_) if lulls is None else lulls
        return cls(over | thin, thin, stretch, seconds)

    @property
    def number(self) -> int:
        """The number of windows over the limit."""
        return int(self.over.sum())

    @property
    def longest(self) -> int:
        """The largest number of windows over the limit in a row."""
        return _longest_run(self.over)

    @property
    def is_lasting(self) -> bool:
        """Is there a lasting bad spell?"""
        return self._are_windows_lasting or self._is_outage

    @property
    def _are_windows_lasting(self) -> bool:
        """Are too many windows over the limit, together or in a row?"""
        return self.longest >= _LASTING or self.number > max(1.0, _SHARE * len(self.over))

    @property
    def _is_outage(self) -> bool:
        """Is the stretch longer than a window, and longer than the allowed share of the time?

        It may extend over two windows, of which only one is surely over the limit.
        """
        return self.stretch > max(SPELL, _SHARE * self.seconds)

    def __str__(self) -> str:
        """A description: "4 of 30 ten-second windows broke the limit, 3 in a row"."""
        in_a_row = f", {self.longest} in a row" if self.longest > 1 else ""
        lulls = (
            f", {int(self.thin.sum())} of them with under half the usual traffic" if self.thin.any() else ""
        )
        is_reason = self._is_outage and not self._are_windows_lasting
        outage = f", and most operations broke it for {self.stretch} s in a row" if is_reason else ""
        return (
            f"{self.number} of {len(self.over)} ten-second windows broke the limit{in_a_row}{lulls}{outage}"
        )


def is_over_beside(details: Mapping[str, Any], marked: Booleans) -> bool:
    """Is a window over the limit that has none of the marked seconds?

    `details`: those of a finding; `marked`: by second of its window, shape (seconds,). Without the
    marked seconds, the remaining seconds would form other windows, in which it may not show.
    """
    over = (details.get("spells") or {}).get("over", [])
    is_clear = in_spells(marked.astype(np.int64)) == 0
    return any(is_clear[number] for number in over if number < len(is_clear))


def spell_starts(seconds: int) -> Integers:
    """The starts of the spell windows; the last one includes the remainder (up to 19 seconds)."""
    return np.arange(max(1, seconds // SPELL)) * SPELL


def in_spells(per_second: npt.NDArray[np.int64] | Floats) -> Floats:
    """Sums by spell window of values by second."""
    return np.add.reduceat(per_second.astype(np.float64), spell_starts(len(per_second)))


def confidence_of_each(windows: int) -> float:
    """The confidence of each bound at which all bounds together have 95 % (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / windows


def within(hits: Integers | Floats, sizes: Integers) -> float:
    """The design effect within ten seconds; bursts increase it, and a lasting change does not.

    `sizes` (seconds,): operations by second; `hits` (seconds,): those for which a condition is
    true. It is the design effect of one-second clusters about each spell window's own share, at
    least 1.
    """
    starts = spell_starts(len(sizes))
    lengths = np.diff(np.append(starts, len(sizes)))
    total, bad = in_spells(sizes), in_spells(hits)
    share = np.divide(bad, total, out=np.zeros(len(total)), where=total > 0)
    spread = (hits - np.repeat(share, lengths) * sizes) ** 2
    expected = float((share * (1 - share) * total).sum())
    if expected == 0:
        return 1.0
    observed = float((np.add.reduceat(spread, starts) * lengths / np.maximum(lengths - 1, 1)).sum())
    return max(1.0, observed / expected)


def surely_over(criterion: Criterion, hits: Integers, sizes: Integers, allowed: float) -> Booleans:
    """Mark the spell windows with surely more than the `allowed` share over the limit; (windows,).

    `sizes` (seconds,): operations by second; `hits` (seconds,): those over the limit.

    "Never" judges each window as it was, whatever the cause. Therefore it allows only for the
    randomness of counts, with a design effect of 1. "Stays" looks for lasting spells, and a burst
    is not one (`within`). A window is also surely over the limit if it is so in a variant of
    `without_worst`: more failures in other seconds must not cast doubt on it.
    """
    if criterion.comparison.holds_always:
        return _windows_over(hits, sizes, allowed, 1.0)
    over = _windows_over(hits, sizes, allowed, within(hits, sizes))
    for capped, _ in without_worst(hits, sizes):
        over |= _windows_over(capped, sizes, allowed, within(capped, sizes))
    return over


def surely_under(criterion: Criterion, hits: Integers, sizes: Integers, allowed: float) -> Booleans:
    """For a lower limit: mark the windows with surely less than the `allowed` share over it."""
    effect = 1.0 if criterion.comparison.holds_always else within(hits, sizes)
    in_windows, windows, each = _independent(hits, sizes, effect)
    return is_surely_below(in_windows, windows, allowed, each)


def _windows_over(hits: Integers | Floats, sizes: Integers, allowed: float, effect: float) -> Booleans:
    in_windows, windows, each = _independent(hits, sizes, effect)
    return is_surely_above(in_windows, windows, allowed, each)


def _independent(hits: Integers | Floats, sizes: Integers, effect: float) -> tuple[Floats, Floats, float]:
    """Hits and sizes of windows in independent operations, and the confidence of each window."""
    windows = in_spells(sizes) / effect
    return in_spells(hits) / effect, windows, confidence_of_each(len(windows))


def longest_stretch(hits: Integers, sizes: Integers, allowed: float) -> int:
    """The longest stretch of seconds in which surely most operations were over a limit.

    `sizes` (seconds,): operations by second; `hits` (seconds,): those over the limit; `allowed`:
    the share that may be over it.
    """
    share, each = max(allowed, 0.5), confidence_of_each(len(sizes))
    is_bad = is_surely_above(hits.astype(np.float64), sizes.astype(np.float64), share, each)
    return _longest_run(is_bad)


def _longest_run(flags: Booleans) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int64), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def dispersion(counts: Integers) -> float:
    """Variance of counts by second about spell windows' means ÷ Poisson variance; at least 1."""
    starts = spell_starts(len(counts))
    lengths = np.diff(np.append(starts, len(counts)))
    means = in_spells(counts) / lengths
    if not means.any():
        return 1.0
    spread = np.add.reduceat((counts - np.repeat(means, lengths)) ** 2, starts)
    return max(1.0, float((spread * lengths / np.maximum(lengths - 1, 1)).sum() / counts.sum()))


def thin(arrivals: Integers) -> Booleans:
    """Mark the spell windows with under half the median traffic, unless chance explains it.

    `arrivals` (seconds,): operations by second.
    """
    from scipy import special

    sizes, effect = in_spells(arrivals), dispersion(arrivals)
    usual = float(np.median(sizes))
    if usual == 0:
        return np.zeros(len(sizes), np.bool_)
    # The probability that a Poisson count of the usual size is as small as this one or smaller.
    chance = special.gammaincc(np.floor(sizes / effect) + 1, usual / effect)
    return np.asarray((sizes < usual / 2) & (chance < 1 - confidence_of_each(len(sizes))))


def weigh(criterion: Criterion, finding: Finding, spells: Spells) -> Finding:
    """Apply bad spells to the window's finding: "stays" forbids a lasting one, "never" any one."""
    shown = {"windows": len(spells.over), "over": np.flatnonzero(spells.over).tolist()}
    finding = replace(finding, details={**finding.details, "spells": shown})
    if not spells.number and not spells.is_lasting:
        return finding
    violated = spells.is_lasting if criterion.comparison.forbids_spells else criterion.comparison.holds_always
    if not violated:
        return finding.warned(str(spells))
    if finding.status is Status.FAIL:
        return finding.warned(str(spells))
    return finding.become(Status.FAIL, f"{spells}; over the whole window, {finding.value_in_words}")
