"""Charts of a run, drawn as SVG: the evidence beside a verdict.

They read in grey (lines differ in weight and dash, bars in hatch) and at 900 pixels across. All share the time axis of the
run: what was not judged is shaded, the steady window is not.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Family, Measure, Scope, Unit
from loadkit.judging.gauges import points_of
from loadkit.judging.health import held_per_second
from loadkit.judging.recovery import QUANTILE, allowed
from loadkit.judging.traffic import FAILED, Traffic, quantile_of, series_of, traffic_of
from loadkit.observation import Observation, Series
from loadkit.phrases import observed_as
from loadkit.quantities import format_number, format_quantity
from loadkit.record import Run
from loadkit.slices import Kind
from loadkit.steady import disturbance
from loadkit.verdict import Window
from loadkit.workload import Model

__all__ = ["errors", "load", "measure", "percentiles", "resources"]

Floats = npt.NDArray[np.float64]

_WIDTH, _HEIGHT = 9.0, 3.4
"""Inches; at 100 pixels to the inch they are the 900 pixels of a report's page."""
_SHORT_RUN = 120
"""Seconds; up to here a point stands for one second, beyond for five."""
_INK, _GREY, _PALE, _LIMIT = "#1b2a41", "#5c6b80", "#a3b1c2", "#b3261e"
_STROKES = (
    (_INK, "-", 1.8),
    (_GREY, "--", 1.4),
    (_PALE, "-", 1.4),
    ("#3d6f8e", ":", 1.8),
    ("#7a5c2e", "-.", 1.4),
    ("#000000", (0, (1, 3)), 1.4),
)
"""Colour, dash and width of lines that lie in one chart, told apart without colour."""
_FILLS = (
    ("#1b2a41", ""),
    ("#a3b1c2", "///"),
    ("#5c6b80", "..."),
    ("#dfe5ec", "xxx"),
    ("#7a5c2e", "\\\\\\"),
    ("#ffffff", "+++"),
)
_BEHIND_TEXT = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.0}
_QUANTILES = (0.5, 0.95, 0.99)
_PATH, _FRACTION = re.compile(rb' d="[^"]*"'), re.compile(rb"(\d\.\d\d)\d+")
_CURVE = 1 - np.logspace(0, -4, 161)
"""From the smallest to p99.99, closer together towards the tail."""


