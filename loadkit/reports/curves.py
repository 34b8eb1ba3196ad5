"""Lines of charts: the data of a run in bins, and lines with the limit of a criterion."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Unit
from loadkit.grammar import ALERTS
from loadkit.judging.readings import points_of
from loadkit.observers.observation import LIFE_SIGN, Observation, Series
from loadkit.recording.histogram import quantiles_of_each
from loadkit.recording.run import Run
from loadkit.recording.traffic import Traffic
from loadkit.reports.drawing import (
    LIMIT,
    TEXT_BOX,
    Line,
    draw_lines,
    figure_of,
    head,
    label_values,
    legend,
    over_time,
    say,
    upward,
)
from loadkit.units import format_quantity
from loadkit.verdict import Window

__all__ = [
    "Bins",
    "criterion_lines",
    "draw_deadline",
    "draw_limit",
    "mark_failing",
    "observed",
    "quantile_lines",
    "ratio",
    "reason_without_data",
]

Floats = npt.NDArray[np.float64]

_SHORT_RUN = 120
"""In a run of up to so many seconds, a point represents one second; in a longer run, five."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins of a run on the time axis; each is drawn as one point."""

    edges: npt.NDArray[np.int64]

    @classmethod
    def of(cls, seconds: int) -> "Bins":
        """Bins of one second in a short run, of five in a longer one; the last may be shorter."""
        step = 1 if seconds <= _SHORT_RUN else 5
        return cls(np.unique(np.append(np.arange(0, seconds, step), seconds)))

    @property
    def lengths(self) -> Floats:
        """The length of each bin in seconds; shape (b,)."""
        return np.diff(self.edges).astype(np.float64)

    @property
    def middles(self) -> Floats:
        """The middle of each bin, in seconds since the start of the run; shape (b,)."""
        middles: Floats = self.edges[:-1] + self.lengths / 2
        return middles

    def sums(self, per_second: npt.NDArray[Any]) -> Floats:
        """The sum in each bin of a quantity by second, which has the shape (s,); shape (b,)."""
        sums: Floats = np.add.reduceat(per_second.astype(np.float64), self.edges[:-1])
        return sums


def ratio(parts: Floats, wholes: Floats) -> Floats:
    """The ratio of each part to its whole; NaN where the whole is 0; all shapes (b,)."""
    shares: Floats = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
    return shares


def quantile_lines(traffic: Traffic, quantiles: Sequence[float]) -> list[Line]:
    """Percentiles of each bin; NaN if the percentile is among the failed operations."""
    bins = Bins.of(traffic.seconds)
    place = np.searchsorted(bins.edges, traffic.second, "right") - 1
    values = quantiles_of_each(place, traffic.bucket, traffic.count, len(bins.middles), quantiles)
    values[np.isinf(values)] = np.nan
    return [
        (f"p{quantile * 100:g}", bins.middles, row) for quantile, row in zip(quantiles, values, strict=True)
    ]


def observed(run: Run, observation: Observation) -> Iterator[Line]:
    """The readings of a measure, one line per instance, interrupted where scrapes are missing."""
    free = replace(observation, lifespans={})
    for series in observation.series:
        if series.instance == LIFE_SIGN and _is_of_alerts(observation):
            continue  # the source worked; no alert fired
        moments: list[Floats] = []
        values: list[Floats] = []
        for part in _without_gaps(series.known, observation.scrape_interval):
            points = points_of(free, part, float(part.times[0]), float(part.times[-1]))
            if len(points.times):
                moments += [points.times - run.started, np.array([np.nan])]
                # An axis cannot show an infinite value.
                values += [np.where(np.isinf(points.values), np.nan, points.values), np.array([np.nan])]
        if moments:
            yield series.instance or observation.name, np.concatenate(moments), np.concatenate(values)


def reason_without_data(observation: Observation | None) -> str:
    """The reason why a measure has no line."""
    if observation is None:
        return "no measurements"
    return observation.problem or (
        "no alert was firing" if _is_of_alerts(observation) else "no data was scraped"
    )


def _is_of_alerts(observation: Observation) -> bool:
    return observation.name.partition(":")[0] == ALERTS


def _without_gaps(series: Series, interval: float) -> Iterator[Series]:
    """The parts of a series between gaps of more than 2.5 scrape intervals."""
    starts = np.flatnonzero(np.diff(series.times) > 2.5 * interval) + 1
    for times, values in zip(np.split(series.times, starts), np.split(series.values, starts), strict=True):
        if len(times):
            yield Series(series.instance, times, values)


def criterion_lines(
    run: Run,
    window: Window | None,
    lines: Sequence[Line],
    unit: Unit,
    criterion: Criterion,
    failing: Sequence[tuple[float, float]] = (),
    *,
    deadline: float | None = None,
    nothing: str = "no measurements",
) -> bytes:
    """Draw lines with the limit of a criterion, or its deadline (seconds since the run's start).

    In the periods of `failing`, the first line is above every limit. Without lines, the chart shows
    the sentence `nothing`.
    """
    figure = figure_of()
    axes = figure.subplots()
    values = [line[np.isfinite(line)] for _, _, line in lines]
    highest = max((float(line.max()) for line in values if len(line)), default=0.0)
    lowest = min((float(line.min()) for line in values if len(line)), default=0.0)
    if not any(len(line) for line in values):
        say(axes, nothing)
    draw_lines(axes, lines)
    mark_failing(axes, lines, failing)
    limit = criterion.limit
    side = "above" if criterion.comparison.is_upper else "below"
    if deadline is None:
        draw_limit(axes, limit, f"limit {format_quantity(limit, unit)}: fails {side}")
    else:
        draw_deadline([axes], deadline)
    if unit is Unit.SECONDS and 0 < highest < limit / 10 and lowest > 0:
        # Far below the limit, a linear axis would show the line at zero.
        axes.set_yscale("log")
        axes.set_ylim(lowest * 0.7, limit * 2)
    elif unit is Unit.RATIO and min(limit, lowest) > 0.9:
        axes.set_ylim(min(limit, lowest) - 0.01, 1.002)
    else:
        upward(axes)
    label_values(axes, unit)
    legend(axes)
    head(figure, criterion.sentence)
    return over_time(figure, [axes], run, window)


def mark_failing(axes: Any, lines: Sequence[Line], failing: Sequence[tuple[float, float]]) -> None:
    """Shade the periods in which the first line is above every limit."""
    for number, (start, end) in enumerate(failing):
        text = "" if number else f"{lines[0][0]} is among failed operations"
        axes.axvspan(start, end, color=LIMIT, alpha=0.12, linewidth=0, label=text)


def draw_deadline(panels: Sequence[Any], moment: float) -> None:
    """Draw a deadline (seconds since the start of the run) as a line through all panels."""
    for axes in panels:
        axes.axvline(moment, color=LIMIT, linewidth=1.2, linestyle=(0, (6, 2)))
    panels[0].annotate(
        "deadline", (moment, 0.08), (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
        va="bottom", fontsize=8, color=LIMIT, bbox=TEXT_BOX, annotation_clip=True,
    )  # fmt: skip


def draw_limit(axes: Any, limit: float, text: str) -> None:
    """Draw a limit as a horizontal line, with a text at its right end."""
    axes.axhline(limit, color=LIMIT, linestyle=(0, (6, 2)), linewidth=1.6)
    axes.annotate(
        text, (1, limit), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", va="bottom", color=LIMIT, fontsize=9, bbox=TEXT_BOX,
    )  # fmt: skip
