"""`loadkit run URL`: load one address, print the results, and judge them by `--that`."""

import argparse
import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from loadkit import grammar
from loadkit.criterion import Criterion
from loadkit.drivers.http.headers import HARMLESS, RequestHeaders
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.grammar.numbers import ambiguity
from loadkit.target import Address, Target, is_loopback, masked_path
from loadkit.verdict import EXIT_CODES, Status, Verdict, exit_code
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

if TYPE_CHECKING:
    from loadkit.engine.progress import Progress
    from loadkit.judging.evidence import Evidence

__all__ = [
    "add",
    "add_outputs",
    "execute",
    "plan_of",
    "require_svg",
    "without_secrets",
    "write_json",
    "write_plot",
]

_HIDDEN = "***"
_LOW_PRIORITY = 10
"""A nice value. It leaves a tenth of a processor beside a process that could use all of it."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.epilog = (
        'example: loadkit run http://127.0.0.1:8080/ --users 50 --for 30s --that "p95 stays below 500 ms"'
    )
    command.add_argument("url", metavar="URL", help="address to load: http://127.0.0.1:8080/path")
    load = command.add_mutually_exclusive_group()
    load.add_argument(
        "--users", type=int, default=10, help="closed model: number of concurrent users (default: 10)"
    )
    load.add_argument(
        "--rate", type=_rate, help="open model: requests per second, independent of the answers"
    )
    command.add_argument(
        "--even",
        action="store_true",
        help="space the arrivals of --rate evenly (default: a Poisson process)",
    )
    command.add_argument(
        "--for", dest="hold", default="30s", help="duration of the constant load (default: 30s)"
    )
    command.add_argument(
        "--ramp", default="5s", help="duration of the ramp before it, which is not judged (default: 5s)"
    )
    command.add_argument(
        "--think", default="0", help="think time of a user after an answer: 0 or 1s..3s (default: 0)"
    )
    command.add_argument("--method", default="", help="HTTP method (default: GET, or POST with --body)")
    command.add_argument(
        "--header", action="append", default=[], metavar="K:V", help="request header (repeatable)"
    )
    command.add_argument("--body", default="", help="request body: text, or @FILE to read it from a file")
    command.add_argument("--timeout", default="10s", help="timeout of a whole request (default: 10s)")
    command.add_argument(
        "--connect-timeout", default="", help="timeout for connecting, TLS included (default: --timeout)"
    )
    command.add_argument(
        "--read-timeout", default="", help="maximum time without data from the service (default: --timeout)"
    )
    command.add_argument(
        "--ca-file",
        default="",
        metavar="PEM",
        help="CA bundle used to verify the server (default: the system's)",
    )
    command.add_argument("--cert-file", default="", metavar="PEM", help="client certificate")
    command.add_argument(
        "--key-file",
        default="",
        metavar="PEM",
        help="key of the client certificate (default: in --cert-file)",
    )
    command.add_argument(
        "--workers", type=int, help="number of load processes (default: as many as the load needs)"
    )
    command.add_argument("--seed", type=int, default=1, help="seed of the arrival schedule (default: 1)")
    command.add_argument(
        "--that",
        action="append",
        default=[],
        metavar="SENTENCE",
        help="criterion to judge (repeatable)",
    )
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="host that may be loaded besides loopback addresses (repeatable)",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("reports/runs"),
        help="folder in which the run is archived (default: reports/runs)",
    )
    add_outputs(command)


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Add the output options of commands that print figures."""
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - for standard output")
    command.add_argument(
        "--plot", metavar="FILE.svg", help="draw the percentiles of the operations' times, p50 to p99.99"
    )


