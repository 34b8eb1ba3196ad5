"""The distributions from which users draw random values, and the values that a run drew.

If a think time is drawn wrongly or a tenant is left out, the load differs from the stated load. No
other figure of a run shows this.

Three tests compare the draws with the stated distribution. The score of a value is the standard
normal quantile of its share, which is the share of the stated distribution up to this value. Scores
of correct draws have a mean of 0 (location, a normal test) and a variance of 1 (spread, a
chi-square test). The third test uses the largest difference between shares (shape: Kolmogorov and
Smirnov, with the bound of Dvoretzky, Kiefer and Wolfowitz; Massart 1990). The score of a rank is
its logarithm, the sufficient statistic of Zipf's exponent.

Users draw until their time is over, so the number of draws depends on their values. This does not
change the means and variances of the sums (Wald's equations).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Scope, ScopeKind
from loadkit.recording.draws import Popularity, sessions_of, think_times_of
from loadkit.recording.histogram import lower_edges, middles
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, tenant_series
from loadkit.recording.timing import OPERATION
from loadkit.recording.traffic import series_of
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.workload.plan import Population
from loadkit.workload.workload import Lognormal, Think

__all__ = [
    "TENANT_ACCOUNTS",
    "Distribution",
    "TenantSizes",
    "distribution_warnings",
    "distributions",
    "is_realistic",
    "tenant_sizes",
]

TENANT_ACCOUNTS = "accounts of tenants"
"""The fact of a run that gives the number of environment accounts of each tenant."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BY_CHANCE = 0.001
"""The false alarm rate: how often correct draws of one distribution may be reported as
different."""
_TESTS = 3
"""Bonferroni's factor for three tests: location, spread and shape."""
_FEWEST_RANKS = 100
"""The fewest draws of ranks for which the mean of their logarithms is normal enough."""
_WIDEST = 0.01
"""The draws get no scores if one bucket holds at least this share of the distribution."""
_NEAREST = 1e-12
"""Shares are limited to this distance from 0 and 1 before scoring: 7 standard deviations."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution: what was requested, and what was drawn."""

    what: str
    """Its name in sentences: "think times of the users"."""
    asked: str
    """The requested distribution in words: "lognormal, median 600 ms, p95 2 s"."""
    drawn: str
    """The same figures of the draws: "median 602 ms, p95 1.98 s"."""
    values: Floats
    """The drawn values, ascending: seconds, or ranks from 1; shape (n,)."""
    shares: Floats
    """The share of the draws up to each value; shape (n,)."""
    expected: Floats
    """The share of the stated distribution up to each value; shape (n,)."""
    number: int
    """Number of draws."""
    chance: float
    """The p-value: how often correct draws differ at least as much; a ratio 0-1. It is the smallest
    p-value of the tests, times Bonferroni's factor."""
    is_rank: bool = False

    @property
    def distance(self) -> float:
        """The largest difference between the shares (Kolmogorov and Smirnov), a ratio 0-1."""
        return float(np.abs(self.shares - self.expected).max())

    @property
    def allowed(self) -> float:
        """The distance that correct draws exceed at most once in a thousand times.

        Sources: Dvoretzky, Kiefer, Wolfowitz; Massart.
        """
        return math.sqrt(math.log(2 / _BY_CHANCE) / (2 * self.number))

    @property
    def differs(self) -> bool:
        """Do the draws differ from the requested distribution?"""
        return self.chance < _BY_CHANCE


@dataclass(frozen=True, slots=True)
class TenantSizes:
    """How the operations of a run are spread over tenants."""

    shares: tuple[tuple[str, float], ...]
    """Each tenant's share of the operations, a ratio 0-1, the largest first."""
    exponent: float
    """Zipf's exponent that fits best; 0 if all tenants have the same size."""
    asked: "TenantSizes | None" = None
    """The requested sizes: the same figures of all accounts of the environment. None if the plan
    requests other sizes, or if the accounts are not known."""

    @property
    def words(self) -> str:
        """The figures in one sentence, and the requested ones in another."""
        words = _words_of(self, "operations")
        return f"{words}. Requested: {_words_of(self.asked, 'accounts')}" if self.asked else words


