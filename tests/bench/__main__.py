"""Run the benchmark and write its table, chart and figures to reports/bench/."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.server import nginx
from tests.bench.tools import Tool, measured, tools

_AIMS = {  # at least so many times the other's requests per CPU-second (design: "The engine")
    100: {"k6": 6.0, "Locust FastHttpUser": 9.0, "wrk": 0.4},
    1000: {"k6": 5.0},
}


def main() -> None:
    """Every tool in turn, several rounds, at each number of users."""
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=6)
    options.add_argument("--users", type=int, nargs="+", default=[100, 1000])
    options.add_argument("--only", nargs="+", default=[], help="names of tools")
    options.add_argument("--out", type=Path, default=Path("reports/bench"))
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    candidates = [tool for tool in tools(Path(".cache/bench")) if not chosen.only or tool.name in chosen.only]
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, nginx(Path(folder)) as server:
        for users in chosen.users:
            for number in range(chosen.rounds):
                # Odd rounds go backwards, so that no tool always follows the same one.
                for tool in candidates if number % 2 == 0 else reversed(candidates):
                    rounds.append(_round(tool, server, users, chosen.seconds, chosen.out))
                    print(
                        "{users:5d} users  {tool:<30}{per_cpu_second:10.0f} per CPU-second".format(
                            **rounds[-1]
                        ),
                        flush=True,
                    )
    figures = {
        "machine": _machine(),
        "versions": {tool.name: tool.version for tool in candidates},
        "rounds": rounds,
    }
    (chosen.out / "bench.json").write_text(json.dumps(figures, indent=1))
    table = _table(figures)
    (chosen.out / "bench.md").write_text(table)
    print("\n" + table)
    _chart(figures, chosen.out / "bench.svg")


def _round(tool: Tool, server: Any, users: int, seconds: int, out: Path) -> dict[str, Any]:
    before = server.requests()
    spent = measured(tool, server.url, users, seconds, out / f"{tool.name.split()[0]}.log")
    requests = server.requests() - before - 1
    return {
        "tool": tool.name,
        "users": users,
        "requests": requests,
        "cpu_seconds": spent.cpu_seconds,
        "peak_bytes": spent.peak_bytes,
        "per_cpu_second": requests / spent.cpu_seconds,
    }


def _machine() -> dict[str, Any]:
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _medians(figures: dict[str, Any], users: int, key: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in figures["rounds"]:
        if row["users"] == users:
            found.setdefault(row["tool"], []).append(row[key])
    return {tool: statistics.median(values) for tool, values in found.items()}


def _table(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    lines = [
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}; medians of the rounds.",
        "",
    ]
    for users in sorted({row["users"] for row in figures["rounds"]}):
        speed, memory = _medians(figures, users, "per_cpu_second"), _medians(figures, users, "peak_bytes")
        own = speed.get("loadkit")
        lines += [
            f"| {users} users | version | requests per CPU-second | µs of CPU each | loadkit is | aim | peak memory |",
            "|---|---|---:|---:|---:|---:|---:|",
        ]
        for tool, rate in sorted(speed.items(), key=lambda item: -item[1]):
            ratio = f"{own / rate:.2f} ×" if own and tool != "loadkit" else ""
            aim = _AIMS.get(users, {}).get(tool)
            lines.append(
                f"| {tool} | {figures['versions'][tool]} | {rate:,.0f} | {1e6 / rate:.1f} | {ratio} | "
                f"{f'{aim:g} ×' if aim else ''} | {memory[tool] / 1e6:.0f} MB |"
            )
        lines.append("")
    return "\n".join(lines)


def _chart(figures: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    levels = sorted({row["users"] for row in figures["rounds"]})
    figure, axes = plt.subplots(1, len(levels), figsize=(5 * len(levels), 3), squeeze=False)
    for axis, users in zip(axes[0], levels, strict=True):
        speed = sorted(_medians(figures, users, "per_cpu_second").items(), key=lambda item: item[1])
        bars = axis.barh([tool for tool, _ in speed], [rate for _, rate in speed], color="0.55")
        for bar, (tool, _) in zip(bars, speed, strict=True):
            bar.set_color("0.15" if tool == "loadkit" else "0.65")
        axis.bar_label(bars, [f"{rate:,.0f}" for _, rate in speed], padding=3, fontsize=8)
        axis.set_title(f"{users} users", fontsize=10)
        axis.set_xlabel("requests per CPU-second", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.2)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
