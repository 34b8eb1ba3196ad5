"""Charts of a run as SVG: the evidence of a verdict.

All charts share the time axis of the run. Everything outside the judged window is shaded.
"""

import pkgutil
from typing import Any

import numpy as np
import numpy.typing as npt

from loadkit.criterion import Criterion, Scope, Unit
from loadkit.grammar import observed_as
from loadkit.judging.alerts import expected_since
from loadkit.judging.courses import Course, courses
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.families import rules_of
from loadkit.judging.restarts import BIRTHS
from loadkit.observers.machine import OTHERS, PARTS, PROCESSORS
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.run import HTTP
from loadkit.recording.slices import Kind
from loadkit.recording.timing import OPERATION, REQUEST, timing_of
from loadkit.recording.traffic import Traffic, series_of
from loadkit.reports.curves import (
    Bins,
    criterion_lines,
    draw_deadline,
    draw_limit,
    mark_failing,
    observed,
    quantile_lines,
    ratio,
    reason_without_data,
)
from loadkit.reports.drawing import (
    FILLS,
    LIMIT,
    STROKES,
    Line,
    draw_lines,
    drawn,
    figure_of,
    head,
    label_values,
    legend,
    over_time,
    say,
    upward,
)
from loadkit.reports.timeline import one_timing
from loadkit.units import format_number, format_quantity
from loadkit.verdict import Window
from loadkit.workload.phases import disturbance

