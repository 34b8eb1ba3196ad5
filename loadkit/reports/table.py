"""The figures of a run as a table for the terminal, similar to wrk and hey."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from loadkit.judging.evidence import Evidence
from loadkit.judging.health import CheckResult
from loadkit.reports import examples
from loadkit.units import format_bytes, format_number, format_quantity, format_ratio, format_seconds
from loadkit.verdict import Verdict

__all__ = ["lines"]

_TIMES = ("mean", "p50", "p90", "p95", "p99", "p99.9", "max")
_LABELS_SHOWN = 20
_KINDS_SHOWN, _KIND_WIDTH = 8, 70
"""Maximum number of kinds of failure shown, and of characters of each."""


def lines(evidence: Evidence, figures: Mapping[str, Any], verdicts: Sequence[Verdict]) -> list[str]:
    """The figures of `summary.summarise` as a table of at most 100 columns; verdicts last."""
    run, window, operations = evidence.run, figures["window"], figures["operations"]
    rows = [
        "",
        f"{run.plan.in_words}; judged on {window['seconds']} s from {_clock(window['start'])}"
        + ("" if run.is_complete else f" ({run.ended})"),
        "",
        f"  {'operations':<16}{format_number(operations):>10}   {format_number(figures['throughput'])} per second succeeded",
        f"  {'failed':<16}{format_number(figures['failed']):>10}   {_share(figures['error_rate'])}",
    ]
    rows += _failures(figures["failures_by_kind"])
    rows += [f"  {'':<29}{line}" for line in examples.lines(run, evidence.window or evidence.whole)]
    if figures["dropped"]:
        rows.append(f"  {'dropped':<16}{format_number(figures['dropped']):>10}   too many were in flight")
    rows += ["", "  " + " " * 16 + "".join(f"{name:>10}" for name in _TIMES)]
    for title, key in (
        ("response time", "response_time"),
        ("successes only", "response_time_ok"),
        ("service time", "service_time"),
        ("lateness", "lateness"),
    ):
        if key != "response_time_ok" or figures["failed"]:
            rows.append(f"  {title:<16}" + "".join(f"{_time(figures[key].get(name)):>10}" for name in _TIMES))
    rows += _labels(figures["by_label"])
    rows += _regions(figures["by_region"])
    rows += ["", f"  {_generator(figures)}", *_checks(evidence)]
    rows += [f"  note: {warning}" for warning in figures["warnings"]]
    if verdicts:
        rows.append("")
        for verdict in verdicts:
            rows += [f"  {verdict.status.upper():<13} {verdict.criterion}", f"  {'':<13} {verdict.reason}"]
    return rows


def _share(ratio: float | None) -> str:
    """A ratio; "-" without operations, as in a run with only queries or messages."""
    return "-" if ratio is None else format_ratio(ratio)


def _failures(kinds: Mapping[str, int]) -> list[str]:
    """The failures by kind, the most frequent kind first."""
    shown = list(kinds.items())[:_KINDS_SHOWN]
    rows = [f"  {'':<16}{format_number(count):>10}   {kind[:_KIND_WIDTH]}" for kind, count in shown]
    if len(kinds) > len(shown):
        rows.append(f"  {'':<29}and {len(kinds) - len(shown)} more kinds")
    return rows


def _labels(by_label: Mapping[str, Any]) -> list[str]:
    if len(by_label) < 2:
        return []
    busiest = sorted(by_label.items(), key=lambda item: -item[1]["operations"])
    rows = ["", f"  {'by label':<46}{'operations':>12}{'failed':>10}{'p50':>10}{'p95':>10}{'p99':>10}"]
    for label, figures in busiest[:_LABELS_SHOWN]:
        times = figures["response_time"]
        rows.append(
            f"  {label[:45]:<46}{format_number(figures['operations']):>12}{format_number(figures['failed']):>10}"
            + "".join(f"{_time(times.get(name)):>10}" for name in ("p50", "p95", "p99"))
        )
    if len(busiest) > _LABELS_SHOWN:
        rows.append(f"  and {len(busiest) - _LABELS_SHOWN} more")
    return rows


def _regions(by_region: Mapping[str, Any]) -> list[str]:
    """The figures by region; nothing without regions."""
    if not by_region:
        return []
    rows = ["", f"  {'by region':<46}{'operations':>12}{'errors':>10}{'median':>10}{'p95':>10}"]
    for region, figures in by_region.items():
        times = figures["response_time"]
        rows.append(
            f"  {region[:45]:<46}{format_number(figures['operations']):>12}"
            f"{format_ratio(figures['error_rate']):>10}"
            + "".join(f"{_time(times.get(name)):>10}" for name in ("p50", "p95"))
        )
    return rows


def _generator(figures: Mapping[str, Any]) -> str:
    generator, held = figures["generator"], figures["held"]
    parts = [f"generator {generator['health']}"]
    if held:
        parts.append(f"held {format_number(held['mean'])} of {format_number(held['stated'])} users")
    if generator["loop_lag_p99"] is not None:
        parts.append(f"loop lag p99 {format_seconds(generator['loop_lag_p99'])}")
    parts.append(f"{generator['workers']} worker{'s' if generator['workers'] > 1 else ''}")
    parts.append(
        f"{format_number(generator['cpu_seconds'])} s of CPU, {format_bytes(generator['peak_memory_bytes'])}"
    )
    if generator["relay"]:
        parts.append(
            f"relay of the regions {format_number(generator['relay']['cpu_seconds'])} s of CPU, "
            f"late p99 {format_seconds(generator['relay']['late_p99'])}"
        )
    return " · ".join(parts + list(generator["reasons"]))


def _checks(evidence: Evidence) -> list[str]:
    """The health checks of the generator: for each the value and its two bounds."""
    checks = evidence.health(evidence.window or evidence.whole).checks
    figures: list[tuple[str, Callable[[CheckResult], float]]] = [
        ("measured", lambda result: result.value),
        ("warns", lambda result: result.warns_from),
        ("invalid", lambda result: result.invalid_from),
    ]
    rows = ["  " + " " * 16 + "".join(f"{result.check.title:>10}" for result in checks)]
    for title, of in figures:
        rows.append(
            f"  {title:<16}"
            + "".join(f"{format_quantity(of(result), result.check.unit):>10}" for result in checks)
        )
    return rows


def _clock(unix: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(unix))


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_seconds(seconds)
