"""`loadkit env`: start, inspect, disturb and stop an environment that has a control command."""

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadkit.environment import environment
from loadkit.errors import ConfigurationError
from loadkit.structuring import structure
from loadkit.target import masked
from loadkit.units import format_number

__all__ = ["add", "execute"]

_VERBS = {
    "up": "start the environment; it stays up between runs",
    "down": "stop all processes of the environment",
    "status": "print the processes of the environment, their addresses, states, CPU and memory",
    "logs": "print the last lines of the logs, of all parts or one: logs local postgres --lines 100",
    "seed": "fill the database: seed local --events 10M",
    "scale": "set the number of instances: scale local 4",
    "faults": "list the faults that can be injected, with their parameters",
    "fault": "inject or remove a fault: fault local slow-share on --set share=0.1 --set delay=1",
    "clean": "delete exactly the rows that a run wrote: clean local --run 20261123-150205-ab12, or those of all runs",
}


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    verbs = command.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb, help_text in _VERBS.items():
        one = verbs.add_parser(verb, help=help_text, description=help_text)
        one.add_argument(
            "name", nargs="?", default="local", help="as in environments/NAME.toml (default: local)"
        )
        one.add_argument("--json", action="store_true", help="print the environment's report as JSON")
        if verb == "up":
            one.add_argument(
                "more",
                nargs="*",
                metavar="-- OPTION",
                help="options of the environment's own, after --: up local -- --pgbouncer",
            )
        if verb == "seed":
            one.add_argument(
                "--events", default="100k", help="number of events: 250000, 100k, 10M (default: 100k)"
            )
            one.add_argument("--seed", type=int, default=1, help="seed of the random data (default: 1)")
        if verb == "logs":
            one.add_argument("part", nargs="?", default="", help="part of the environment (default: all)")
            one.add_argument(
                "--lines", type=int, default=20, metavar="N", help="number of lines per part (default: 20)"
            )
        if verb == "scale":
            one.add_argument("instances", type=int, metavar="N", help="number of instances")
        if verb == "fault":
            one.add_argument("fault", metavar="FAULT", help="name as listed by: loadkit env faults")
            one.add_argument("switch", choices=("on", "off"), help="inject the fault, or remove it")
            one.add_argument(
                "--set",
                action="append",
                default=[],
                metavar="KEY=VALUE",
                help="set a parameter of the fault (repeatable)",
            )
        if verb == "clean":
            runs = one.add_mutually_exclusive_group(required=True)
            runs.add_argument("--run", metavar="ID", help="id of the run: its folder's name")
            runs.add_argument("--all", action="store_true", help="the rows of all runs; seeded rows stay")
        one.set_defaults(verb=verb)


def execute(options: argparse.Namespace) -> int:
    """Execute the verb with the control command of the environment."""
    chosen = environment.load(options.name, Path.cwd())
    if chosen.control is None:
        raise ConfigurationError(
            f"environments/{chosen.file.name} has no control command: loadkit cannot start it; "
            'expected such as control = ["python", "-m", "environments.local"]'
        )
    if options.verb == "seed":
        chosen.allow_seeding()
    facts: dict[str, Any] = masked(
        chosen.control.call(
            options.verb,
            *_arguments(options),
            progress=None if options.verb == "faults" else _Progress(),
            within=None,  # the user can press Ctrl-C
        )
    )
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    match options.verb:
        case "logs":
            lines = _logs(facts, chosen.name)
        case "faults":
            lines = _faults(facts["faults"])
        case _:
            lines = _status(facts)
    print("\n".join(lines))
    return 0


def _arguments(options: argparse.Namespace) -> list[str]:
    """The arguments of the control command after the verb."""
    match options.verb:
        case "seed":
            return ["--events", str(_number(options.events)), "--seed", str(options.seed)]
        case "logs":
            return ["--lines", str(options.lines), *([options.part] if options.part else [])]
        case "up":
            return list(options.more)
        case "scale":
            return [str(options.instances)]
        case "fault":
            settings = (part for each in options.set for part in ("--set", each))
            return [options.fault, options.switch, *settings]
        case "clean":
            return ["--all"] if options.all else ["--run", options.run]
        case _:
            return []