def execute(options: argparse.Namespace) -> int:
    """Run the load, archive the run, judge it, and print the results."""
    criteria = [grammar.criterion(sentence) for sentence in options.that]
    require_svg(options.plot)
    target = target_of(options.url, options.allow_host)
    plan = plan_of(options)
    target = replace(
        target,
        ca_file=options.ca_file,
        cert_file=options.cert_file,
        key_file=options.key_file,
        connect_timeout=_seconds(options.connect_timeout) if options.connect_timeout else math.inf,
        read_timeout=_seconds(options.read_timeout) if options.read_timeout else math.inf,
    )
    seconds = plan.seconds
    level = f"{plan.workload.peak:g} {'users' if plan.workload.model is Model.CLOSED else 'requests/s'}"
    print(f"{level} on {Address(options.url)} for {seconds:g} s", file=sys.stderr)
    # Import now only what the load needs. Import the rest after the load has begun.
    from loadkit.engine.run import run
    from loadkit.live import terminal as live

    with live.watcher(level) as tell, _imported_meanwhile(_needed_afterwards(options)) as begin_to_import:

        def watch(now: "Progress") -> None:
            begin_to_import()
            tell(now)

        done = run(plan, target, root=Path.cwd(), workers=options.workers, watch=watch)

    from loadkit.judging.evidence import Evidence
    from loadkit.recording import archive
    from loadkit.reports import summary, table

    done.plan = without_secrets(plan)
    folder = None
    try:
        folder = archive.save(done, options.out)
    except ConfigurationError as error:
        # The run in memory is complete, so it is judged without being archived.
        print(error, file=sys.stderr)
    evidence = Evidence(done)
    verdicts = _judged(criteria, evidence) if criteria else []
    figures = summary.summarise(evidence)
    if options.json:
        write_json(figures, verdicts, options.json)
    if options.plot:
        write_plot(evidence, options.plot)
    if options.json != "-":
        print("\n".join(table.lines(evidence, figures, verdicts)))
        if folder:
            print(f"archived in {folder}; judge it again with: loadkit judge {done.id}")
    if verdicts:
        code = exit_code(verdict.status for verdict in verdicts)
    else:
        code = 0 if figures["throughput"] else EXIT_CODES[Status.INCONCLUSIVE]
    return code if folder else code or 2


def _judged(criteria: Sequence[Criterion], evidence: "Evidence") -> list[Verdict]:
    from loadkit.judging import judge

    return [judge.judge(criterion, evidence) for criterion in criteria]


def _needed_afterwards(options: argparse.Namespace) -> list[str]:
    """The modules that archive, judge and show a run."""
    return [
        "loadkit.recording.archive",
        "loadkit.reports.table",
        *(["loadkit.judging.judge", "scipy.special"] if options.that else []),
        *(["loadkit.reports.charts", "matplotlib.backends.backend_svg"] if options.plot else []),
    ]


