"""`loadkit env`: start, look at, disturb and stop an environment that has a control command."""

import argparse
import json
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
    "up": "start it, and keep it up between runs",
    "down": "stop it, every process of it",
    "status": "what runs, where, and how it is",
    "logs": "the last lines of each part's log, or of one: logs local postgres --lines 100",
    "seed": "fill the database: seed local --events 10M",
    "scale": "run so many instances: scale local 4",
    "faults": "what can be made to go wrong, with its parameters",
    "fault": "make it go wrong, or right again: fault local slow-share on --set share=0.1 --set delay=1",
    "clean": "remove exactly the rows that a run wrote: clean local --run 20261123-1502-ab12",
}


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    verbs = command.add_subparsers(title="verbs", required=True, metavar="VERB")
    for verb, help_text in _VERBS.items():
        one = verbs.add_parser(verb, help=help_text, description=help_text)
        one.add_argument(
            "name", nargs="?", default="local", help="as in environments/NAME.toml (default: local)"
        )
        one.add_argument("--json", action="store_true", help="print what the environment tells, as JSON")
        if verb == "seed":
            one.add_argument("--events", default="100k", help="how many: 250000, 100k, 10M (default: 100k)")
            one.add_argument("--seed", type=int, default=1, help="fixes what is drawn (default: 1)")
        if verb == "logs":
            one.add_argument("part", nargs="?", default="", help="whose (default: all)")
            one.add_argument(
                "--lines", type=int, default=20, metavar="N", help="how many of each (default: 20)"
            )
        if verb == "scale":
            one.add_argument("instances", type=int, metavar="N", help="how many")
        if verb == "fault":
            one.add_argument("fault", metavar="FAULT", help="loadkit env faults lists them")
            one.add_argument("switch", choices=("on", "off"))
            one.add_argument(
                "--set", action="append", default=[], metavar="KEY=VALUE", help="may be given again"
            )
        if verb == "clean":
            one.add_argument("--run", required=True, metavar="ID", help="as the run's folder is called")
        one.set_defaults(verb=verb)


def execute(options: argparse.Namespace) -> int:
    """Hand the verb to the environment's own control command."""
    chosen = environment.load(options.name, Path.cwd())
    if chosen.control is None:
        raise ConfigurationError(
            f"environments/{chosen.file.name} has no control command: it cannot be started from here"
        )
    facts: dict[str, Any] = masked(
        chosen.control.call(
            options.verb, *_arguments(options), progress=None if options.verb == "faults" else _tell
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
    """What the control command is told besides the verb."""
    match options.verb:
        case "seed":
            return ["--events", str(_number(options.events)), "--seed", str(options.seed)]
        case "logs":
            return ["--lines", str(options.lines), *([options.part] if options.part else [])]
        case "scale":
            return [str(options.instances)]
        case "fault":
            settings = (part for each in options.set for part in ("--set", each))
            return [options.fault, options.switch, *settings]
        case "clean":
            return ["--run", options.run]
        case _:
            return []


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


_MULTIPLES = {"k": 1_000, "m": 1_000_000}


def _number(text: str) -> int:
    """250000, 100k, 10M."""
    digits, multiple = (text[:-1], _MULTIPLES.get(text[-1:].lower(), 1)) if text[-1:].isalpha() else (text, 1)
    try:
        return int(float(digits.replace(",", "")) * multiple)
    except ValueError:
        raise ConfigurationError(
            f'cannot read "{text}" as a number of events; 250000, 100k and 10M can be read'
        ) from None


def _faults(known: Mapping[str, Any]) -> list[str]:
    """A line for each fault: its name, what it does, its parameters as `--set` takes them."""
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
    """What a control command reports of the logs of its parts, by the name of the part."""

    logs: Mapping[str, _Log]


def _logs(facts: Any, name: str) -> list[str]:
    """The lines of each part's log below the path of its file."""
    known = structure(_Logs, facts, f"the control command of {name}", allow_unknown=True).logs
    if not known:
        return [f"there is no log of {name}"]
    return [
        line
        for number, (part, log) in enumerate(known.items())
        for line in (*([""] if number else []), f"{part}: {log.file}", *(log.lines or ["(empty)"]))
    ]


def _status(facts: Mapping[str, Any]) -> list[str]:
    """Facts as lines for people: below each other, and a line for each part of a nested one."""
    width = max((len(name) for name in facts), default=0)
    lines = []
    for name, fact in facts.items():
        first, *others = _parts(fact)
        lines += [f"{name:<{width}}  {first}", *(f"{'':<{width}}  {other}" for other in others)]
    return lines


def _parts(fact: Any) -> list[str]:
    """A fact as one line, or its parts as a line each."""
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
