"""Charts of a run, drawn as SVG: the evidence beside a verdict.

All share the time axis of the run: what was not judged is shaded, the steady window is not.
"""

import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Scope, Unit
from loadkit.grammar import observed_as
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.families import rules_of
from loadkit.judging.gauges import points_of
from loadkit.judging.recovery import allowed, spells
from loadkit.judging.restarts import BIRTHS
from loadkit.observers.observation import Observation, Series
from loadkit.recording.histogram import FAILED, quantile_of, quantiles_of_each
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind
from loadkit.recording.traffic import Traffic, series_of
from loadkit.reports.drawing import (
    FILLS,
    LIMIT,
    STROKES,
    TEXT_BOX,
    Line,
    drawn,
    figure_of,
    head,
    label_values,
    legend,
    over_time,
    say,
    strokes,
    upward,
)
from loadkit.units import format_number, format_quantity
from loadkit.verdict import Window
from loadkit.workload.phases import disturbance

__all__ = [
    "alerts",
    "errors",
    "exact",
    "failing_share",
    "gauge",
    "load",
    "measure",
    "percentiles",
    "probes",
    "recovery",
    "resources",
    "succeeding_share",
    "throughput",
    "times",
]

Floats = npt.NDArray[np.float64]

_SHORT_RUN = 120
"""Seconds; up to here a point stands for one second, beyond for five."""
_QUANTILES = (0.5, 0.95, 0.99)
_CURVE = 1 - np.logspace(0, -4, 161)
"""From the smallest to p99.99, closer together towards the tail."""


def measure(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """A criterion's measure over time with its limit, as its family draws it."""
    draw = pkgutil.resolve_name(rules_of(criterion.measure.family).chart)
    svg: bytes = draw(evidence, window, criterion)
    return svg


def percentiles(evidence: Evidence, window: Window | None, scope: Scope = EVERYTHING) -> bytes:
    """The times of operations in the window, or in the whole run, from the fastest to the slowest in ten thousand."""
    figure = figure_of()
    axes = figure.subplots()
    for (title, kind), (colour, dash, width) in zip(
        (("response time (judged): from when it was due", Kind.RESPONSE), ("service time: from when it was sent", Kind.SERVICE)),
        STROKES,
        strict=False,
    ):  # fmt: skip
        traffic = evidence.traffic(scope, window, kind)
        histogram = traffic.histogram()
        known = [(share, quantile_of(histogram, share)) for share in _CURVE]
        shares = [_tail(share) for share, seconds in known if seconds is not None]
        values = [seconds for _, seconds in known if seconds is not None]
        axes.plot(shares, values, color=colour, linestyle=dash, linewidth=width, label=title)
        if traffic.failed and kind is Kind.RESPONSE:
            share = traffic.failed / traffic.size
            text = f"{format_quantity(share, Unit.RATIO)} failed: they have no time, and count as above every limit"
            axes.axvspan(_tail(1 - share), 4, color=LIMIT, alpha=0.12, linewidth=0, label=text)
    ticks = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)
    axes.set_xticks([_tail(tick) for tick in ticks], [f"p{tick * 100:g}" for tick in ticks])
    axes.set_xlim(0, 4)
    if any(len(line.get_xdata()) for line in axes.lines):
        axes.set_yscale("log")
        label_values(axes, Unit.SECONDS)
    else:
        say(axes, "no operation succeeded")
    axes.set_xlabel("share of the operations that took no longer")
    head(figure, f"How long {scope} took, in the {'judged window' if window else 'whole run'}")
    axes.legend(loc="lower right", frameon=False, fontsize=8, handlelength=2.6)
    return drawn(figure)


