"""`loadkit env`: start, look at and stop an environment that has a control command."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from loadkit import environment
from loadkit.errors import ConfigurationError

__all__ = ["add", "execute"]

_VERBS = {
    "up": "start it, and keep it up between runs",
    "down": "stop it, every process of it",
    "status": "what runs, where, and how it is",
    "logs": "the end of a part's log: logs local postgres",
    "seed": "fill the database: seed local --events 10M",
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
        one.set_defaults(verb=verb)


def execute(options: argparse.Namespace) -> int:
    """Hand the verb to the environment's own control command."""
    chosen = environment.load(options.name, Path.cwd())
    if chosen.control is None:
        raise ConfigurationError(
            f"environments/{chosen.file.name} has no control command: it cannot be started from here"
        )
    arguments: list[str] = []
    if options.verb == "seed":
        arguments = ["--events", str(_number(options.events)), "--seed", str(options.seed)]
    elif options.verb == "logs" and options.part:
        arguments = [options.part]
    facts = chosen.control.call(options.verb, *arguments, progress=lambda line: print(line, file=sys.stderr))
    if options.json:
        print(json.dumps(facts, indent=2))
    elif options.verb == "logs":
        for part, lines in facts.items():
            print(f"--- {part}\n{lines}")
    else:
        for line in _told(facts):
            print(line)
    return 0


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
