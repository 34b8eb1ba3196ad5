"""The statistics of verdicts: effective sizes of correlated samples, and confidence bounds.

Operations of one run are not independent: a slow second slows all its operations. Therefore a run's
steady window is cut into batches of equal length. The variance *between* batches gives the
effective number of independent operations (batch means: Law, "Simulation Modeling and Analysis",
ch. 9; design effect: Kish, "Survey Sampling", § 8.2). Scores of all operations use seconds instead
of batches, with the autocorrelation of the seconds (initial sequence: Geyer, "Practical Markov
Chain Monte Carlo", Statistical Science 7, 1992, § 3.3). The bounds of a share are those of Clopper
and Pearson (1934) at the effective number.

All functions are pure: they take arrays and return numbers. Every bound is one-sided at
`CONFIDENCE`.

The functions that need scipy import it themselves. The import takes longer than computing all
verdicts, and a run without a criterion does not need it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = [
    "CONFIDENCE",
    "FARTHEST",
    "Mean",
    "Trend",
    "autocovariance",
    "batch_edges",
    "bounds",
    "design_effect",
    "effective_size",
    "fewest_to_show",
    "grossly_above",
    "growth_to_decide",
    "is_surely_above",
    "is_surely_below",
    "long_run_variance",
    "mean_of_batches",
    "mean_of_seconds",
    "normal_quantile",
    "persistence",
    "persistences",
    "recurrence",
    "serial_effect",
    "student_quantile",
    "theil_sen",
    "without_events",
    "without_worst",
]

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

_BATCHES = 30
"""Batches in a window; fewer if the window has fewer seconds."""
CONFIDENCE = 0.95
"""The confidence of each single bound."""
_MOST_PERSISTENCE = 0.95
"""The upper limit of a lag-1 correlation."""
_FEW_BATCHES = 6.0
"""The relative increase of a share's variance is at most this number, divided by the effective
number of independent batches. Found by simulation."""
_CYCLES = 5
"""The fewest periods of a recurrence that a window must contain."""
_RECURS, _RECURS_AGAIN = 0.3, 0.2
"""The least autocorrelation at the period of a recurrence, and at twice that period."""
_RESEMBLES = 2.0
"""The sizes of successive periods are correlated if their lag-1 correlation exceeds this many
standard deviations of that of independent values. Then they grow and fade, and nothing recurs."""
_UNEQUAL = 0.4
"""The largest standard deviation of the sizes of periods that recur, as a share of their mean. By
simulation, it is at most 0.35 for recurring stalls, even if they recur unevenly. It is at least 0.5
for random oscillations."""
_STRETCHES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""The lengths of stretches that can be an event, as shares of a window."""
FARTHEST = math.log(1e6)
"""The logarithm of the longest time (seconds) that a bound can have."""
_GROSS = 8.0
"""The odds ratio from which a share is grossly above the allowed one."""


def normal_quantile(probability: float) -> float:
    """The standard normal distribution's quantile."""
    from scipy import special

    return float(special.ndtri(probability))


def student_quantile(probability: float, degrees: float) -> float:
    """Student's t distribution's quantile."""
    from scipy import special

    return float(special.stdtrit(degrees, probability))


