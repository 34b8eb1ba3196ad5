"""What a received message and an idle connection cost, with each tool."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench.message_server import MessageServer, message_server
from tests.bench.paper import medians, row
from tests.bench.tools import Load, Tool, measured

__all__ = ["costs", "message_chart", "message_table", "message_tools"]

CONNECTIONS, RATE = 1000, 10
"""Connections, and messages per second that each of them receives."""
_LESS = 1
"""The rate for a tool that does not manage the other."""
_FEW, _MANY = 1000, 10_000
"""Idle connections; their difference in memory is that of the connections alone."""
_IDLE_TOOLS = ("loadkit", "websockets asyncio client", "picows", "aiohttp")
_AIMS = {
    "websockets asyncio client": 0.45,
    "websockets asyncio client, asyncio's own loop": 0.45,
    "picows": 1.0,
}
"""At most so many times the other's CPU time per message."""
_MOST_IDLE = 10_000
"""Bytes of an idle connection above its socket."""


def message_tools(everybody: Iterable[Tool], cache: Path) -> list[Tool]:
    """The tools that hold connections and receive messages; installed by `tools`."""
    known = {tool.name: tool for tool in everybody}
    here, python = str(Path(__file__).parent), str(cache / "bin" / "python")
    bin_folder = cache / "bin"
    load = ("{url}", "{users}", "{seconds}")
    own = known["loadkit"]
    node, artillery = known["Artillery"].command[:2]
    return [
        replace(own, command=(sys.executable, "-m", "tests.bench.loadkit_messages", *load)),
        *(
            Tool(
                name,
                (python, "-m", "tests.bench.message_clients", client, *load),
                _version(python, client.partition("-")[0]),
            )
            for name, client in (
                ("websockets asyncio client", "websockets"),
                ("websockets asyncio client, asyncio's own loop", "websockets-asyncio"),
                ("picows", "picows"),
                ("aiohttp", "aiohttp"),
            )
        ),
        replace(
            known["Locust FastHttpUser"],
            name="Locust with websocket-client",
            command=(
                *(str(bin_folder / "locust"), "-f", f"{here}/message_locustfile.py", "--headless"),
                *("--only-summary", "-u", "{users}", "-r", "{users}", "-t", "{seconds}s", "-H", "{url}"),
            ),
        ),
        replace(
            known["k6"],
            command=(
                *(str(bin_folder / "k6"), "run", "--quiet", "--no-usage-report", "--vus", "{users}"),
                *("--iterations", "{users}", "--duration", "{seconds}s", f"{here}/messages.js"),
            ),
        ),
        replace(
            known["Artillery"],
            name="Artillery, which reads no message",
            command=(node, artillery, "run", f"{here}/artillery/messages.yml"),
        ),
    ]