def load(evidence: Evidence, window: Window | None) -> bytes:
    """Users held beside users stated (closed load), and what was done per second."""
    run, whole, closed = evidence.run, evidence.whole, bool(evidence.closed)
    figure = figure_of(1.5 if closed else 1.0)
    panels = figure.subplots(2 if closed else 1, 1, sharex=True, squeeze=False)[:, 0]
    if closed:
        held, stated = evidence.held(whole)
        seconds = np.arange(0.5, whole.seconds)
        strokes(panels[0], [("users held", seconds, held), ("users stated", seconds, stated)])
        label_values(panels[0], Unit.NUMBER)
        upward(panels[0])
    traffic = evidence.traffic()
    bins = _Bins.of(traffic.seconds)
    failed = bins.sums(traffic.per_second(FAILED)) / bins.lengths
    rates = [("succeeded per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
    for population in run.plan.populations:
        if population not in evidence.closed:
            planned = np.array([population.workload.level_at(moment) for moment in bins.middles])
            rates.append((f"{population.name} due per second, by plan", bins.middles, planned))
    if failed.any():
        rates.append(("failed per second", bins.middles, failed))
    strokes(panels[-1], rates)
    label_values(panels[-1], Unit.NUMBER)
    upward(panels[-1])
    head(figure, "The load")
    return over_time(figure, panels, run, window)


def resources(evidence: Evidence, window: Window | None) -> bytes:
    """Every named measure of the service, one panel each, below the response time on the same time axis."""
    run = evidence.run
    observations = list(run.observations.values())
    figure = figure_of(0.55 * (len(observations) + 1))
    panels = figure.subplots(len(observations) + 1, 1, sharex=True, squeeze=False)[:, 0]
    strokes(panels[0], _quantile_lines(evidence.traffic(), (0.95,)))
    label_values(panels[0], Unit.SECONDS)
    upward(panels[0])
    panels[0].set_title("response time", loc="left", fontsize=9)
    for axes, observation in zip(panels[1:], observations, strict=True):
        is_birth = observation.name == BIRTHS
        title = "age of the process: it falls where the instance restarted" if is_birth else observation.name
        axes.set_title(title, loc="left", fontsize=9)
        lines = list(_observed(run, observation))
        if not lines:
            say(axes, observation.problem or "nothing was scraped")
            continue
        if is_birth:
            lines = [(name, moments, run.started + moments - born) for name, moments, born in lines]
        strokes(axes, lines)
        label_values(axes, Unit.SECONDS if is_birth else Unit(observation.unit))
        upward(axes)
    return over_time(figure, panels, run, window)


def errors(evidence: Evidence, window: Window | None) -> bytes:
    """Failed operations per second, by how they failed."""
    run, whole = evidence.run, evidence.whole
    bins = _Bins.of(whole.seconds)
    figure = figure_of()
    axes = figure.subplots()
    second, outcome, _, count = run.table.select(Kind.RESPONSE, series_of(EVERYTHING, run), 0, whole.end)
    kinds = sorted({int(number) for number in outcome if number}, key=lambda n: -count[outcome == n].sum())
    head(figure, "Failed operations per second")
    if not kinds:
        say(axes, f"none of {format_number(float(count.sum()))} operations failed")
        return over_time(figure, [axes], run, window)
    shown, rest = kinds[: len(FILLS) - 1], kinds[len(FILLS) - 1 :]
    groups = [(run.table.outcomes[number], [number]) for number in shown]
    if rest:
        groups.append((f"{len(rest)} other kinds", rest))
    below = np.zeros(len(bins.middles))
    for (name, numbers), (colour, hatch) in zip(groups, FILLS, strict=False):
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
    label_values(axes, Unit.NUMBER)
    legend(axes)
    return over_time(figure, [axes], run, window)


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


def _ratio(parts: Floats, wholes: Floats) -> Floats:
    shares: Floats = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
    return shares


def _quantile_lines(traffic: Traffic, quantiles: Sequence[float]) -> list[Line]:
    """Percentiles bin by bin; NaN where one lies among the failed."""
    bins = _Bins.of(traffic.seconds)
    place = np.searchsorted(bins.edges, traffic.second, "right") - 1
    values = quantiles_of_each(place, traffic.bucket, traffic.count, len(bins.middles), quantiles)
    values[np.isinf(values)] = np.nan
    return [
        (f"p{quantile * 100:g}", bins.middles, row) for quantile, row in zip(quantiles, values, strict=True)
    ]


def _observed(run: Run, observation: Observation) -> Iterator[Line]:
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
    violated = np.flatnonzero(np.diff(series.times) > 2.5 * interval) + 1
    for times, values in zip(
        np.split(series.times, violated), np.split(series.values, violated), strict=True
    ):
        if len(times):
            yield Series(series.instance, times, values)


# --- a criterion, in the way of its family (named in `loadkit.judging.families`)


def times(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Percentiles over time, the judged one first; and the mean where that is judged."""
    traffic = evidence.traffic(criterion.scope)
    judged = criterion.measure.quantile
    # The judged one first: it gets the heaviest line.
    others = [quantile for quantile in _QUANTILES if quantile != judged]
    lines = _quantile_lines(traffic, [judged, *others] if judged else list(_QUANTILES))
    if criterion.measure.statistic == "mean":
        bins = _Bins.of(traffic.seconds)
        mean = _ratio(bins.sums(traffic.timed[:, 1]), bins.sums(traffic.timed[:, 0]))
        lines = [("mean", bins.middles, mean), *lines]
    return _lines(evidence.run, window, lines, Unit.SECONDS, criterion, _failing(traffic, judged))


def _failing(traffic: Traffic, quantile: float | None) -> list[tuple[float, float]]:
    """Stretches of the run in which so many operations failed that the percentile lies among them."""
    if quantile is None:
        return []
    bins, failed = _failed_share(traffic)
    over = np.flatnonzero(failed > 1 - quantile)
    return [(float(bins.edges[number]), float(bins.edges[number + 1])) for number in over]


def _failed_share(traffic: Traffic) -> tuple[_Bins, Floats]:
    bins = _Bins.of(traffic.seconds)
    return bins, _ratio(bins.sums(traffic.per_second(FAILED)), bins.sums(traffic.per_second()))


def failing_share(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The share of the operations that failed."""
    bins, share = _failed_share(evidence.traffic(criterion.scope))
    lines = [(criterion.measure.name, bins.middles, share)]
    return _lines(evidence.run, window, lines, Unit.RATIO, criterion)


def succeeding_share(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The share of the operations that succeeded."""
    bins, share = _failed_share(evidence.traffic(criterion.scope))
    lines = [(criterion.measure.name, bins.middles, 1 - share)]
    return _lines(evidence.run, window, lines, Unit.RATIO, criterion)


def throughput(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Successes per second."""
    traffic = evidence.traffic(criterion.scope)
    bins = _Bins.of(traffic.seconds)
    lines = [("successes per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
    return _lines(evidence.run, window, lines, Unit.PER_SECOND, criterion)


def probes(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Whether each probe was answered."""
    moments = np.array([moment for moment, _ in evidence.run.probes])
    answered = np.array([float(is_answered) for _, is_answered in evidence.run.probes])
    lines = [("probe answered", moments, answered)]
    return _lines(evidence.run, window, lines, Unit.RATIO, criterion)


def gauge(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """A measure's readings, instance by instance."""
    observation = evidence.run.observations.get(criterion.measure.name)
    lines = [] if observation is None else list(_observed(evidence.run, observation))
    return _lines(evidence.run, window, lines, criterion.measure.unit, criterion)


def alerts(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Which alerts were firing."""
    observation = evidence.run.observations.get(observed_as(criterion.measure))
    lines = [] if observation is None else list(_observed(evidence.run, observation))
    return _lines(evidence.run, window, lines, Unit.NUMBER, criterion)


def exact(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """How often it happened, by second: what must not be at all."""
    name, whole = criterion.measure.name, evidence.whole
    counts = evidence.per_second(lambda worker_second: worker_second.count(name), whole)
    lines = [(name, np.arange(0.5, whole.seconds), counts)]
    return _lines(evidence.run, window, lines, Unit.NUMBER, criterion)


def _lines(
    run: Run,
    window: Window | None,
    lines: Sequence[Line],
    unit: Unit,
    criterion: Criterion,
    failing: Sequence[tuple[float, float]] = (),
) -> bytes:
    """Lines with the criterion's limit; in the stretches of `failing` the first of them is above every limit."""
    figure = figure_of()
    axes = figure.subplots()
    values = [line[np.isfinite(line)] for _, _, line in lines]
    highest = max((float(line.max()) for line in values if len(line)), default=0.0)
    lowest = min((float(line.min()) for line in values if len(line)), default=0.0)
    if not any(len(line) for line in values):
        say(axes, "nothing was measured")
    strokes(axes, lines)
    _mark_failing(axes, lines, failing)
    limit = criterion.limit
    side = "above" if criterion.comparison.is_upper else "below"
    _draw_limit(axes, limit, f"limit {format_quantity(limit, unit)}: fails {side}")
    if unit is Unit.SECONDS and 0 < highest < limit / 10 and lowest > 0:
        # Far below its limit: on a straight axis it would lie flat on the ground.
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


def _mark_failing(axes: Any, lines: Sequence[Line], failing: Sequence[tuple[float, float]]) -> None:
    """Shade the stretches in which the first of some lines is above every time."""
    for number, (start, end) in enumerate(failing):
        text = "" if number else f"{lines[0][0]} lies among failed operations"
        axes.axvspan(start, end, color=LIMIT, alpha=0.12, linewidth=0, label=text)


def _draw_limit(axes: Any, limit: float, text: str) -> None:
    axes.axhline(limit, color=LIMIT, linestyle=(0, (6, 2)), linewidth=1.6)
    axes.annotate(
        text, (1, limit), (-4, 3), xycoords=("axes fraction", "data"), textcoords="offset points",
        ha="right", va="bottom", color=LIMIT, fontsize=9, bbox=TEXT_BOX,
    )  # fmt: skip


def recovery(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The response time in stretches of five seconds, as recovery is judged, what is as good as before, and by when."""
    figure = figure_of()
    axes = figure.subplots()
    run, end = evidence.run, evidence.whole.end
    seen = spells(evidence, 0, end)
    starts, p95 = np.array([spell.start for spell in seen]), np.array([spell.p95 for spell in seen])
    known = np.isfinite(p95)
    lines = [("p95 of the five seconds from there on", starts, np.where(known, p95, np.nan))]
    if not known.any():
        say(axes, "nothing was measured")
    strokes(axes, lines)
    _mark_failing(axes, lines, [(start, min(start + 5, end)) for start in starts[~known]])
    cause = disturbance(run.plan)
    bounds = None if cause is None else allowed(evidence, cause)
    if bounds is not None and np.isfinite(bounds.p95):
        _draw_limit(axes, bounds.p95, f"as good as before: up to {format_quantity(bounds.p95, Unit.SECONDS)}")
    if cause is not None:
        promised = max((event.at for event in run.events), default=cause.at) + criterion.limit
        axes.axvline(promised, color=LIMIT, linewidth=1.2, linestyle=(0, (6, 2)))
        axes.annotate(
            "promised by then", (promised, 0.08), (3, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", va="bottom", fontsize=8, color=LIMIT, bbox=TEXT_BOX,
        )  # fmt: skip
    upward(axes)
    label_values(axes, Unit.SECONDS)
    legend(axes)
    head(figure, criterion.sentence)
    return over_time(figure, [axes], run, window)


def _tail(share: float) -> float:
    """A share on the axis of the percentile curve: every nine takes the same room."""
    return float(-np.log10(max(1 - share, 1e-4)))
