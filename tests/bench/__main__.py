"""Run the benchmark and write its figures, table and chart to reports/bench/."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.bench import database, judging, messages, quick_start, workers
from tests.bench.paper import chart, table
from tests.bench.server import Server, nginx
from tests.bench.tools import Load, Tool, loadkit, measured, require, tools

_PARTS = ("speed", "pauses", "messages", "database", "memory", "workers", "judging", "quick start")
_AGAINST_NGINX = frozenset({"speed", "pauses", "memory", "flat", "workers", "quick start"})
_WITH_OTHERS = _AGAINST_NGINX | {"messages"}
"""The parts that need the other tools."""
_MEMORY_USERS = 1000
_MEMORY_SECONDS = 60
_FLAT_SECONDS = 600
_PAUSES = Load(1000, 60, 0.3, 1.3)
"""The load of users who pause, such as people do: about 1250 requests per second."""
_PAUSING = ("loadkit", "k6", "Locust FastHttpUser", "aiolocust", "Artillery")
"""The tools that are measured with it."""
_NEVER_PAUSING = ("loadkit", "k6", "Locust FastHttpUser", "wrk", "httpx", "httpx on loadkit's transport")
"""The tools that are measured without pauses."""


def main() -> None:
    """Every part that is asked for; `flat` takes ten minutes and is run only where it is."""
    options = argparse.ArgumentParser(prog="make bench", description=__doc__)
    options.add_argument("--parts", nargs="+", default=_PARTS, choices=(*_PARTS, "flat"))
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--pausing-seconds", type=int, default=_PAUSES.seconds, help="with pauses")
    options.add_argument("--users", type=int, nargs="+", default=[100, 1000])
    options.add_argument("--only", nargs="+", default=[], help="names of tools")
    options.add_argument("--out", type=Path, default=Path("reports/bench"))
    chosen = options.parse_args()
    # So that no server and no tool is left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    chosen.out.mkdir(parents=True, exist_ok=True)
    parts = frozenset(chosen.parts)
    everybody: list[Tool] = []
    if parts & _WITH_OTHERS:
        require("nginx", "wrk")
        everybody = tools(Path(".cache/bench"))
    figures: dict[str, Any] = {
        "machine": _machine(),
        "versions": {tool.name: tool.version for tool in everybody},
        "seconds": chosen.seconds,
    }
    candidates = [tool for tool in everybody if not chosen.only or tool.name in chosen.only]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if parts & _AGAINST_NGINX:
            server = stack.enter_context(nginx(folder))
            figures.update(_against_nginx(server, candidates, everybody, chosen))
        if "database" in parts:
            figures["database"] = database.costs(folder, rounds=chosen.rounds, seconds=chosen.seconds)
    if "judging" in chosen.parts:
        figures["judging"] = {
            "samples": judging.SAMPLES,
            "seconds": judging.SECONDS,
            "cpu_seconds": judging.seconds_to_judge(judging.long_run()),
        }
    if "messages" in chosen.parts:
        everyone = messages.message_tools(everybody, Path(".cache/bench"))
        figures["message versions"] = {tool.name: tool.version for tool in everyone}
        figures["messages"] = messages.costs(
            [tool for tool in everyone if not chosen.only or tool.name in chosen.only],
            chosen.out,
            rounds=lambda several: _in_turn(several, chosen.rounds),
            seconds=chosen.seconds,
        )
    (chosen.out / "bench.json").write_text(json.dumps(figures, indent=1))
    text = table(figures)
    if "messages" in figures:
        text += "\n" + "\n".join(messages.message_table(figures["messages"], figures["message versions"]))
    if "database" in figures:
        text += "\n" + "\n".join(database.database_table(figures["database"]))
    (chosen.out / "bench.md").write_text(text)
    print("\n" + text)
    if "messages" in figures:
        messages.message_chart(figures["messages"], chosen.out / "messages.svg")
    if "speed" in figures:
        chart(figures, chosen.out / "bench.svg")


def _against_nginx(
    server: Server, candidates: Sequence[Tool], everybody: Sequence[Tool], chosen: argparse.Namespace
) -> Iterator[tuple[str, Any]]:
    """The figures of the parts that load a web server, by their names."""
    if "speed" in chosen.parts:
        yield (
            "speed",
            [
                _round(tool, server, Load(users, chosen.seconds), chosen.out)
                for users in chosen.users
                for tool in _in_turn(_named(candidates, _NEVER_PAUSING), chosen.rounds)
            ],
        )
    if "pauses" in chosen.parts:
        load = replace(_PAUSES, seconds=chosen.pausing_seconds)
        yield (
            "pauses",
            [
                _round(tool, server, load, chosen.out)
                for tool in _in_turn(_named(candidates, _PAUSING), chosen.rounds)
            ],
        )
    if "memory" in chosen.parts:
        yield (
            "memory",
            [
                _round(tool, server, Load(_MEMORY_USERS, _MEMORY_SECONDS), chosen.out)
                for tool in everybody
                if tool.name in ("loadkit", "k6")
            ],
        )
    if "flat" in chosen.parts:
        yield "flat", _round(loadkit(), server, Load(_MEMORY_USERS, _FLAT_SECONDS), chosen.out)
    if "workers" in chosen.parts:
        yield (
            "workers",
            {
                "alone": [
                    {"workers": count, "per_second": workers.operations_per_second(count, chosen.seconds)}
                    for _ in range(chosen.rounds)
                    for count in (1, 2)
                ],
                "against_nginx": [
                    _round(tool, server, Load(100, chosen.seconds), chosen.out)
                    for tool in _in_turn([loadkit(), loadkit(workers=2)], chosen.rounds)
                ],
            },
        )
    if "quick start" in chosen.parts:
        yield (
            "quick start",
            [quick_start.costs(server, chosen.out / "quick-start.log") for _ in range(chosen.rounds)],
        )


def _in_turn(candidates: Sequence[Tool], rounds: int) -> Iterable[Tool]:
    """Each tool once a round; odd rounds go backwards, so that no tool always follows the same one."""
    for number in range(rounds):
        yield from candidates if number % 2 == 0 else reversed(candidates)


def _named(candidates: Iterable[Tool], names: Sequence[str]) -> list[Tool]:
    return [tool for tool in candidates if tool.name in names]


def _round(tool: Tool, server: Server, load: Load, out: Path) -> dict[str, Any]:
    before = server.requests()
    spent = measured(tool, server.url, load, out / f"{tool.name.split()[0]}.log", server.requests)
    requests = server.requests() - before - 3  # one here, and two of the measurement
    middle_cpu, middle_requests = spent.middle
    row = {
        "tool": tool.name,
        **asdict(load),
        "requests": requests,
        "cpu_seconds": spent.cpu_seconds,
        "per_cpu_second": requests / spent.cpu_seconds,
        "middle_cpu_per_request": middle_cpu / max(middle_requests - 1, 1),
        "peak_bytes": spent.peak_bytes,
        "late_bytes": spent.late_bytes,
    }
    print(
        f"{load.users:5d} users  {tool.name:<30}{row['per_cpu_second']:10,.0f} requests per CPU-second, "
        f"{spent.cpu_seconds:.1f} s of CPU, at most {spent.peak_bytes / 1e6:.0f} MB",
        flush=True,
    )
    return row


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


if __name__ == "__main__":
    sys.exit(main())
