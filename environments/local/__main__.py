"""`python -m environments.local VERB`: the environment's command line.

Every verb prints one JSON object as the last line of its output. Progress messages go to standard
error. The exit code is 0, or 2 with a one-line reason.
"""

import argparse
import asyncio
import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from environments.local import control
from environments.local.command import execute, say, verbs_of
from environments.local.database_faults import DATABASE_FAULTS
from environments.local.errors import LocalError
from environments.local.faults import FAULTS
from environments.local.layout import PROJECT, Layout
from environments.local.service.cache import CacheError, Connection
from environments.local.supervisor import DEFAULT_SEED

_START_SECONDS = 120.0  # the first start may fetch Prometheus
_HANG_SECONDS = 10.0  # without an answer; a busy machine may be slow
_LOG_LINES = 20
_LONGEST_OUTAGE = 60.0  # seconds


async def up(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Start the environment unless it is up; if some of its parts are dead, restart it."""
    if not 1 <= arguments.instances <= 16:
        raise LocalError(f"--instances {arguments.instances}: expected 1 to 16")
    if control.is_supervised(layout):
        facts = await _wait_until_up(layout, None, 0)
        if facts is not None and not _unexplained_dead(facts):
            if arguments.pgbouncer and "pgbouncer" not in facts["parts"]:
                raise LocalError("the environment is up without PgBouncer: stop it first: loadkit env down")
            return facts
        say("some parts of the environment are dead: restarting it")
        await down(layout, arguments)
    log = layout.logs / "supervisor.log"
    beginning = log.stat().st_size if log.exists() else 0
    command = [sys.executable, "-m", "environments.local.supervisor", f"--instances={arguments.instances}"]
    if arguments.owner is not None:
        command.append(f"--owner={arguments.owner}")
    if arguments.pgbouncer:
        command.append("--pgbouncer")
    process = _detach(command, log)
    facts = await _wait_until_up(layout, process, beginning)
    if facts is None:
        raise LocalError(f"the environment does not start; see {log}")
    return facts


def _detach(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a process that is detached from the terminal and from Ctrl-C."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


async def _wait_until_up(
    layout: Layout, process: "subprocess.Popen[bytes] | None", seen: int
) -> dict[str, Any] | None:
    """Show the supervisor's log from offset `seen`, and wait for the facts; None if it hangs.

    Raises LocalError, with the last line of the log, if the supervisor fails.
    """
    log = layout.logs / "supervisor.log"
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process is not None:
            with log.open() as lines:
                lines.seek(seen)
                for line in lines:
                    if not line.startswith("error: "):
                        say(line.rstrip())
                seen = lines.tell()
            if process.poll() not in (None, 0):
                raise LocalError(log.read_text().strip().splitlines()[-1].removeprefix("error: "))
        elif not control.is_supervised(layout):
            return None
        if layout.socket.exists():
            try:
                await control.ask(layout, {"verb": "ping"}, _HANG_SECONDS)
            except LocalError:
                if process is None:
                    return None
            else:
                return await control.ask(layout, {"verb": "status"}, 60.0)
        await asyncio.sleep(0.05)
    return None


def _unexplained_dead(facts: dict[str, Any]) -> bool:
    """Whether a part is dead although no fault killed it."""
    excused = set()
    if "instance-killed" in facts["faults"]:
        excused.add(facts["instances"][-1]["name"])
    if "balancer-restarted" in facts["faults"]:
        excused.add("haproxy")
    if "prometheus-stopped" in facts["faults"]:
        excused.add("prometheus")
    states = {name: part["state"] for name, part in facts["parts"].items()}
    states |= {instance["name"]: instance["state"] for instance in facts["instances"]}
    return any(state == "dead" for name, state in states.items() if name not in excused)


async def down(layout: Layout, _arguments: argparse.Namespace) -> dict[str, Any]:
    """Stop the environment; its data are kept."""
    if not control.is_supervised(layout):
        return {"up": False}
    pid = control.supervisor_pid(layout)
    os.kill(pid, signal.SIGCONT)
    for number, seconds in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while control.is_supervised(layout) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if not control.is_supervised(layout):
            return {"up": False}
    raise LocalError(f"the supervisor, process {pid}, does not end")


async def status(layout: Layout, _arguments: argparse.Namespace) -> dict[str, Any]:
    """Show the current facts of the environment."""
    if not control.is_supervised(layout):
        return {"up": False}
    return await control.ask(layout, {"verb": "status"}, 60.0)


async def logs(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Show the last lines of one part's log, or of all logs, with their paths."""
    if arguments.lines < 1:
        raise LocalError(f"--lines {arguments.lines}: expected at least 1")
    paths = {path.stem: path for path in sorted(layout.logs.glob("*.log"))}
    if arguments.part is not None:
        if arguments.part not in paths:
            raise LocalError(
                f"there is no log of {arguments.part!r}; there are: {', '.join(paths) or 'none'}"
            )
        paths = {arguments.part: paths[arguments.part]}
    return {
        "logs": {
            part: {"file": str(path), "lines": _last_lines(path, arguments.lines)}
            for part, path in paths.items()
        }
    }


def _last_lines(path: Path, count: int) -> list[str]:
    with path.open(errors="replace") as lines:
        return [line.rstrip() for line in collections.deque(lines, maxlen=count)]


async def scale(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Set the number of instances of the service."""
    return await _order(layout, {"verb": "scale", "instances": arguments.instances})


async def restart(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Restart the database: stop it, which disconnects all clients, and start it again."""
    if not 0.0 <= arguments.seconds <= _LONGEST_OUTAGE:
        raise LocalError(f"--seconds {arguments.seconds:g}: expected 0 to {_LONGEST_OUTAGE:g}")
    return await _order(layout, {"verb": "restart", "seconds": arguments.seconds})


async def fault(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Switch a fault on or off."""
    parameters = {}
    for setting in arguments.set:
        key, separator, value = setting.partition("=")
        if not separator:
            raise LocalError(f"--set {setting}: expected key=value, such as share=0.1")
        parameters[key] = value
    order = {
        "verb": "fault",
        "name": arguments.name,
        "on": arguments.switch == "on",
        "parameters": parameters,
    }
    return await _order(layout, order)


async def faults(_layout: Layout, _arguments: argparse.Namespace) -> dict[str, Any]:
    """List the faults that can be switched on."""
    for name, each in FAULTS.items():
        settings = " ".join(f"{key}={value:g}" for key, value in each.parameters.items())
        say(f"{name:20} {each.description}{f' ({settings})' if settings else ''}")
    return {
        "faults": {
            name: {"description": each.description, "parameters": each.parameters}
            for name, each in FAULTS.items()
        }
    }


async def seed(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Fill the database with exactly this number of events, and empty the cache."""
    from environments.local import seed as seeding

    if arguments.events < 1:
        raise LocalError(f"--events {arguments.events}: expected at least 1")
    facts = await _order(layout, {"verb": "status"})
    if in_database := [name for name in facts["faults"] if name in DATABASE_FAULTS]:
        raise LocalError(f"{in_database[0]} is on: switch it off first: fault {in_database[0]} off")
    began = time.monotonic()
    filled = await seeding.fill(layout, facts["database_owner"], arguments.events, arguments.seed, say)
    seconds = time.monotonic() - began
    await _empty_cache(facts)
    if filled:
        rate = arguments.events / seconds
        say(f"{arguments.events:,} events in {seconds:.1f} s: {rate:,.0f} rows/s, indexes included")
    facts = await _order(layout, {"verb": "status"})
    return {"seeded": filled, "seconds": seconds, "rows": facts["rows"], "accounts": facts["accounts"]}


async def flush(layout: Layout, _arguments: argparse.Namespace) -> dict[str, Any]:
    """Empty the cache."""
    await _empty_cache(await _order(layout, {"verb": "facts"}))
    return {"flushed": "cache"}


async def _empty_cache(facts: dict[str, Any]) -> None:
    try:
        cache = await Connection.open(facts["cache"])
        await cache.ask(b"FLUSHDB")
        cache.close()
    except CacheError as error:
        raise LocalError(f"the cache cannot be emptied: {error}") from None


async def clean(layout: Layout, arguments: argparse.Namespace) -> dict[str, Any]:
    """Remove exactly the rows that a run wrote, or the rows of all runs."""
    from environments.local.clean import clean_all, clean_run

    facts = await _order(layout, {"verb": "facts"})
    if arguments.run is not None:
        return {"run": arguments.run, "removed": await clean_run(facts["database_owner"], arguments.run)}
    removed, rows = await clean_all(facts["database_owner"])
    await _empty_cache(facts)  # its pages contain removed rows
    say(f"removing the rows of all runs: {sum(removed.values()):,} removed")
    return {"removed": removed, "rows": rows}


async def _order(layout: Layout, order: dict[str, Any]) -> dict[str, Any]:
    if not control.is_supervised(layout):
        raise LocalError("the environment is not up: python -m environments.local up")
    return await control.ask(layout, order, 120.0)


def count(text: str) -> int:
    """Read a count, such as 100000, 100_000, 100,000 or 10M."""
    digits = text.replace(",", "").replace("_", "")
    factor = {"k": 1_000, "m": 1_000_000}.get(digits[-1:].lower(), 1)
    return int(float(digits[:-1]) * factor) if factor > 1 else int(digits)


def make_parser() -> argparse.ArgumentParser:
    """The verbs and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m environments.local", description="The local environment."
    )
    verb = verbs_of(parser)
    starting = verb(up)
    starting.add_argument(
        "--owner", type=int, metavar="PID", help="stop the environment when this process ends"
    )
    starting.add_argument("--instances", type=int, default=2, metavar="N", help="number of instances (2)")
    starting.add_argument(
        "--pgbouncer", action="store_true", help="put PgBouncer in front of the address `database`"
    )
    verb(down)
    verb(status)
    reading = verb(logs)
    reading.add_argument("part", nargs="?", metavar="PART")
    reading.add_argument(
        "--lines", type=int, default=_LOG_LINES, metavar="N", help=f"lines per log ({_LOG_LINES})"
    )
    verb(scale).add_argument("instances", type=int, metavar="N")
    verb(restart).add_argument(
        "--seconds", type=float, default=0.0, metavar="S", help="how long it stays stopped (0)"
    )
    switching = verb(fault)
    switching.add_argument("name", metavar="NAME")
    switching.add_argument("switch", choices=("on", "off"))
    switching.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    verb(faults)
    filling = verb(seed)
    filling.add_argument("--events", type=count, required=True, metavar="N", help="such as 100000 or 10M")
    filling.add_argument("--seed", type=int, default=DEFAULT_SEED, metavar="S")
    verb(flush)
    runs = verb(clean).add_mutually_exclusive_group(required=True)
    runs.add_argument("--run", metavar="ID")
    runs.add_argument("--all", action="store_true", help="the rows of all runs; the seeded rows stay")
    return parser


def main() -> int:
    """Execute one verb."""
    arguments = make_parser().parse_args()
    return execute(lambda: arguments.action(Layout.current(), arguments))


if __name__ == "__main__":
    sys.exit(main())
