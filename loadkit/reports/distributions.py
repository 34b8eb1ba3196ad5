"""The requested distributions beside those that the users of a run drew: a table and a chart."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.recording.distributions import Distribution, TenantSizes, distributions, tenant_sizes
from loadkit.recording.run import Run
from loadkit.reports.drawing import STROKES, drawn, figure_of, head
from loadkit.units import format_ratio, format_seconds

__all__ = ["chart", "json_of", "lines", "tenants_json_of"]

_MOST = 6
"""The maximum number of panels of the chart."""


def lines(run: Run) -> Iterator[str]:
    """A table as text: each distribution as it was requested and as it was drawn."""
    found = distributions(run)
    heads = ("what", "requested", "actual", "draws", "difference", "probability")
    rows = [
        (each.what, each.asked, each.drawn, f"{each.number:,}", format_ratio(each.distance), _chance(each))
        for each in found
    ]
    widths = [max(len(row[place]) for row in [heads, *rows]) for place in range(len(heads))]
    for row in (heads, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    sizes = tenant_sizes(run)
    if sizes is not None:
        yield ""
        yield sizes.words
    yield ""
    yield (
        "The difference is the largest one between the two cumulative shares. The probability is that correct draws "
        "differ at least as much in location, spread or shape; below 0.1 % the run has a warning."
    )


def _chance(each: Distribution) -> str:
    return "below 0.1 %: does not match the request" if each.differs else format_ratio(each.chance)


def json_of(run: Run) -> list[dict[str, object]]:
    """The distributions as JSON values; ratios 0-1."""
    return [
        {
            "what": each.what,
            "asked": each.asked,
            "drawn": each.drawn,
            "draws": each.number,
            "distance": each.distance,
            "allowed": each.allowed,
            "chance": each.chance,
            "differs": each.differs,
        }
        for each in distributions(run)
    ]


def tenants_json_of(run: Run) -> dict[str, object] | None:
    """The sizes of tenants as JSON values, with shares as ratios 0-1; None if there are no tenants.

    "asked" has the same figures of the accounts; None if they are unknown.
    """
    sizes = tenant_sizes(run)
    if sizes is None:
        return None
    asked = sizes.asked
    return {
        "shares": dict(sizes.shares),
        "exponent": sizes.exponent,
        "asked": None if asked is None else {"shares": dict(asked.shares), "exponent": asked.exponent},
    }


def chart(run: Run) -> bytes:
    """A panel for each distribution, and one for the sizes of tenants."""
    found, sizes = distributions(run), tenant_sizes(run)
    shown = found[: _MOST - (sizes is not None)]
    panels = len(shown) + (sizes is not None)
    rows = max(1, math.ceil(panels / 2))
    figure = figure_of(0.85 * rows)
    figure.set_layout_engine("constrained")
    head(figure, "Requested (dashed) and actual distributions")
    all_axes = np.ravel(figure.subplots(rows, 2, squeeze=False))
    for axes, each in zip(all_axes, shown, strict=False):
        (_ranks if each.is_rank else _times)(axes, each)
    if sizes is not None:
        _tenants(all_axes[len(shown)], sizes)
    for axes in all_axes[panels:]:
        axes.set_visible(False)
    return drawn(figure)


def _times(axes: Any, each: Distribution) -> None:
    """The share of the draws up to each time."""
    from matplotlib.ticker import FuncFormatter

    _title(axes, f"{each.what} (n = {each.number:,})")
    axes.set_xscale("log")
    _lines(axes, each.values, 100 * each.shares, 100 * each.expected)
    axes.set_xlim(each.values[np.searchsorted(each.shares, 0.001)], each.values[-1])
    axes.set_ylim(0, 102)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_seconds(value)))
    axes.set_xlabel("up to this time")
    axes.set_ylabel("% of the draws", fontsize=8)


def _ranks(axes: Any, each: Distribution) -> None:
    """The share of each rank."""
    _title(axes, f"{each.what} (n = {each.number:,})")
    asked, chosen = (np.diff(shares, prepend=0.0) for shares in (each.expected, each.shares))
    _lines(axes, each.values, 100 * chosen, 100 * asked)
    axes.set_xlabel("rank")
    _whole_numbers(axes)
    axes.set_ylabel("% of the choices", fontsize=8)
    axes.set_ylim(bottom=0)


def _tenants(axes: Any, sizes: TenantSizes) -> None:
    """The share of each tenant in the operations, and in the accounts.

    If the share in the accounts is unknown, the chart shows the Zipf's law that fits best.
    """
    shares = np.array([share for _, share in sizes.shares])
    ranks = np.arange(1.0, len(shares) + 1)
    if sizes.asked is None:
        compared = f"Zipf's law with exponent {sizes.exponent:.2f}"
        expected = ranks**-sizes.exponent / (ranks**-sizes.exponent).sum()
    else:
        compared, of_accounts = "their shares of the accounts", dict(sizes.asked.shares)
        expected = np.array([of_accounts.get(name, 0.0) for name, _ in sizes.shares])
    _title(axes, f"sizes of {len(shares)} tenants, compared with {compared}")
    _lines(axes, ranks, 100 * shares, 100 * expected)
    axes.set_xlabel("rank of the tenant")
    _whole_numbers(axes)
    axes.set_ylabel("% of the operations", fontsize=8)
    axes.set_ylim(bottom=0)


def _whole_numbers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))


def _lines(axes: Any, across: npt.NDArray[np.float64], *lines: npt.NDArray[np.float64]) -> None:
    for values, (colour, dash, width) in zip(lines, STROKES, strict=False):
        axes.plot(across, values, color=colour, linestyle=dash, linewidth=width)


def _title(axes: Any, text: str) -> None:
    axes.set_title(text, fontsize=9, loc="left")