__all__ = [
    "alerts",
    "errors",
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

_USERS, _LITTLE = 4, 0.01
"""The maximum number of processor uses of this machine that are shown, and their minimum peak."""
_QUANTILES = (0.5, 0.95, 0.99)
_CURVE = 1 - np.logspace(0, -4, 161)
"""Ratios from 0 to 0.9999, denser towards the tail."""


def measure(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The measure of a criterion over time with its limit, as its family draws it."""
    draw = pkgutil.resolve_name(rules_of(criterion.measure.family).chart)
    svg: bytes = draw(evidence, window, criterion)
    return svg


def percentiles(
    evidence: Evidence, window: Window | None, scope: Scope = EVERYTHING, timing: str = REQUEST.key
) -> bytes:
    """Percentiles of response and service time up to p99.99, in the window or in the whole run.

    Another timing has one curve, because its operations are sent when they are due.
    """
    from matplotlib.ticker import LogLocator

    figure = figure_of()
    axes = figure.subplots()
    for (title, kind), (colour, dash, width) in zip(
        (("response time (judged): since the intended start", Kind.RESPONSE), ("service time: since the send", Kind.SERVICE)),
        STROKES,
        strict=False,
    ):  # fmt: skip
        if timing != REQUEST.key and kind is not Kind.RESPONSE:
            continue
        traffic = evidence.traffic(scope, window, kind, timing)
        histogram = traffic.histogram()
        known = [(share, quantile_of(histogram, share)) for share in _CURVE]
        shares = [_tail(share) for share, seconds in known if seconds is not None]
        values = [seconds for _, seconds in known if seconds is not None]
        name = title if timing == REQUEST.key else f"{timing_of(timing).name} (judged)"
        axes.plot(shares, values, color=colour, linestyle=dash, linewidth=width, label=name)
        if traffic.failed and kind is Kind.RESPONSE:
            share = traffic.failed / traffic.size
            text = f"{format_quantity(share, Unit.RATIO)} failed: counted as above every limit"
            axes.axvspan(_tail(1 - share), 4, color=LIMIT, alpha=0.12, linewidth=0, label=text)
    ticks = (0.5, 0.9, 0.95, 0.99, 0.999, 0.9999)
    axes.set_xticks([_tail(tick) for tick in ticks], [f"p{tick * 100:g}" for tick in ticks])
    axes.set_xlim(0, 4)
    if any(len(line.get_xdata()) for line in axes.lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        label_values(axes, Unit.SECONDS)
    else:
        say(axes, "no operation succeeded")
    axes.set_xlabel("percentile of the operations")
    head(figure, f"Times of {scope} in the {'judged window' if window else 'whole run'}")
    axes.legend(loc="lower right", frameon=False, fontsize=8, handlelength=2.6)
    return drawn(figure)


def load(evidence: Evidence, window: Window | None) -> bytes:
    """Users held and users stated (closed load), and operations per second."""
    run, whole, closed = evidence.run, evidence.whole, bool(evidence.closed)
    figure = figure_of(1.5 if closed else 1.0)
    panels = figure.subplots(2 if closed else 1, 1, sharex=True, squeeze=False)[:, 0]
    if closed:
        held, stated = evidence.held(whole)
        seconds = np.arange(0.5, whole.seconds)
        draw_lines(panels[0], [("users held", seconds, held), ("users stated", seconds, stated)])
        label_values(panels[0], Unit.NUMBER)
        upward(panels[0])
    traffic = evidence.traffic(timing=OPERATION.key)
    bins = Bins.of(traffic.seconds)
    failed = bins.sums(traffic.per_second(FAILED)) / bins.lengths
    rates = [("succeeded per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
    for population in run.plan.populations:
        if population not in evidence.closed:
            planned = np.array([population.workload.level_at(moment) for moment in bins.middles])
            rates.append((f"{population.name} due per second (plan)", bins.middles, planned))
    if failed.any():
        rates.append(("failed per second", bins.middles, failed))
    draw_lines(panels[-1], rates)
    label_values(panels[-1], Unit.NUMBER)
    upward(panels[-1])
    head(figure, "The load")
    return over_time(figure, panels, run, window)


def resources(evidence: Evidence, window: Window | None) -> bytes:
    """The time of the operations, and below it one panel per named measure of the service."""
    run = evidence.run
    observations = [each for each in run.observations.values() if each.name != PARTS]
    figure = figure_of(0.55 * (len(observations) + 1))
    panels = figure.subplots(len(observations) + 1, 1, sharex=True, squeeze=False)[:, 0]
    timing = one_timing(evidence, EVERYTHING, OPERATION.key)
    draw_lines(panels[0], quantile_lines(evidence.traffic(timing=timing), (0.95,)))
    label_values(panels[0], Unit.SECONDS)
    upward(panels[0])
    panels[0].set_title(timing_of(timing).name, loc="left", fontsize=9)
    for axes, observation in zip(panels[1:], observations, strict=True):
        is_birth = observation.name == BIRTHS
        title = "age of the process: a drop is a restart of the instance" if is_birth else observation.name
        axes.set_title(title, loc="left", fontsize=9)
        lines = list(observed(run, observation))
        if observation.name in {PROCESSORS, OTHERS}:
            lines = _largest(lines)
        if not lines:
            say(axes, reason_without_data(observation))
            continue
        if is_birth:
            lines = [(name, moments, run.started + moments - born) for name, moments, born in lines]
        draw_lines(axes, lines)
        label_values(axes, Unit.SECONDS if is_birth else Unit(observation.unit))
        upward(axes)
    return over_time(figure, panels, run, window)


def _largest(lines: list[Line]) -> list[Line]:
    """The lines with the highest peaks, at most four; those with a negligible peak are left out."""
    peaks = [float(np.nanmax(values)) for _, _, values in lines]
    order = sorted(range(len(lines)), key=lambda number: -peaks[number])
    return [lines[number] for number in order[:_USERS] if peaks[number] >= _LITTLE]


def errors(evidence: Evidence, window: Window | None) -> bytes:
    """Failed operations per second, by kind of failure."""
    run, whole = evidence.run, evidence.whole
    bins = Bins.of(whole.seconds)
    figure = figure_of()
    axes = figure.subplots()
    second, outcome, _, count = run.table.select(
        Kind.RESPONSE, series_of(EVERYTHING, run, OPERATION), 0, whole.end
    )
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
        in_group = np.isin(outcome, numbers)
        rate = bins.sums(np.bincount(second[in_group], count[in_group], whole.seconds)) / bins.lengths
        axes.bar(
            bins.middles,
            rate,
            bins.lengths,
            below,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.3,
            label=f"{name} ({format_number(float(count[in_group].sum()))})",
        )
        below += rate
    label_values(axes, Unit.NUMBER)
    legend(axes)
    return over_time(figure, [axes], run, window)


# --- charts of criteria, one per family (named in `loadkit.judging.families`)


def times(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Percentiles over time, the judged one first; also the mean if it is judged."""
    traffic = evidence.traffic(criterion.scope, timing=criterion.measure.timing)
    judged = criterion.measure.quantile
    # The judged percentile is first, because the first line is the heaviest.
    others = [quantile for quantile in _QUANTILES if quantile != judged]
    lines = quantile_lines(traffic, [judged, *others] if judged else list(_QUANTILES))
    if criterion.measure.statistic == "mean":
        bins = Bins.of(traffic.seconds)
        mean = ratio(bins.sums(traffic.timed[:, 1]), bins.sums(traffic.timed[:, 0]))
        lines = [("mean", bins.middles, mean), *lines]
    return criterion_lines(evidence.run, window, lines, Unit.SECONDS, criterion, _failing(traffic, judged))


def _failing(traffic: Traffic, quantile: float | None) -> list[tuple[float, float]]:
    """Start and end of the bins in which the percentile is among the failed operations."""
    if quantile is None:
        return []
    bins, failed = _failed_share(traffic)
    over = np.flatnonzero(failed > 1 - quantile)
    return [(float(bins.edges[number]), float(bins.edges[number + 1])) for number in over]


def _failed_share(traffic: Traffic) -> tuple[Bins, Floats]:
    bins = Bins.of(traffic.seconds)
    return bins, ratio(bins.sums(traffic.per_second(FAILED)), bins.sums(traffic.per_second()))


def failing_share(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The ratio of failed operations over time."""
    bins, share = _failed_share(evidence.traffic(criterion.scope, timing=criterion.measure.timing))
    lines = [(criterion.measure.name, bins.middles, share)]
    return criterion_lines(evidence.run, window, lines, Unit.RATIO, criterion)


def succeeding_share(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The ratio of successful operations over time."""
    bins, share = _failed_share(evidence.traffic(criterion.scope, timing=criterion.measure.timing))
    lines = [(criterion.measure.name, bins.middles, 1 - share)]
    return criterion_lines(evidence.run, window, lines, Unit.RATIO, criterion)


def throughput(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """Successes per second over time."""
    traffic = evidence.traffic(criterion.scope, timing=criterion.measure.timing)
    bins = Bins.of(traffic.seconds)
    lines = [("successes per second", bins.middles, bins.sums(traffic.completed) / bins.lengths)]
    return criterion_lines(evidence.run, window, lines, Unit.PER_SECOND, criterion)


def probes(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The share of answered probes in each second, one line per protocol."""
    run = evidence.run
    by_protocol = {**({HTTP: run.probes} if run.probes else {}), **run.protocol_probes}
    lines: list[Line] = []
    for name, made in by_protocol.items():
        seconds = np.array([int(moment) for moment, _ in made])
        number = np.bincount(seconds)
        up = np.bincount(seconds, [float(is_up) for _, is_up in made])
        probed = np.flatnonzero(number)
        answered = (up[probed] / number[probed]).astype(np.float64)
        lines.append((f"{name}: probes answered", (probed + 0.5).astype(np.float64), answered))
    return criterion_lines(run, window, lines, Unit.RATIO, criterion)


def gauge(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The readings of a measure, one line per instance."""
    observation = evidence.run.observations.get(criterion.measure.name)
    lines = [] if observation is None else list(observed(evidence.run, observation))
    return criterion_lines(evidence.run, window, lines, criterion.measure.unit, criterion)


def alerts(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """The firing alerts over time, and the deadline of an alert that must fire."""
    run = evidence.run
    observation = run.observations.get(observed_as(criterion.measure))
    lines = [] if observation is None else list(observed(run, observation))
    # The limit of "fires within 30 seconds" is a time, not a number of alerts: draw a deadline.
    deadline = expected_since(run)[0] + criterion.limit if criterion.unit is Unit.SECONDS else None
    return criterion_lines(
        run,
        window,
        lines,
        Unit.NUMBER,
        criterion,
        deadline=deadline,
        nothing=reason_without_data(observation),
    )


def recovery(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    """What users see in periods of five seconds: a panel per kind, its bounds, the deadline.

    The panels of requests, queries and messages show their p95. The panel of connections shows
    their number.
    """
    run, end = evidence.run, evidence.whole.end
    cause = disturbance(run.plan)
    shown = courses(evidence, cause)
    figure = figure_of(0.4 + 0.6 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, course in zip(panels, shown, strict=True):
        _draw_course(axes, course, end)
    if cause is not None:
        deadline = max((event.at for event in run.events), default=cause.at) + criterion.limit
        draw_deadline(panels, deadline)
    head(figure, criterion.sentence)
    return over_time(figure, list(panels), run, window)


def _draw_course(axes: Any, course: Course, end: int) -> None:
    """Draw one kind over the run: the p95 of its times, or the number of connections."""
    kind, bounds, seen = course.kind, course.bounds, course.windows(0, end)
    starts = np.array([spell.start for spell in seen])
    if kind.time:
        unit, bound = Unit.SECONDS, None if bounds is None else bounds.p95
        title, words = f"p95 {kind.time} of the next five seconds", "up to"
        values = np.array([spell.p95 for spell in seen])
    else:
        unit, bound = Unit.NUMBER, None if bounds is None else bounds.level
        title, words = f"fewest {kind.name} of the next five seconds", "from"
        values = np.array([spell.level for spell in seen])
    known = np.isfinite(values)
    lines = [(title, starts, np.where(known, values, np.nan))]
    if not known.any():
        say(axes, "no measurements")
    draw_lines(axes, lines)
    mark_failing(axes, lines, [(start, min(start + 5, end)) for start in starts[~known]])
    if bound is not None and np.isfinite(bound):
        draw_limit(axes, bound, f"recovered: {words} {format_quantity(bound, unit)}")
    upward(axes)
    label_values(axes, unit)
    legend(axes)


def _tail(share: float) -> float:
    """The position of a ratio on the percentile axis, where each nine has the same width."""
    return float(-np.log10(max(1 - share, 1e-4)))