class _Progress:
    """Prints the progress of a verb; on a terminal, a line replaces the last one of the same topic.

    The topic is the text before the first colon: "seeding: 30,000 of 100,000".
    """

    def __init__(self) -> None:
        self._topic = ""

    def __call__(self, line: str) -> None:
        topic, colon, _ = line.partition(": ")
        again = bool(colon) and topic == self._topic and sys.stderr.isatty()
        self._topic = topic if colon else ""
        # Move up one line, to its start, and clear it (ECMA-48).
        print(f"\x1b[1A\r\x1b[2K{line}" if again else line, file=sys.stderr)


_MULTIPLES = {"": 1, "k": 1_000, "m": 1_000_000}
_AMOUNT = re.compile(r"(\d{1,12}|\d{1,3}(?:,\d{3}){1,3}|\d{1,3}\.\d{1,2})([kKmM]?)")
"""Digits, perhaps in groups of three, or a decimal fraction such as 2.5; then the multiple.

Three decimals are not read, because 1.000 is a thousand in many languages."""


def _number(text: str) -> int:
    """A number of events, such as 250000, 100k or 10M."""
    found = _AMOUNT.fullmatch(text)
    number = float(found[1].replace(",", "")) * _MULTIPLES[found[2].lower()] if found else math.nan
    if not number.is_integer():
        raise ConfigurationError(
            f'cannot read "{text}" as a number of events; expected such as 250000, 100k or 10M'
        )
    return int(number)


def _faults(known: Mapping[str, Any]) -> list[str]:
    """A line for each fault: its name, its description, its parameters as for `--set`."""
    width = max(map(len, known), default=0)
    return [
        " ".join(
            [
                f"{name:<{width}} ",
                fault["description"],
                *(f"{key}={value:g}" for key, value in fault["parameters"].items()),
            ]
        )
        for name, fault in known.items()
    ]


@dataclass(frozen=True, slots=True)
class _Log:
    file: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Logs:
    """The logs that a control command reports, by the name of the part."""

    logs: Mapping[str, _Log]


def _logs(facts: Any, name: str) -> list[str]:
    """The lines of the log of each part, after the path of its file."""
    known = structure(_Logs, facts, f"the control command of {name}", allow_unknown=True).logs
    if not known:
        return [f"there is no log of {name}"]
    return [
        line
        for number, (part, log) in enumerate(known.items())
        for line in (*([""] if number else []), f"{part}: {log.file}", *(log.lines or ["(empty)"]))
    ]


def _status(facts: Mapping[str, Any]) -> list[str]:
    """Facts as lines of text; a nested fact has a line for each part."""
    width = max((len(name) for name in facts), default=0)
    lines = []
    for name, fact in facts.items():
        first, *others = _parts(fact)
        lines += [f"{name:<{width}}  {first}", *(f"{'':<{width}}  {other}" for other in others)]
    return lines


def _parts(fact: Any) -> list[str]:
    """A fact as one line, or as one line for each of its parts."""
    match fact:
        case dict() if any(isinstance(each, dict | list) for each in fact.values()):
            return [f"{name}: {_one_line(each)}" for name, each in fact.items()]
        case list() if any(isinstance(each, dict | list) for each in fact):
            return [_one_line(each) for each in fact]
        case _:
            return [_one_line(fact)]


def _one_line(fact: Any) -> str:
    match fact:
        case bool():
            return "yes" if fact else "no"
        case None | "":
            return "none"
        case dict() | list() if not fact:
            return "none"
        case {"time": float(moment), **rest}:
            return ", ".join([time.strftime("%H:%M:%S", time.localtime(moment)), _one_line(rest)])
        case dict():
            return ", ".join(f"{name} {_one_line(each)}" for name, each in fact.items())
        case list():
            return ", ".join(_one_line(each) for each in fact)
        case float():
            return format_number(fact)
        case _:
            return str(fact)