def batch_edges(seconds: int, period: int = 0) -> Integers:
    """The edges of a window's batches, in whole seconds; shape (b + 1,), b ≤ `seconds`.

    The batches' lengths differ by at most one second. If something recurs every `period` seconds
    (`recurrence`), each batch is a whole number of periods long, and the last one takes the rest.
    Otherwise each batch would contain another part of the period, and the batches would differ
    although the periods do not.
    """
    if not period:
        return np.linspace(0, seconds, min(_BATCHES, seconds) + 1).astype(np.int64)
    length = period * math.ceil(seconds // period / _BATCHES)
    return np.append(np.arange(0, seconds, length), seconds).astype(np.int64)


def recurrence(values: Floats) -> int:
    """The period (seconds) at which something recurs, such as garbage collection; 0 if none.

    `values` (s,): the quantity by second. Its autocorrelation falls to zero and rises again to
    `_RECURS` at the period, and to `_RECURS_AGAIN` at twice the period. At least `_CYCLES` periods
    must be in the window. The smallest of several equally good periods is returned. An oscillation
    whose periods differ in size (`_UNEQUAL`), or that grows or fades over several of them
    (`_RESEMBLES`), does not recur. By simulation, processes without a period (queues, wandering
    levels, random bursts and spells) show one in at most 4 % of their runs.
    """
    longest = len(values) // _CYCLES
    products = autocovariance(values - values.mean())
    if longest < 1 or products[0] <= 1e-12 * float(values @ values):
        return 0
    lags = np.arange(2 * longest + 1)
    correlation = products[lags] / products[0] * len(values) / (len(values) - lags)
    is_low = correlation[: longest + 1] <= 0
    if not is_low.any():
        return 0
    possible = np.arange(int(np.argmax(is_low)), longest + 1)
    recurs = (correlation[possible] >= _RECURS) & (correlation[2 * possible] >= _RECURS_AGAIN)
    neighbours = np.maximum(correlation[possible - 1], correlation[possible + 1])
    possible = possible[recurs & (correlation[possible] >= neighbours)]
    if not len(possible):
        return 0
    period = int(possible[np.argmax(correlation[possible] >= 0.9 * correlation[possible].max())])
    return 0 if _is_unequal(values, period) else period


def _is_unequal(values: Floats, period: int) -> bool:
    """Do the periods of a quantity, by second (s,), differ in size, or does their size wander?

    The mean of a period does not show this, but its worst seconds do. Therefore the size of a
    period is its sum of squared deviations.
    """
    periods = len(values) // period
    deviations = values[: periods * period] - values.mean()
    sizes = (deviations**2).reshape(periods, period).sum(axis=1)
    by_chance = _RESEMBLES / math.sqrt(periods)
    wanders = persistence(sizes) > (1 + by_chance) / (1 - by_chance)
    return wanders or float(sizes.std()) > _UNEQUAL * float(sizes.mean())


def autocovariance(values: Floats) -> Floats:
    """Σ v_i·v_(i+k) of values (s,) for each lag k < s; shape (s,)."""
    length = 1 << (2 * len(values) - 1).bit_length()
    spectrum = np.fft.rfft(values, length)
    return np.asarray(np.fft.irfft(spectrum * spectrum.conj(), length)[: len(values)])


def design_effect(hits: Floats, sizes: Floats) -> Floats:
    """The number of correlated operations that equal one independent one, for each indicator.

    `hits` (b, m): how often each indicator was true in each batch; `sizes` (b,): operations per
    batch. Returns (m,), each at least 1. The share is a ratio estimate (Cochran, "Sampling
    Techniques", § 6.3), so batches may differ in size::

        p = Σk/Σn    V = b/(b−1) · Σ(k_j − p·n_j)² / (Σn)²    deff = V / (p(1−p)/Σn)
    """
    batches, total = len(sizes), sizes.sum()
    share = hits.sum(axis=0) / total
    spread = hits - share * sizes[:, np.newaxis]
    variance = batches / (batches - 1) * np.einsum("ij,ij->j", spread, spread) / total**2
    independent = share * (1 - share) / total
    effect = np.divide(variance, independent, out=np.ones_like(share), where=independent > 0)
    return np.asarray(np.maximum(effect, 1.0), np.float64)


def persistences(values: Floats) -> Floats:
    """(1+r)/(1−r), with r the lag-1 correlation of batch values: their design effect.

    `values` (b, m), one column for each quantity; returns (m,). r is clipped to 0 … 0.95.
    """
    deviations = values - values.mean(axis=0)
    power = np.einsum("ij,ij->j", deviations, deviations)
    product = np.einsum("ij,ij->j", deviations[:-1], deviations[1:])
    # If all values are equal, the remaining rounding errors are not a correlation.
    varies = power > 1e-24 * np.einsum("ij,ij->j", values, values)
    correlation = np.divide(product, power, out=np.zeros_like(power), where=varies)
    correlation = np.clip(correlation, 0.0, _MOST_PERSISTENCE)
    return np.asarray((1 + correlation) / (1 - correlation))


def persistence(values: Floats) -> float:
    """`persistences` of one quantity, shape (b,). NaN marks an empty batch, which is ignored."""
    present = values[np.isfinite(values)]
    return float(persistences(present[:, np.newaxis])[0]) if len(present) > 2 else 1.0


def serial_effect(sums: Floats, sizes: Floats, variance: float) -> float:
    """The design effect of a score of operations, from its autocorrelation; at least 1.

    `sums`, `sizes` (s,): the scores' sum and the number of operations in each second; `variance`:
    the variance of one operation's score.
    """
    independent = variance * float(sizes.sum())
    if independent <= 0:
        return 1.0
    return max(1.0, long_run_variance(sums - sums.sum() / sizes.sum() * sizes) / independent)


def long_run_variance(values: Floats) -> float:
    """The variance of the sum of correlated values (s,) whose mean is 0.

    γ is their autocovariance. The long-run variance is γ₀ + 2·Σγ. The sum of the pairs γ₀+γ₁, γ₂+γ₃
    … ends at the first pair that is not positive. Each pair counts as at most as large as the one
    before. The result is at least γ₀.
    """
    products = np.append(autocovariance(values), 0.0)
    pairs = products[: 2 * (len(values) // 6 + 1)].reshape(-1, 2).sum(axis=1)
    is_positive = np.logical_and.accumulate(pairs > 0)
    long_run = 2 * float(np.minimum.accumulate(pairs)[is_positive].sum()) - float(products[0])
    return max(long_run, float(products[0]))


def effective_size(size: float, effect: Floats, batches: float, persistence: float | None = None) -> Floats:
    """The effective number of independent operations of `size` correlated ones.

    `effect` (m,): the design effects. Each of them is itself an estimate from b batches. The factor
    (z/t)² allows for its error. `persistence`: that of the batches. Correlated batches are worth
    fewer independent ones, and a window often shows too few of the worst ones (`_FEW_BATCHES`). The
    latter does not affect independent operations, whose effect is 1.
    """
    worth = batches if persistence is None else max(batches / persistence, 2.0)
    few = 0.0 if persistence is None else _FEW_BATCHES * (1 - 1 / effect) / worth
    ratio = normal_quantile(CONFIDENCE) / student_quantile(CONFIDENCE, max(worth - 1, 1.0))
    return np.asarray(size / effect * ratio**2 / (1 + few))


def bounds(hits: float, size: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The one-sided Clopper–Pearson bounds of a share; `hits` and `size` need not be whole."""
    from scipy import special

    lower = 0.0 if hits <= 0 else float(special.betaincinv(hits, size - hits + 1, 1 - confidence))
    upper = 1.0 if hits >= size else float(special.betaincinv(hits + 1, size - hits, confidence))
    return lower, upper


def is_surely_below(
    hits: Floats, size: Floats, share: float, confidence: float = CONFIDENCE
) -> npt.NDArray[np.bool_]:
    """Is the upper bound of each `hits` of `size` below `share`? Shapes (m,)."""
    from scipy import special

    rest = np.maximum(size - hits, 0)
    return np.asarray((rest > 0) & (special.betainc(hits + 1, np.maximum(rest, 1e-9), share) > confidence))


def is_surely_above(
    hits: Floats, size: Floats, share: float, confidence: float = CONFIDENCE
) -> npt.NDArray[np.bool_]:
    """Is the lower bound of each `hits` of `size` above `share`? Shapes (m,)."""
    from scipy import special

    rest = np.maximum(size - hits, 0)
    return np.asarray(
        (hits > 0) & (special.betainc(np.maximum(hits, 1e-9), rest + 1, share) < 1 - confidence)
    )


def grossly_above(hits: float, size: float) -> float:
    """A lower bound of the true share, for a single lasting event: the usual bound's odds ÷ 8.

    It is for operations that are independent except for one lasting event. A single event gives no
    estimate of a correlation. But if a share's odds are surely eight times too large, the criterion
    is not satisfied. `hits` and `size` are counts divided by the design effect of bursts
    (`spells.within`).
    """
    lower, _ = bounds(hits, size)
    odds = lower / (1 - lower) / _GROSS if lower < 1 else math.inf
    return odds / (1 + odds) if math.isfinite(odds) else 1.0


def fewest_to_show(share: float) -> int:
    """The fewest operations with which a run can show, as a fact, that a share of them succeeds.

    With fewer operations, a single failure would be more than the share allows. For a share of 1,
    one operation is enough.
    """
    return math.ceil(1 / max(1 - share, 1e-9) - 1e-6) if share < 1 else 1


def growth_to_decide(hits: float, size: float, share: float) -> float:
    """The multiple of the data that would separate `hits` of `size` from `share`; ∞ if none."""
    value = hits / size
    if value == share or not 0 < share < 1:
        return math.inf

    def is_decided(growth: float) -> bool:
        lower, upper = bounds(hits * growth, size * growth)
        return upper < share if value < share else lower > share

    most = 1e6
    if not is_decided(most):
        return math.inf
    least = 1.0
    while most / least > 1.01:
        growth = math.sqrt(least * most)
        least, most = (least, growth) if is_decided(growth) else (growth, most)
    return most


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over a window, as a ratio of sums over batches."""

    value: float
    error: float
    """The standard error of the value."""
    worth: float
    """The effective number of independent batches."""

    @property
    def half_width(self) -> float:
        """The distance from the value to either bound."""
        return self.error * student_quantile(CONFIDENCE, max(1.0, self.worth - 1))

    @property
    def lower(self) -> float:
        """The lower bound."""
        return self.value - self.half_width

    @property
    def upper(self) -> float:
        """The upper bound."""
        return self.value + self.half_width

    def growth_to_decide(self, limit: float) -> float:
        """The multiple of the time that would separate the mean from the limit; ∞ if none would."""
        return math.inf if self.value == limit else max(1.0, (self.half_width / (self.value - limit)) ** 2)


def mean_of_batches(sums: Floats, sizes: Floats) -> Mean:
    """Σsums/Σsizes over batches, both of shape (b,); its error allows for correlated batches."""
    batches, total = len(sizes), float(sizes.sum())
    value = float(sums.sum()) / total
    spread = sums - value * sizes
    variance = batches / (batches - 1) * float(spread @ spread) / total**2
    means = np.divide(sums, sizes, out=np.full(batches, np.nan), where=sizes > 0)
    effect = persistence(means)
    return Mean(value, math.sqrt(variance * effect), batches / effect)


def without_events(sums: Floats | Integers, sizes: Floats | Integers) -> Iterator[tuple[Floats, Booleans]]:
    """Variants of a window in which some seconds count as no worse than others.

    `sums`, `sizes` (s,): by second. A variant is the changed sums, and a mark for each second that
    keeps its sum. First come the variants of `without_worst`. In the others, a stretch of seconds
    (`_STRETCHES`) is at most as bad as the rest.
    """
    yield from without_worst(sums, sizes)
    seconds = len(sums)
    for part in _STRETCHES:
        length = math.ceil(part * seconds)
        for start in range(0, seconds - length + 1, max(1, length // 2)):
            is_kept = np.ones(seconds, np.bool_)
            is_kept[start : start + length] = False
            if is_kept.any():
                yield _as_the_rest(sums, sizes, is_kept), is_kept


def without_worst(sums: Floats | Integers, sizes: Floats | Integers) -> Iterator[tuple[Floats, Booleans]]:
    """Variants of a window whose worst seconds count as no worse than the next worst, or the rest.

    `sums`, `sizes` (s,): by second; the worst seconds have the largest sum ÷ size. A variant is the
    changed sums, and a mark for each second that keeps its sum. The variants change the 1, 2, 3, 5,
    8 … worst seconds, up to half of all.
    """
    ratios = np.divide(sums, sizes, out=np.zeros(len(sums)), where=sizes > 0)
    worst_first = np.argsort(-ratios, kind="stable")
    number = 1
    while number <= len(sums) // 2:
        is_kept = np.ones(len(sums), np.bool_)
        is_kept[worst_first[:number]] = False
        yield np.minimum(sums, ratios[worst_first[number]] * sizes), is_kept
        yield _as_the_rest(sums, sizes, is_kept), is_kept
        number = math.ceil(number * 1.5) if number > 1 else 2


def _as_the_rest(sums: Floats | Integers, sizes: Floats | Integers, is_kept: Booleans) -> Floats:
    """The sums, where those of the other seconds are at most at the mean ratio of the kept ones."""
    of_the_rest = float(sums[is_kept].sum()) / max(1e-9, float(sizes[is_kept].sum()))
    return np.where(is_kept, sums, np.minimum(sums, of_the_rest * sizes))


def mean_of_seconds(sums: Floats, sizes: Floats) -> Mean:
    """Σsums/Σsizes over the seconds of a window, both of shape (s,).

    The error is the larger of two estimates: from batches, and from the autocorrelation of the
    seconds (`long_run_variance`). If the sums have a period, batches of whole periods give the
    error.
    """
    spread = sums - sums.sum() / sizes.sum() * sizes
    period = recurrence(spread)
    edges = batch_edges(len(sums), period)[:-1]
    mean = mean_of_batches(np.add.reduceat(sums, edges), np.add.reduceat(sizes, edges))
    if period:
        return mean
    return replace(mean, error=max(mean.error, math.sqrt(long_run_variance(spread)) / float(sizes.sum())))


@dataclass(frozen=True, slots=True)
class Trend:
    """A straight line through values in order."""

    slope: float
    """The change of the line per step."""
    lower: float
    upper: float
    """Bounds of the slope, two-sided at 95 %."""
    steps: int
    """The number of steps from the first value to the last."""
    median: float
    """The median of the values."""

    @property
    def change(self) -> float:
        """The change along the line from the first value to the last."""
        return self.slope * self.steps

    @property
    def is_drift(self) -> bool:
        """Is the slope significant, and the change larger than a tenth of the median?"""
        return (self.lower > 0 or self.upper < 0) and abs(self.change) > 0.1 * abs(self.median)


def theil_sen(values: Floats) -> Trend:
    """The median slope of all pairs of values (n,), n ≥ 3, with Sen's interval (JASA 63, 1968).

    Correlation between successive values would make the interval too narrow. Therefore the variance
    of Kendall's score is multiplied by their persistence about the line (as in Hamed and Rao,
    J. Hydrology 204, 1998).
    """
    count = len(values)
    first, second = np.triu_indices(count, 1)
    slopes = np.sort((values[second] - values[first]) / (second - first))
    slope = float(np.median(slopes))
    widening = persistence(values - slope * np.arange(count))
    score = normal_quantile(0.975) * math.sqrt(widening * count * (count - 1) * (2 * count + 5) / 18)
    low = round((len(slopes) - score) / 2)
    high = round((len(slopes) + score) / 2)
    inside = low >= 0 and high < len(slopes)
    lower, upper = (float(slopes[low]), float(slopes[high])) if inside else (-math.inf, math.inf)
    return Trend(slope, lower, upper, count - 1, float(np.median(values)))
