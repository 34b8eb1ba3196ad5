"""`loadkit env`: start, look at, disturb and stop an environment that has a control command."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadkit.environment import environment
from loadkit.errors import ConfigurationError

__all__ = ["add", "execute"]

_VERBS = {
    "up": "start it, and keep it up between runs",
    "down": "stop it, every process of it",
    "status": "what runs, where, and how it is",
    "logs": "the end of a part's log: logs local postgres",
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
    facts = chosen.control.call(
        options.verb, *_arguments(options), progress=None if options.verb == "faults" else _tell
    )
    if options.json:
        print(json.dumps(facts, indent=2))
    elif options.verb == "logs":
        for part, lines in facts.items():
            print(f"--- {part}\n{lines}")
    elif options.verb == "faults":
        for line in _faults(facts["faults"]):
            print(line)
    else:
        for line in _told(facts):
            print(line)
    return 0


def _arguments(options: argparse.Namespace) -> list[str]:
    """What the control command is told besides the verb."""
    match options.verb:
        case "seed":
            return ["--events", str(_number(options.events)), "--seed", str(options.seed)]
        case "logs":
            return [options.part] if options.part else []
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


def _told(facts: dict[str, Any]) -> list[str]:
    """Facts as lines for people; nested ones a line each."""
    width = max((len(name) for name in facts), default=0)
    return [f"{name:<{width}}  {_flat(value)}" for name, value in facts.items()]


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_brief(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_brief(item) for item in value)
    return str(value)


def _brief(value: Any) -> str:
    return " ".join(str(item) for item in value.values()) if isinstance(value, dict) else str(value)