def _words_of(sizes: TenantSizes, what: str) -> str:
    name, largest = sizes.shares[0]
    count = len(sizes.shares)
    most = max(1, count // 5)
    part = sum(share for _, share in sizes.shares[:most])
    return (
        f"{count} tenants; the largest, {name}, has {format_ratio(largest)} of the {what}, the largest fifth "
        f"{format_ratio(part)}; Zipf exponent {sizes.exponent:.2f}"
    )


def distribution_warnings(run: Run) -> tuple[str, ...]:
    """A warning for each distribution whose draws differ from the requested distribution."""
    return tuple(
        f"the {each.what} do not match the plan: requested {each.asked}; actual {each.drawn} "
        f"({each.number:,} draws). By chance, this happens in less than one of {1 / _BY_CHANCE:,.0f} runs"
        for each in distributions(run)
        if each.differs
    )


def is_realistic(run: Run) -> bool:
    """Does the plan state skewed times, so that the draws are of interest?"""
    return any(
        each.workload.session is not None or each.workload.think.distribution == "lognormal"
        for each in run.plan.populations
    )


def distributions(run: Run) -> list[Distribution]:
    """The think times and sessions of each population, and the popularity of each kind of item."""
    found: list[Distribution] = []
    for population in run.plan.populations:
        found += _times_of(run, population)
    by_name: dict[str, list[Popularity]] = {}
    for each in Popularity.read(run.table.series):
        by_name.setdefault(each.name, []).append(each)
    found += [made for several in by_name.values() if (made := _ranks(run, several)) is not None]
    return found


def tenant_sizes(run: Run) -> TenantSizes | None:
    """How the operations are spread over tenants; None if there are fewer than two tenants."""
    counts = {}
    for tenant in run.table.names(tenant_series("")):
        series = series_of(Scope(ScopeKind.TENANT, tenant), run, OPERATION)
        _, _, sums = run.table.totals(series, 0, math.ceil(run.plan.seconds))
        counts[tenant] = float(sums[:, 0].sum())
    # If a population has a single tenant, or groups of users with one tenant, its shares differ
    # from those of the accounts.
    is_usual = all(not each.tenant and each.group == 1 for each in run.plan.populations)
    return _sizes(counts, _sizes(run.facts.get(TENANT_ACCOUNTS, {})) if is_usual else None)


def _sizes(counts: Mapping[str, float], asked: TenantSizes | None = None) -> TenantSizes | None:
    """The sizes of tenants from their operations or accounts; None for fewer than two tenants."""
    total = sum(counts.values())
    shares = sorted(
        ((name, count / total) for name, count in counts.items() if count), key=lambda each: -each[1]
    )
    if len(shares) < 2:
        return None
    present = np.array([share for _, share in shares])
    # The fit is weighted by size. Otherwise the many small tenants, whose ranks are random, would
    # dominate it.
    slope, _ = np.polyfit(np.log(np.arange(1, len(present) + 1)), np.log(present), 1, w=np.sqrt(present))
    return TenantSizes(tuple(shares), max(0.0, -float(slope)), asked)


def _times_of(run: Run, population: Population) -> Iterator[Distribution]:
    """The think times and the sessions of a population, if it drew any."""
    workload, name = population.workload, population.name
    think = workload.think
    if workload.session is not None:
        made = _times(
            run, sessions_of(name), f"sessions of the {name}", workload.session, _lognormal(workload.session)
        )
        if made is not None:
            yield made
    if (think.mean and think.low < think.high) or think.distribution == "exponential":
        asked, share_up_to = _of_think(think)
        made = _times(run, think_times_of(name), f"think times of the {name}", asked, share_up_to)
        if made is not None:
            yield made


def _of_think(think: Think) -> tuple["Lognormal | str", Callable[[Floats], Floats]]:
    if think.distribution == "lognormal":
        return think.lognormal, _lognormal(think.lognormal)
    if think.distribution == "exponential":
        median, p95 = (-think.mean * math.log1p(-share) for share in (0.5, 0.95))
        asked = f"exponential, mean {format_seconds(think.mean)}, {_in_words(median, p95)}"
        return asked, lambda x: -np.expm1(-x / think.mean)
    median, p95 = (think.low + (think.high - think.low) * share for share in (0.5, 0.95))
    asked = f"uniform, {format_seconds(think.low)} to {format_seconds(think.high)}, {_in_words(median, p95)}"
    return asked, lambda x: np.clip((x - think.low) / (think.high - think.low), 0.0, 1.0)


def _lognormal(spread: Lognormal) -> Callable[[Floats], Floats]:
    from scipy import special

    if not spread.sigma:
        return lambda x: (x >= spread.median).astype(np.float64)
    return lambda x: np.asarray(special.ndtr(np.log(x / spread.median) / spread.sigma))


def _times(
    run: Run, series: str, what: str, asked: Lognormal | str, share_up_to: Callable[[Floats], Floats]
) -> Distribution | None:
    bucket, count = _counted(run, series)
    if not len(bucket):
        return None
    # At the edges of the buckets the shares are exact.
    number = int(count.sum())
    values, shares = lower_edges(bucket + 1), np.cumsum(count) / number
    expected = share_up_to(values)
    median, p95 = (float(values[np.searchsorted(shares, share)]) for share in (0.5, 0.95))
    if isinstance(asked, Lognormal):
        asked = f"lognormal, {_in_words(asked.median, asked.p95)}"
    mass = expected - share_up_to(lower_edges(bucket))
    chance = _of_shape(shares - expected, number)
    if mass.max() < _WIDEST:
        # The share in the middle of a bucket represents all draws in it.
        chance = min(chance, _of_scores(expected - mass / 2, count))
    if mass.min() <= 0.0:
        chance = 0.0  # a draw has a value that the distribution cannot have
    return Distribution(
        what, asked, _in_words(median, p95), values, shares, expected, number, min(1.0, _TESTS * chance)
    )


def _of_scores(shares: Floats, count: Integers) -> float:
    """The p-value of the mean or of the variance of the draws' scores, whichever is smaller."""
    from scipy import special

    number = int(count.sum())
    scores = special.ndtri(np.clip(shares, _NEAREST, 1 - _NEAREST))
    mean = float((count * scores).sum()) / math.sqrt(number)
    squares = float((count * scores**2).sum())
    spread = min(special.chdtr(number, squares), special.chdtrc(number, squares))
    return float(2 * min(special.ndtr(-abs(mean)), spread))


def _of_shape(differences: Floats, number: int) -> float:
    """An upper bound of the p-value of the largest difference between shares."""
    return math.exp(min(0.0, math.log(2) - 2 * number * float(np.abs(differences).max()) ** 2))


def _in_words(median: float, p95: float) -> str:
    return f"median {format_seconds(median)}, p95 {format_seconds(p95)}"


def _ranks(run: Run, several: Sequence[Popularity]) -> Distribution | None:
    """How often the items of one name were chosen.

    Users may choose among different numbers of items.
    """
    most = max(each.count for each in several)
    chosen, expected = np.zeros(most), np.zeros(most)
    surplus = variance = 0.0
    for each in several:
        bucket, count = _counted(run, each.series)
        ranks = np.rint(middles(bucket)).astype(np.int64)
        np.add.at(chosen, ranks - 1, count)
        weights = np.arange(1.0, each.count + 1) ** -each.exponent
        weights /= weights.sum()
        expected[: each.count] += count.sum() * weights
        scores = np.log(np.arange(1.0, each.count + 1))
        mean = float((weights * scores).sum())
        surplus += float((count * (np.log(ranks) - mean)).sum())
        variance += float(count.sum() * (weights * (scores - mean) ** 2).sum())
    total = float(chosen.sum())
    if not total:
        return None
    exponents = sorted({each.exponent for each in several})
    asked, drawn = (f"the first {format_ratio(float(part[0]) / total)}" for part in (expected, chosen))
    shares, expected_shares = np.cumsum(chosen) / total, np.cumsum(expected) / total
    chance = _of_shape(shares - expected_shares, int(total))
    if total >= _FEWEST_RANKS and variance:
        chance = min(chance, math.erfc(abs(surplus) / math.sqrt(2 * variance)))
    return Distribution(
        f"popularity of the {several[0].name}",
        f"Zipf, exponent {' and '.join(map(format_number, exponents))}, {most} of them: {asked}",
        drawn,
        np.arange(1.0, most + 1),
        shares,
        expected_shares,
        int(total),
        min(1.0, _TESTS * chance),
        is_rank=True,
    )


def _counted(run: Run, series: str) -> tuple[Integers, Integers]:
    """The buckets of a series of draws, ascending, and their counts; shapes (n,)."""
    if series not in run.table.series:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    _, _, bucket, count = run.table.select(Kind.DRAWN, [series], 0, 1)
    return bucket, count
