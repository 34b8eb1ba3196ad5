"""`loadkit run URL`: put load on one address, print what came back; with `--that`, judge it."""

import argparse
import ipaddress
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadkit import archive, judge, live, phrases, steady, summary, table
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.record import Run
from loadkit.run import run
from loadkit.target import Target
from loadkit.verdict import EXIT_CODES, Status, Verdict, exit_code
from loadkit.workload import MixEntry, Model, Plan, Stage, Think, Workload

__all__ = ["add", "execute", "plan_of", "without_secrets"]

_CREDENTIAL = re.compile("auth|cookie|key|token|secret|session|password|signature", re.IGNORECASE)
"""What the names of headers with secrets in them have in common."""


def add(command: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    command.epilog = (
        'example: loadkit run http://127.0.0.1:8080/ --users 50 --for 30s --that "p95 stays below 500 ms"'
    )
    command.add_argument("url", metavar="URL")
    load = command.add_mutually_exclusive_group()
    load.add_argument(
        "--users", type=int, default=10, help="closed load: each waits for its answer (default: 10)"
    )
    load.add_argument(
        "--rate", type=float, help="open load: requests arriving per second, whatever the answers"
    )
    command.add_argument("--for", dest="hold", default="30s", help="how long the load holds (default: 30s)")
    command.add_argument("--ramp", default="5s", help="over how long it arrives; never judged (default: 5s)")
    command.add_argument(
        "--think", default="0", help="pause of a user after an answer: 0 or 1s..3s (default: 0)"
    )
    command.add_argument("--method", default="", help="default: GET, or POST with --body")
    command.add_argument("--header", action="append", default=[], metavar="K:V", help="may be given again")
    command.add_argument("--body", default="", help="text, or @file")
    command.add_argument("--timeout", default="10s", help="for a whole request (default: 10s)")
    command.add_argument("--workers", type=int, help="load processes (default: as many as the load needs)")
    command.add_argument("--seed", type=int, default=1, help="fixes the schedule (default: 1)")
    command.add_argument(
        "--that", action="append", default=[], metavar="SENTENCE", help="a criterion to judge"
    )
    command.add_argument(
        "--allow-host", action="append", default=[], metavar="HOST", help="may be loaded too"
    )
    command.add_argument("--out", type=Path, default=Path("reports/runs"), help="where the run is kept")
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")


def execute(options: argparse.Namespace) -> int:
    """Put the load on, keep the run, print and judge."""
    criteria = [phrases.criterion(sentence) for sentence in options.that]
    target, plan = target_of(options.url, options.allow_host), plan_of(options)
    seconds = plan.workload.seconds
    level = f"{plan.workload.peak:g} {'users' if plan.workload.model is Model.CLOSED else 'requests/s'}"
    print(f"{level} on {options.url} for {seconds:g} s", file=sys.stderr)
    with live.watcher(level) as watch:
        done = run(plan, target, root=Path.cwd(), workers=options.workers, watch=watch)
    done.plan = without_secrets(plan)
    folder = archive.save(done, options.out)
    verdicts = [judge.judge(criterion, done) for criterion in criteria]
    if options.json:
        write_json(done, verdicts, options.json)
    if options.json != "-":
        print("\n".join(table.lines(done, verdicts)))
        print(f"kept as {folder}: loadkit judge {done.id} judges it again")
    if verdicts:
        return exit_code(verdict.status for verdict in verdicts)
    return 0 if table.has_answers(done) else EXIT_CODES[Status.INCONCLUSIVE]


def target_of(url: str, allowed: Sequence[str]) -> Target:
    """What a URL names, if load may be put on it: loopback, or a host that was allowed by name.

    Raises:
        ConfigurationError: it is no URL with http or https and a host.
        NotAllowedError: it is elsewhere.

    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f'cannot read "{url}" as an address; http://127.0.0.1:8080/path can be read')
    if not _is_loopback(parts.hostname) and parts.hostname not in allowed:
        raise NotAllowedError(
            f"load on {parts.hostname} is not allowed; if it is yours to load: --allow-host {parts.hostname}"
        )
    return Target(name="address", base=f"{parts.scheme}://{parts.netloc}")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options state."""
    parts = urlsplit(options.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    arguments = {"path": path, "method": options.method or ("POST" if options.body else "GET")}
    arguments |= dict(_header(text) for text in options.header)
    if options.body:
        arguments["body"] = _body(options.body)
    low, _, high = options.think.partition("..")
    think = Think(_seconds(low), _seconds(high or low))
    level = options.rate if options.rate is not None else float(options.users)
    if level <= 0:
        raise ConfigurationError(f"a load of {level:g} is none; --users 10 or --rate 100 is one")
    return Plan(
        environment="address",
        workload=Workload(
            model=Model.CLOSED if options.rate is None else Model.REQUESTS,
            stages=(Stage(_seconds(options.ramp), level), Stage(_seconds(options.hold), level)),
            mix=(MixEntry("loadkit.journey:fetch", 1.0, arguments=tuple(sorted(arguments.items()))),),
            think=think,
        ),
        seed=options.seed,
        timeout=_seconds(options.timeout),
        cache="as it is",
    )


def without_secrets(plan: Plan) -> Plan:
    """The plan as it is kept: of headers that may let somebody in, only the name."""
    mix = tuple(
        replace(
            entry,
            arguments=tuple(
                (name, "***" if _CREDENTIAL.search(name) else value) for name, value in entry.arguments
            ),
        )
        for entry in plan.workload.mix
    )
    return replace(plan, workload=replace(plan.workload, mix=mix))


def write_json(done: Run, verdicts: Sequence[Verdict], where: str) -> None:
    """Write what `loadkit/run.schema.json` describes to a file, or to standard output for "-"."""
    data: dict[str, Any] = summary.summarise(done, steady.window(done))
    data["verdicts"] = [summary.verdict_json(verdict) for verdict in verdicts]
    text = json.dumps(data, indent=2, allow_nan=False)
    if where == "-":
        print(text)
        return
    try:
        Path(where).write_text(text + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {where}: {error.strerror}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(text: str) -> float:
    """A duration option: a bare 0, else a number with its unit."""
    return 0.0 if text.strip() == "0" else float(phrases.read("duration", text))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError(f'cannot read the header "{text}"; "Accept: application/json" can be read')
    return name.strip(), value.strip()


def _body(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the body from {text[1:]}: {error}") from None