def _version(python: str, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version('{package}'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def costs(
    candidates: Sequence[Tool],
    out: Path,
    *,
    rounds: Callable[[Sequence[Tool]], Iterable[Tool]],
    seconds: int,
    connections: Sequence[int] = (_FEW, _MANY),
) -> dict[str, Any]:
    """Messages at a rate, as many messages as each tool takes, and idle connections.

    Args:
        candidates: the tools.
        out: folder of their logs.
        rounds: the tools in turn, several times.
        seconds: of each load.
        connections: idle connections of the loads whose memory is compared.

    """
    with message_server() as server:
        at_rate = []
        for tool in rounds(candidates):
            found = _run(tool, server, Load(CONNECTIONS, seconds), RATE, out)
            # A tool that is overloaded before it holds the connections still has a cost per message.
            at_rate.append(found or _run(tool, server, Load(CONNECTIONS, seconds), _LESS, out))
        able = {found["tool"] for found in at_rate if found and found["rate"] == RATE}
        flooded = [
            _run(tool, server, Load(CONNECTIONS, seconds), 0, out)
            for tool in rounds([tool for tool in candidates if tool.name in able])
        ]
        idle = [
            _run(tool, server, Load(each, seconds if each <= _FEW else 4 * seconds), None, out)
            for tool in candidates
            if tool.name in _IDLE_TOOLS
            for each in connections
        ]
    at_rate, flooded, idle = ([found for found in each if found] for each in (at_rate, flooded, idle))
    return {"at_rate": at_rate, "flooded": flooded, "idle": idle}


def _run(tool: Tool, server: MessageServer, load: Load, rate: int | None, out: Path) -> dict[str, Any] | None:
    """One load; None if the tool never held its connections.

    `rate`: messages per second and connection; 0 for all it takes, None for none.
    """
    server.set_rate({None: 0, 0: RATE}.get(rate, rate))
    seen: list[dict[str, float]] = []

    def messages() -> int:
        seen.append({**server.figures(), "kernel_bytes": _kernel_bytes(), "at": time.monotonic()})
        return int(seen[-1]["messages"])

    kernel = _kernel_bytes()
    log = out / f"messages-{tool.name.split()[0].strip(',')}.log"

    def is_ready() -> bool:
        is_full = server.figures()["connections"] >= load.users
        if is_full and rate == 0:
            server.flood()
        return is_full

    spent = measured(tool, server.url, load, log, messages, is_ready)
    if len(seen) < 2:
        print(f"{load.users:6d} connections  {tool.name:<34} did not hold them; see {log}", flush=True)
        return None
    if rate == 0 and not spent.has_ended:  # what the server counts then waits in the buffers of its sockets
        print(f"{load.users:6d} connections  {tool.name:<34} did not read all that it was sent", flush=True)
        return None
    cpu, received = spent.middle
    first, last = seen
    after = server.figures()
    seconds = last["at"] - first["at"]
    found = {
        "tool": tool.name,
        "rate": rate,
        "connections": last["connections"],
        "cpu_seconds": cpu,
        "messages": received,
        "microseconds": cpu / max(received, 1) * 1e6,
        "per_second": received / seconds,
        "server_share": (last["cpu_seconds"] - first["cpu_seconds"]) / seconds,
        "bytes": spent.middle_bytes,
        "kernel_bytes": last["kernel_bytes"] - kernel,
        "p95_of_the_server": after["p95"],
        **_own_figures(log),
    }
    print(
        f"{load.users:6d} connections  {tool.name:<34}{found['microseconds']:8.1f} µs per message, "
        f"{found['per_second']:,.0f} per second, {found['bytes'] / 1e6:.0f} MB",
        flush=True,
    )
    return found


def _own_figures(log: Path) -> dict[str, Any]:
    """What a client of the benchmark says of its messages, on the last line of its log."""
    lines = log.read_text().splitlines()
    if not lines or not lines[-1].startswith('{"received"'):
        return {}
    return dict(json.loads(lines[-1]))


def _kernel_bytes() -> int:
    """Memory of all TCP sockets of this machine: both ends of each connection."""
    line = next(
        each for each in Path("/proc/net/sockstat").read_text().splitlines() if each.startswith("TCP:")
    )
    words = line.split()
    return int(words[words.index("mem") + 1]) * 4096


def message_table(figures: Mapping[str, Any], versions: Mapping[str, str]) -> list[str]:
    """Markdown: the cost of a message, and the memory of a connection."""
    each = medians(figures["at_rate"], "tool", "microseconds")
    most = medians(figures["flooded"], "tool", "microseconds")
    ours = each.get("loadkit", 0.0)
    lines = [
        row(
            f"{CONNECTIONS} connections, {RATE} messages per second each",
            "version",
            "µs of CPU per message",
            "loadkit takes",
            "target, at most",
            "messages per second that saturate a core",
        ),
        "|---|---|---:|---:|---:|---:|",
    ]
    for tool in sorted(each, key=lambda name: each[name]):
        aim = _AIMS.get(tool)
        is_slow = any(found["tool"] == tool and found["rate"] != RATE for found in figures["at_rate"])
        lines.append(
            row(
                f"{tool}, at {_LESS} message per second" if is_slow else tool,
                versions[tool],
                f"{each[tool]:.1f}",
                f"{ours / each[tool]:.2f} ×" if ours and tool != "loadkit" else "",
                f"{aim:g} ×" if aim else "",
                f"{1e6 / most[tool]:,.0f}" if most.get(tool) else "",
            )
        )
    lines += ["", row("other figures", "measured", "target"), "|---|---|---|"]
    own = [each for each in figures["at_rate"] if each["tool"] == "loadkit" and each.get("p95")]
    if own:
        worst = max(own, key=lambda found: abs(found["p95"] - found["p95_of_the_server"]))
        theirs = worst["p95_of_the_server"]
        lines.append(
            row(
                f"p95 message latency at {CONNECTIONS * RATE:,} messages per second",
                f"{worst['p95'] * 1e3:.2f} ms; in the server's own log {theirs * 1e3:.2f} ms",
                f"{theirs * 1e3:.2f} ± {1 + theirs * 20:.2f} ms",
            )
        )
    by_tool: dict[str, dict[int, Mapping[str, Any]]] = {}
    for found in figures["idle"]:
        by_tool.setdefault(found["tool"], {})[int(found["connections"])] = found
    for tool, levels in by_tool.items():
        few, many = min(levels), max(levels)
        if few < many:
            size = (levels[many]["bytes"] - levels[few]["bytes"]) / (many - few)
            kernel = (levels[many]["kernel_bytes"] - levels[few]["kernel_bytes"]) / (many - few)
            lines.append(
                row(
                    f"memory of an idle connection, {few:,} to {many:,} of them: {tool}",
                    f"{size / 1e3:.1f} KB; buffers of its two sockets in the kernel {kernel / 1e3:.1f} KB",
                    f"under {_MOST_IDLE / 1e3:.0f} KB" if tool == "loadkit" else "",
                )
            )
    return [*lines, ""]


def message_chart(figures: Mapping[str, Any], path: Path) -> None:
    """The CPU time per message of each tool at the same rate, as bars."""
    from matplotlib.figure import Figure

    at_rate = [found for found in figures["at_rate"] if found["rate"] == RATE]
    each = sorted(medians(at_rate, "tool", "microseconds").items(), key=lambda item: -item[1])
    figure = Figure(figsize=(6, 2.6))
    axis = figure.subplots()
    shades = ["0.15" if tool == "loadkit" else "0.65" for tool, _ in each]
    bars = axis.barh([tool for tool, _ in each], [cost for _, cost in each], color=shades)
    axis.bar_label(bars, [f"{cost:.1f}" for _, cost in each], padding=3, fontsize=8)
    axis.set_xlabel("µs of CPU per received message", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.15)
    figure.tight_layout()
    figure.savefig(path)