def measure(run: Run, window: Window | None, criterion: Criterion) -> bytes:
    """What a criterion speaks of, over time, with its limit."""
    match criterion.measure.family:
        case Family.TIME:
            return _times(run, window, criterion)
        case Family.GAUGE:
            return _gauge(run, window, criterion)
        case Family.THROUGHPUT:
            traffic = _whole(run, criterion.scope)
            bins = _Bins.of(traffic.seconds)
            lines = [("successes per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
            return _lines(run, window, lines, Unit.PER_SECOND, criterion)
        case Family.RECOVERY:
            cause = disturbance(run.plan)
            bounds = None if cause is None else allowed(run, cause)
            p95 = Measure("response time", Family.TIME, Unit.SECONDS, QUANTILE, "p95")
            limit = 0.0 if bounds is None or not np.isfinite(bounds.p95) else bounds.p95
            return _times(run, window, replace(criterion, measure=p95, limit=limit))
        case Family.ALERT:
            observation = run.observations.get(observed_as(criterion.measure))
            lines = [] if observation is None else list(_observed(run, observation))
            return _lines(run, window, lines, Unit.NUMBER, criterion)
        case Family.UPTIME:
            moments = np.array([moment for moment, _ in run.probes])
            answered = np.array([float(is_answered) for _, is_answered in run.probes])
            return _lines(run, window, [("probe answered", moments, answered)], Unit.RATIO, criterion)
        case Family.ERROR_RATE | Family.AVAILABILITY:
            traffic = _whole(run, criterion.scope)
            bins = _Bins.of(traffic.seconds)
            share = _ratio(bins.sums(traffic.per_second(FAILED)), bins.sums(traffic.per_second()))
            if criterion.measure.family is Family.AVAILABILITY:
                share = 1 - share
            return _lines(run, window, [(criterion.measure.name, bins.middles, share)], Unit.RATIO, criterion)


def percentiles(run: Run, window: Window) -> bytes:
    """The times of all operations in the window, from the fastest to the slowest in ten thousand."""
    figure = _figure()
    axes = figure.subplots()
    series = series_of(Scope(), run)
    for (title, kind), (colour, dash, width) in zip(
        (("response time (judged): from when it was due", Kind.RESPONSE), ("service time: from when it was sent", Kind.SERVICE)),
        _STROKES,
        strict=False,
    ):  # fmt: skip
        traffic = traffic_of(run, series, window, kind)
        histogram = traffic.histogram()
        known = [(share, quantile_of(histogram, share)) for share in _CURVE]
        shares = [_tail(share) for share, seconds in known if seconds is not None]
        values = [seconds for _, seconds in known if seconds is not None]
        axes.plot(shares, values, color=colour, linestyle=dash, linewidth=width, label=title)
        if traffic.failed and kind is Kind.RESPONSE:
            share = traffic.failed / traffic.size
            text = f"{format_quantity(share, Unit.RATIO)} failed: they have no time, and count as above every limit"
            axes.axvspan(_tail(1 - share), 4, color=_LIMIT, alpha=0.12, linewidth=0, label=text)
    ticks = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)
    axes.set_xticks([_tail(tick) for tick in ticks], [f"p{tick * 100:g}" for tick in ticks])
    axes.set_xlim(0, 4)
    if any(len(line.get_xdata()) for line in axes.lines):
        axes.set_yscale("log")
        _label_values(axes, Unit.SECONDS)
    else:
        _say(axes, "no operation succeeded")
    axes.set_xlabel("share of the operations that took no longer")
    _head(figure, "How long operations took, in the judged window")
    axes.legend(loc="lower right", frameon=False, fontsize=8, handlelength=2.6)
    return _drawn(figure)


def load(run: Run, window: Window | None) -> bytes:
    """Users held beside users stated (closed load), and what was done per second."""
    closed = run.plan.workload.model is Model.CLOSED
    whole = _all_of(run)
    figure = _figure(1.5 if closed else 1.0)
    panels = figure.subplots(2 if closed else 1, 1, sharex=True, squeeze=False)[:, 0]
    if closed:
        held, stated = held_per_second(run, whole)
        seconds = np.arange(0.5, whole.seconds)
        _strokes(panels[0], [("users held", seconds, held), ("users stated", seconds, stated)])
        _label_values(panels[0], Unit.NUMBER)
        panels[0].set_ylim(0, 1.15 * max(1.0, float(held.max()), float(stated.max())))
    traffic = _whole(run, Scope())
    bins = _Bins.of(traffic.seconds)
    failed = bins.sums(traffic.per_second(FAILED)) / bins.lengths
    rates = [("succeeded per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
    if not closed:
        planned = np.array([run.plan.workload.level_at(moment) for moment in bins.middles])
        rates.append((f"{run.plan.workload.model} due per second, by plan", bins.middles, planned))
    if failed.any():
        rates.append(("failed per second", bins.middles, failed))
    _strokes(panels[-1], rates)
    _label_values(panels[-1], Unit.NUMBER)
    panels[-1].set_ylim(bottom=0)
    _head(figure, "The load")
    return _over_time(figure, panels, run, window)


def resources(run: Run, window: Window | None) -> bytes:
    """Every named measure of the service, one panel each, below the response time on the same time axis."""
    observations = list(run.observations.values())
    figure = _figure(0.55 * (len(observations) + 1))
    panels = figure.subplots(len(observations) + 1, 1, sharex=True, squeeze=False)[:, 0]
    _strokes(panels[0], _quantile_lines(_whole(run, Scope()), (0.95,)))
    _label_values(panels[0], Unit.SECONDS)
    panels[0].set_ylim(bottom=0)
    panels[0].set_title("response time", loc="left", fontsize=9)
    for axes, observation in zip(panels[1:], observations, strict=True):
        axes.set_title(observation.name, loc="left", fontsize=9)
        lines = list(_observed(run, observation))
        if not lines:
            _say(axes, observation.problem or "nothing was scraped")
            continue
        _strokes(axes, lines)
        _label_values(axes, Unit(observation.unit))
        axes.set_ylim(bottom=0)
    return _over_time(figure, panels, run, window)


def errors(run: Run, window: Window | None) -> bytes:
    """Failed operations per second, by how they failed."""
    whole = _all_of(run)
    bins = _Bins.of(whole.seconds)
    figure = _figure()
    axes = figure.subplots()
    second, outcome, _, count = run.table.select(Kind.RESPONSE, series_of(Scope(), run), 0, whole.end)
    kinds = sorted({int(number) for number in outcome if number}, key=lambda n: -count[outcome == n].sum())
    _head(figure, "Failed operations per second")
    if not kinds:
        _say(axes, f"none of {format_number(float(count.sum()))} operations failed")
        return _over_time(figure, [axes], run, window)
    shown, rest = kinds[: len(_FILLS) - 1], kinds[len(_FILLS) - 1 :]
    groups = [(run.table.outcomes[number], [number]) for number in shown]
    if rest:
        groups.append((f"{len(rest)} other kinds", rest))
    below = np.zeros(len(bins.middles))
    for (name, numbers), (colour, hatch) in zip(groups, _FILLS, strict=False):
        here = np.isin(outcome, numbers)
        rate = bins.sums(np.bincount(second[here], count[here], whole.seconds)) / bins.lengths
        axes.bar(
            bins.middles,
            rate,
            bins.lengths,
            below,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.3,
            label=f"{name} ({format_number(float(count[here].sum()))})",
        )
        below += rate
    _label_values(axes, Unit.NUMBER)
    _legend(axes)
    return _over_time(figure, [axes], run, window)


# --- what is drawn


@dataclass(frozen=True, slots=True)
class _Bins:
    """Stretches of a run, each drawn as one point."""

    edges: npt.NDArray[np.int64]

    @classmethod
    def of(cls, seconds: int) -> "_Bins":
        """Of one second in a short run, of five in a longer one; the last may be shorter."""
        step = 1 if seconds <= _SHORT_RUN else 5
        return cls(np.unique(np.append(np.arange(0, seconds, step), seconds)))

    @property
    def lengths(self) -> Floats:
        return np.diff(self.edges).astype(np.float64)

    @property
    def middles(self) -> Floats:
        middles: Floats = self.edges[:-1] + self.lengths / 2
        return middles

    def sums(self, per_second: npt.NDArray[Any]) -> Floats:
        sums: Floats = np.add.reduceat(per_second.astype(np.float64), self.edges[:-1])
        return sums


_Line = tuple[str, Floats, Floats]
"""A title; moments in seconds since the run's start; values, NaN where there is none."""


def _all_of(run: Run) -> Window:
    return Window(0, max(1, int(np.ceil(run.ended_at))))


def _whole(run: Run, scope: Scope) -> Traffic:
    """The traffic of a scope over the whole run, ramp included."""
    return traffic_of(run, series_of(scope, run), _all_of(run))


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    shares: Floats = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
    return shares


def _quantile_lines(traffic: Traffic, quantiles: Sequence[float]) -> list[_Line]:
    """Percentiles bin by bin; NaN where one lies among the failed."""
    bins = _Bins.of(traffic.seconds)
    order = np.argsort(traffic.second, kind="stable")
    second, bucket, count = traffic.second[order], traffic.bucket[order], traffic.count[order]
    cuts = np.searchsorted(second, bins.edges)
    values = np.full((len(quantiles), len(bins.middles)), np.nan)
    for column, (low, high) in enumerate(pairwise(cuts)):
        histogram = np.bincount(bucket[low:high], count[low:high], FAILED + 1).astype(np.int64)
        for row, quantile in enumerate(quantiles):
            found = quantile_of(histogram, quantile)
            values[row, column] = np.nan if found is None else found
    return [
        (f"p{quantile * 100:g}", bins.middles, row) for quantile, row in zip(quantiles, values, strict=True)
    ]


def _observed(run: Run, observation: Observation) -> Iterator[_Line]:
    """A measure's readings, instance by instance, broken where scrapes are missing."""
    free = replace(observation, lifespans={})
    for series in observation.series:
        moments: list[Floats] = []
        values: list[Floats] = []
        for stretch in _stretches(series, observation.scrape_interval):
            points = points_of(free, stretch, float(stretch.times[0]), float(stretch.times[-1]))
            if len(points.times):
                moments += [points.times - run.started, np.array([np.nan])]
                values += [points.values, np.array([np.nan])]
        if moments:
            yield series.instance or observation.name, np.concatenate(moments), np.concatenate(values)


def _stretches(series: Series, interval: float) -> Iterator[Series]:
    breaks = np.flatnonzero(np.diff(series.times) > 2.5 * interval) + 1
    for times, values in zip(np.split(series.times, breaks), np.split(series.values, breaks), strict=True):
        if len(times):
            yield Series(series.instance, times, values)


# --- how it is drawn


def _times(run: Run, window: Window | None, criterion: Criterion) -> bytes:
    traffic = _whole(run, criterion.scope)
    judged = criterion.measure.quantile
    # The judged one first: it gets the heaviest line.
    others = [quantile for quantile in _QUANTILES if quantile != judged]
    lines = _quantile_lines(traffic, [judged, *others] if judged else list(_QUANTILES))
    if criterion.measure.statistic == "mean":
        bins = _Bins.of(traffic.seconds)
        mean = _ratio(bins.sums(traffic.timed[:, 1]), bins.sums(traffic.timed[:, 0]))
        lines = [("mean", bins.middles, mean), *lines]
    return _lines(run, window, lines, Unit.SECONDS, criterion, _failing(traffic, judged))


def _failing(traffic: Traffic, quantile: float | None) -> list[tuple[float, float]]:
    """Stretches of the run in which so many operations failed that the percentile lies among them."""
    bins = _Bins.of(traffic.seconds)
    failed = _ratio(bins.sums(traffic.per_second(FAILED)), bins.sums(traffic.per_second()))
    if quantile is None:
        return []
    over = np.flatnonzero(failed > 1 - quantile)
    return [(float(bins.edges[number]), float(bins.edges[number + 1])) for number in over]


def _gauge(run: Run, window: Window | None, criterion: Criterion) -> bytes:
    observation = run.observations.get(criterion.measure.name)
    lines = [] if observation is None else list(_observed(run, observation))
    return _lines(run, window, lines, criterion.measure.unit, criterion)


def _lines(
    run: Run,
    window: Window | None,
    lines: Sequence[_Line],
    unit: Unit,
    criterion: Criterion,
    failing: Sequence[tuple[float, float]] = (),
) -> bytes:
    """Lines with the criterion's limit; in the stretches of `failing` the first of them is above every limit."""
    figure = _figure()
    axes = figure.subplots()
    values = [line[np.isfinite(line)] for _, _, line in lines]
    highest = max((float(line.max()) for line in values if len(line)), default=0.0)
    lowest = min((float(line.min()) for line in values if len(line)), default=0.0)
    if not any(len(line) for line in values):
        _say(axes, "nothing was measured")
    _strokes(axes, lines)
    for number, (start, end) in enumerate(failing):
        text = "" if number else f"{lines[0][0]} lies among failed operations"
        axes.axvspan(start, end, color=_LIMIT, alpha=0.12, linewidth=0, label=text)
    limit = criterion.limit
    axes.axhline(limit, color=_LIMIT, linestyle=(0, (6, 2)), linewidth=1.6)
    side = "above" if criterion.comparison.is_upper else "below"
    axes.annotate(
        f"limit {format_quantity(limit, unit)}: fails {side}",
        (1, limit),
        (-4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=_LIMIT,
        fontsize=9,
        bbox=_BEHIND_TEXT,
    )
    if unit is Unit.SECONDS and 0 < highest < limit / 10 and lowest > 0:
        # Far below its limit: on a straight axis it would lie flat on the ground.
        axes.set_yscale("log")
        axes.set_ylim(lowest * 0.7, limit * 2)
    elif unit is Unit.RATIO and min(limit, lowest) > 0.9:
        axes.set_ylim(min(limit, lowest) - 0.01, 1.002)
    else:
        axes.set_ylim(0, 1.15 * (max(limit, highest) or 1.0))
    _label_values(axes, unit)
    _legend(axes)
    _head(figure, criterion.sentence)
    return _over_time(figure, [axes], run, window)


def _strokes(axes: Any, lines: Sequence[_Line]) -> None:
    for number, (title, moments, values) in enumerate(lines):
        colour, dash, width = _STROKES[number % len(_STROKES)]
        # The first line is what the chart is about: it lies above the others.
        axes.plot(
            moments,
            values,
            color=colour,
            linestyle=dash,
            linewidth=width,
            label=title,
            zorder=3 - number / 100,
        )
    if lines:
        _legend(axes)


def _head(figure: Any, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)


def _legend(axes: Any) -> None:
    """Above the plot at its right, where it hides no line."""
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=min(4, len(handles)),
            frameon=False,
            fontsize=8,
            handlelength=2.6,
            borderaxespad=0.1,
        )


def _say(axes: Any, text: str) -> None:
    """A sentence in place of a line."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=_GREY)
    axes.set_yticks([])


def _label_values(axes: Any, unit: Unit) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    # The legend says what is counted per second; it need not stand at every line.
    plain = Unit.NUMBER if unit is Unit.PER_SECOND else unit
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_quantity(value, plain)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color="#e3e8ee", linewidth=0.7)
    axes.set_axisbelow(True)


def _over_time(figure: Any, panels: Sequence[Any], run: Run, window: Window | None) -> bytes:
    """Put panels on the run's time axis, shade what was not judged, mark what happened, and draw."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    end = _all_of(run).end
    for axes in panels:
        axes.set_xlim(0, end)
        if window is not None:
            for low, high in ((0, window.start), (window.end, end)):
                if high > low:
                    axes.axvspan(low, high, color="#eef0f3", zorder=0, linewidth=0)
                    axes.axvline(high if low == 0 else low, color=_GREY, linewidth=0.7, linestyle=":")
        for happening in run.happenings:
            axes.axvline(happening.at, color=_INK, linewidth=1.0, linestyle=(0, (2, 2)))
    for happening in run.happenings:
        panels[0].annotate(
            happening.what, (happening.at, 1), (3, -3), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="top", fontsize=8, color=_INK, bbox=_BEHIND_TEXT,
        )  # fmt: skip
    last = panels[-1]
    last.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 3, 6, 10], integer=True))
    last.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _moment(value)))
    judged = (
        "nothing was judged"
        if window is None
        else f"judged: {_moment(window.start)} to {_moment(window.end)} (shaded: not judged)"
    )
    last.set_xlabel(f"minutes and seconds since the load began — {judged}")
    return _drawn(figure)


def _moment(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _figure(height: float = 1.0) -> Any:
    """An empty figure; `height` in those of a single chart. Without pyplot, which keeps what it makes for ever."""
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, _HEIGHT * max(1.0, height)), layout="constrained")


def _drawn(figure: Any) -> bytes:
    import matplotlib as mpl

    for axes in figure.axes:
        axes.tick_params(labelsize=8, color=_PALE)
        axes.xaxis.label.set_size(8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_PALE)
    held = io.BytesIO()
    # Text stays text: a tenth of the size, and found by the browser's search. No date: equal runs, equal charts.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "charts"}):
        figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None})
    # A hundredth of a point is finer than any screen; matplotlib writes a millionth, at twice the size.
    return _PATH.sub(lambda path: _FRACTION.sub(rb"\1", path.group()), held.getvalue())


def _tail(share: float) -> float:
    """A share on the axis of the percentile curve: every nine takes the same room."""
    return float(-np.log10(max(1 - share, 1e-4)))
