"""The benchmark's figures as a table and as a chart."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["chart", "medians", "row", "table"]

_AIMS = {  # at least so many times the other's requests per CPU-second
    100: {"k6": 6.0, "Locust FastHttpUser": 9.0, "wrk": 0.4},
    1000: {"k6": 5.0},
}
_PAUSING_AIMS = {"k6": 4.0, "Locust FastHttpUser": 5.0}
"""At least so many times less CPU time per request than the other, start and end included."""
_COSTS = (
    "CPU of the command",
    "µs each",
    "loadkit is",
    "target",
    "µs each, the load alone",
    "loadkit is",
    "peak memory",
)
_ON_OUR_TRANSPORT = "httpx on loadkit's transport"


def table(figures: Mapping[str, Any]) -> str:
    """Markdown: each part that was run, its figures beside its aims."""
    machine = figures["machine"]
    machine_line = (
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}; medians of rounds of "
        f"{figures['seconds']} s, start-up and judging counted."
    )
    lines = [machine_line, ""]
    if "speed" in figures:
        lines += _speed(figures["speed"], figures["versions"])
    if "pauses" in figures:
        lines += _pauses(figures["pauses"], figures["versions"])
    rows = []
    if "memory" in figures:
        peak = {row["tool"]: row["peak_bytes"] for row in figures["memory"]}
        rows.append(
            row(
                "peak memory, 1000 users for a minute",
                f"{peak['loadkit'] / 1e6:.0f} MB, k6 {peak['k6'] / 1e6:.0f} MB: "
                f"{peak['loadkit'] / peak['k6']:.2f} ×",
                "at most 0.5 ×",
            )
        )
    if "flat" in figures:
        early, late = figures["flat"]["late_bytes"]
        rows.append(
            row(
                "memory, 1000 users for ten minutes",
                f"{early / 1e6:.0f} MB after two minutes, {late / 1e6:.0f} MB at the end",
                "flat",
            )
        )
    if "workers" in figures:
        alone = medians(figures["workers"]["alone"], "workers", "per_second")
        nginx = medians(figures["workers"]["against_nginx"], "tool", "per_cpu_second")
        rows += [
            row(
                "two workers relative to one, without a service",
                f"{alone[2] / alone[1]:.2f} × the operations per second ({alone[2]:,.0f}, {alone[1]:,.0f})",
                "1.8 ×",
            ),
            row(
                "two workers relative to one, against nginx",
                f"{nginx['loadkit, 2 workers'] / nginx['loadkit']:.2f} × the requests per CPU-second",
                "0.95 ×",
            ),
        ]
    if "judging" in figures:
        judged = figures["judging"]
        rows += [
            row(
                f"judging {judged['samples'] / 1e6:.0f} million operations: {sentence}",
                f"{took:.2f} s",
                "under 1 s",
            )
            for sentence, took in judged["cpu_seconds"].items()
        ]
    if "quick start" in figures:
        # The least of each: whatever else the machine does adds to both, and nothing takes away.
        cpu, begins = (
            min(row[key] for row in figures["quick start"]) for key in ("cpu_seconds", "begins_after")
        )
        rows += [
            row("loadkit run URL --for 3s, one user: processor time", f"{cpu:.2f} s", "at most 1 s"),
            row("from that command to the beginning of its load", f"{begins:.2f} s", "at most 1.5 s"),
        ]
    if rows:
        lines += ["| other figures | measured | target |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def row(*cells: str) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _speed(rounds: Iterable[Mapping[str, Any]], versions: Mapping[str, str]) -> list[str]:
    lines = []
    for users, rows in _levels(rounds).items():
        speed = medians(rows, "tool", "per_cpu_second")
        memory = medians(rows, "tool", "peak_bytes")
        lines += [
            f"| {users} users | version | requests per CPU-second | µs of CPU each | loadkit is | target | peak memory |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        for tool, rate in sorted(speed.items(), key=lambda item: -item[1]):
            ratio, aim = speed.get("loadkit", 0.0) / rate, _AIMS.get(users, {}).get(tool)
            lines.append(
                f"| {tool} | {versions[tool]} | {rate:,.0f} | {1e6 / rate:.1f} | "
                f"{f'{ratio:.2f} ×' if ratio and tool != 'loadkit' else ''} | {f'{aim:g} ×' if aim else ''} | "
                f"{memory[tool] / 1e6:.0f} MB |"
            )
        lines.append("")
        if _ON_OUR_TRANSPORT in speed and "httpx" in speed:
            gain = speed[_ON_OUR_TRANSPORT] / speed["httpx"]
            lines += [
                f"{users} users of httpx: {gain:.1f} × as fast on loadkit's transport (target 12 ×).",
                "",
            ]
    return lines


def _pauses(rounds: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> list[str]:
    load = rounds[0]
    command = medians(rounds, "tool", "cpu_seconds")
    requests = medians(rounds, "tool", "requests")
    alone = medians(rounds, "tool", "middle_cpu_per_request")
    memory = medians(rounds, "tool", "peak_bytes")
    each = {tool: command[tool] / requests[tool] for tool in command}
    title = f"{load['users']} users who pause {load['low']:g} to {load['high']:g} s, {load['seconds']} s"
    lines = [
        row(title, "version", "requests", *_COSTS),
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for tool in sorted(each, key=lambda name: each[name]):
        aim = _PAUSING_AIMS.get(tool)
        ratios = [
            f"{of[tool] / of['loadkit']:.2f} ×" if tool != "loadkit" and of.get("loadkit") else ""
            for of in (each, alone)
        ]
        lines.append(
            row(
                tool,
                versions[tool],
                f"{requests[tool]:,.0f}",
                f"{command[tool]:.1f} s",
                f"{each[tool] * 1e6:.0f}",
                ratios[0],
                f"{aim:g} ×" if aim else "",
                f"{alone[tool] * 1e6:.0f}",
                ratios[1],
                f"{memory[tool] / 1e6:.0f} MB",
            )
        )
    return [*lines, ""]


def _levels(rounds: Iterable[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """The rounds by their number of users, rising."""
    levels: dict[int, list[Mapping[str, Any]]] = {}
    for row in sorted(rounds, key=lambda row: row["users"]):
        levels.setdefault(row["users"], []).append(row)
    return levels


def medians(rows: Iterable[Mapping[str, Any]], by: str, key: str) -> dict[Any, float]:
    """The medians of a figure, by the value of another."""
    found: dict[Any, list[float]] = {}
    for row in rows:
        found.setdefault(row[by], []).append(row[key])
    return {name: statistics.median(values) for name, values in found.items()}


def chart(figures: Mapping[str, Any], path: Path) -> None:
    """The speed of each tool at each number of users, as bars."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    levels = _levels(figures["speed"])
    figure, axes = plt.subplots(1, len(levels), figsize=(5 * len(levels), 3), sharex=True, squeeze=False)
    for axis, (users, rows) in zip(axes[0], levels.items(), strict=True):
        speed = sorted(medians(rows, "tool", "per_cpu_second").items(), key=lambda item: item[1])
        shades = ["0.15" if tool == "loadkit" else "0.65" for tool, _ in speed]
        bars = axis.barh([tool for tool, _ in speed], [rate for _, rate in speed], color=shades)
        axis.bar_label(bars, [f"{rate:,.0f}" for _, rate in speed], padding=3, fontsize=8)
        axis.set_title(f"{users} users", fontsize=10)
        axis.set_xlabel("requests per CPU-second", fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.2)
    figure.tight_layout()
    figure.savefig(path)