@contextmanager
def _imported_meanwhile(modules: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Import modules in a thread, which starts at the first call of the yielded function.

    On exit, the thread has ended if it was started.
    """
    thread = threading.Thread(target=_import, args=(modules,))

    def begin() -> None:
        if thread.ident is None:
            thread.start()

    try:
        yield begin
    finally:
        if thread.ident is not None:
            thread.join()


def _import(modules: Sequence[str]) -> None:
    if sys.platform == "linux":  # each thread has its own priority there; the load comes first
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
    for module in modules:
        import_module(module)


def target_of(url: str, allowed: Sequence[str]) -> Target:
    """The target of a URL, which must be a loopback address or a host in `allowed`.

    Raises:
        ConfigurationError: it is not a URL with http or https and a host, or it has credentials.
        NotAllowedError: the host is not allowed.

    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} and parts.port != 0 else None
    except ValueError:  # the port is not a number, or a bracket is not closed
        host = None
    if not host:
        raise ConfigurationError(
            f'cannot read "{Address(url)}" as an address; expected such as http://127.0.0.1:8080/path'
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"the address {Address(url)} contains a user name or password, which would not be sent; "
            'expected a header: --header "Authorization: Basic …"'
        )
    if not is_loopback(host) and host not in allowed:
        raise NotAllowedError(
            f"load on {host} is not allowed; if you are permitted to load it: --allow-host {host}"
        )
    return Target(name="address", base=f"{parts.scheme}://{parts.netloc}")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options state."""
    parts = urlsplit(options.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    arguments = {"path": path, "method": options.method or ("POST" if options.body else "GET")}
    # Headers are arguments of the journey too. Their capitals distinguish them from the others.
    arguments |= dict(_header(text) for text in options.header)
    if options.body:
        arguments["body"] = _body(options.body)
    low, _, high = options.think.partition("..")
    think = Think(_seconds(low), _seconds(high or low))
    level = options.rate if options.rate is not None else float(options.users)
    if not 0 < level < math.inf:
        raise ConfigurationError(f"cannot run a load of {level:g}; expected such as --users 10 or --rate 100")
    if think.low > think.high:
        raise ConfigurationError(
            f"--think {options.think}: the first time is longer than the second; expected such as 1s..3s"
        )
    optional = ("--connect-timeout", options.connect_timeout), ("--read-timeout", options.read_timeout)
    given = (each for each in optional if each[1])
    for name, text in (("--for", options.hold), ("--timeout", options.timeout), *given):
        if not _seconds(text):
            raise ConfigurationError(f"{name} {text}: expected a time above 0, such as {name} 10s")
    if options.even and options.rate is None:
        raise ConfigurationError(
            "--even spaces arrivals, but users do not arrive; expected such as --rate 100 --even"
        )
    if options.workers is not None and options.workers < 1:
        raise ConfigurationError(f"--workers {options.workers}: expected at least 1, such as --workers 2")
    return Plan.of(
        "address",
        Workload(
            model=Model.CLOSED if options.rate is None else Model.REQUESTS,
            stages=(Stage(_seconds(options.ramp), level), Stage(_seconds(options.hold), level)),
            mix=(MixEntry("loadkit.journey:fetch", 1.0, arguments=tuple(sorted(arguments.items()))),),
            think=think,
            is_poisson=not options.even,
        ),
        seed=options.seed,
        timeout=_seconds(options.timeout),
        cache="as it is",
    )


def without_secrets(plan: Plan) -> Plan:
    """The plan as archived: without credentials in the query, in headers or in the body."""
    return plan.with_workloads(
        lambda load: replace(load, mix=tuple(_entry_without_secrets(entry) for entry in load.mix))
    )


def _entry_without_secrets(entry: MixEntry) -> MixEntry:
    arguments = tuple((name, _without_secret(name, value)) for name, value in entry.arguments)
    return replace(entry, arguments=arguments)


def _without_secret(name: str, value: str) -> str:
    match name:
        case "path":
            return masked_path(value)
        case "body":
            return f"{_HIDDEN} ({len(value.encode())} bytes)"
        case "method":
            return value
        case _:
            return value if name.lower() in HARMLESS else _HIDDEN


def write_json(figures: Mapping[str, Any], verdicts: Sequence[Verdict], where: str) -> None:
    """Write JSON (`loadkit/reports/run.schema.json`) to a file, or to standard output for "-"."""
    from loadkit.reports import summary

    data = {**figures, "verdicts": [summary.verdict_json(verdict) for verdict in verdicts]}
    text = json.dumps(data, indent=2, allow_nan=False)
    if where == "-":
        print(text)
        return
    try:
        Path(where).write_text(text + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write {where}: {error.strerror}") from None


def require_svg(file: str | None) -> None:
    """Refuse a plot that is not SVG, before any load.

    Raises:
        ConfigurationError: the file's name does not end in ``.svg``.

    """
    if file and not file.endswith(".svg"):
        raise ConfigurationError(f"--plot {file}: expected an SVG file, such as percentiles.svg")


def write_plot(evidence: "Evidence", file: str) -> None:
    """Draw the percentiles of response and service time.

    Raises:
        ConfigurationError: the file cannot be written.

    """
    from loadkit.reports import charts

    try:
        Path(file).write_bytes(charts.percentiles(evidence, evidence.window))
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None


def _rate(text: str) -> float:
    """A rate option. A number with two readings is refused, as in sentences."""
    ambiguous = ambiguity(text)
    if ambiguous is not None:
        raise argparse.ArgumentTypeError(f'cannot read "{ambiguous[0]}"; {ambiguous[1]}')
    return float(text)


def _seconds(text: str) -> float:
    """The seconds of a duration option: a bare 0, or a number with its unit."""
    return 0.0 if text.strip() == "0" else float(grammar.read("duration", text))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        # The text may be a credential whose name was forgotten, so the message does not repeat it.
        raise ConfigurationError(
            '--header: expected a name, a colon and a value, such as "Accept: application/json"'
        )
    name, value = name.strip(), value.strip()
    try:
        RequestHeaders({name: value})
    except UnicodeEncodeError:
        raise ConfigurationError(
            f'--header "{name}": expected Latin-1 characters only, such as "Accept: application/json"'
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"--header: {error}") from None
    return name.title(), value


def _body(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the body from {text[1:]}: {error}") from None
