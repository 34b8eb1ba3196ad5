"""Run a load against one URL, print the results, and judge the criteria given with --that."""

import argparse
import ipaddress
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
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.target import Address, Target, masked_path
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

_HARMLESS = {
    "Accept", "Accept-Encoding", "Accept-Language", "Cache-Control", "Content-Encoding", "Content-Type",
    "Origin", "Referer", "User-Agent",
}  # fmt: skip
"""Headers that never contain credentials: their values are saved. Of other headers only the name is."""
_HIDDEN = "***"
_LOW_PRIORITY = 10
"""Nice value: a tenth of the processor while another process uses all of it."""


def add(command: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    command.epilog = (
        'example: loadkit run http://127.0.0.1:8080/ --users 50 --for 30s --that "p95 stays below 500 ms"'
    )
    command.add_argument("url", metavar="URL")
    load = command.add_mutually_exclusive_group()
    load.add_argument(
        "--users",
        type=int,
        metavar="N",
        default=10,
        help="closed load: number of users; each waits for its response (default: 10)",
    )
    load.add_argument(
        "--rate", type=float, metavar="N", help="open load: requests per second, independent of the responses"
    )
    command.add_argument(
        "--even", action="store_true", help="with --rate: evenly spaced arrivals (default: a Poisson process)"
    )
    command.add_argument(
        "--for",
        dest="hold",
        default="30s",
        metavar="TIME",
        help="duration of the load after the ramp (default: 30s)",
    )
    command.add_argument(
        "--ramp", default="5s", metavar="TIME", help="duration of the ramp, never judged (default: 5s)"
    )
    command.add_argument(
        "--think",
        default="0",
        metavar="TIME",
        help="think time of a user after a response: 0 or 1s..3s (default: 0)",
    )
    command.add_argument(
        "--method", default="", metavar="NAME", help="HTTP method (default: GET, or POST with --body)"
    )
    command.add_argument(
        "--header", action="append", default=[], metavar="K:V", help="request header; may be repeated"
    )
    command.add_argument("--body", default="", metavar="TEXT", help="request body: text, or @file")
    command.add_argument(
        "--timeout", default="10s", metavar="TIME", help="timeout of a whole request (default: 10s)"
    )
    command.add_argument(
        "--connect-timeout", default="", metavar="TIME", help="timeout to connect (default: only --timeout)"
    )
    command.add_argument(
        "--read-timeout",
        default="",
        metavar="TIME",
        help="timeout without data from the server (default: only --timeout)",
    )
    command.add_argument(
        "--ca-file",
        default="",
        metavar="PEM",
        help="CA bundle used to verify the server (default: that of the system)",
    )
    command.add_argument("--cert-file", default="", metavar="PEM", help="client certificate")
    command.add_argument(
        "--key-file", default="", metavar="PEM", help="key of the client certificate (default: --cert-file)"
    )
    command.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="number of load processes (default: as many as the load needs)",
    )
    command.add_argument("--seed", type=int, metavar="N", default=1, help="seed of the schedule (default: 1)")
    command.add_argument(
        "--that",
        action="append",
        default=[],
        metavar="SENTENCE",
        help="criterion to judge; may be repeated",
    )
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="HOST",
        help="permit load on a host other than loopback; may be repeated",
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        default=Path("reports/runs"),
        help="folder of the runs (default: reports/runs)",
    )
    add_outputs(command)


def add_outputs(command: argparse.ArgumentParser) -> None:
    """Add the options --json and --plot to a command that prints figures."""
    command.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is standard output")
    command.add_argument(
        "--plot", metavar="FILE.svg", help="plot the percentiles of the times, from p50 to p99.99"
    )


def execute(options: argparse.Namespace) -> int:
    """Run the load, save the run, print the figures, and judge the criteria."""
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
    # Only the engine is imported before the load begins: the load starts sooner.
    from loadkit.engine.run import run
    from loadkit.live import terminal as live

    with live.watcher(level) as show, _background_import(_needed_afterwards(options)) as begin_import:

        def watch(progress: "Progress") -> None:
            begin_import()
            show(progress)

        done = run(plan, target, root=Path.cwd(), workers=options.workers, watch=watch)

    from loadkit.judging.evidence import Evidence
    from loadkit.recording import archive
    from loadkit.reports import summary, table

    done.plan = without_secrets(plan)
    folder = archive.save(done, options.out)
    evidence = Evidence(done)
    verdicts = _judged(criteria, evidence) if criteria else []
    figures = summary.summarise(evidence)
    if options.json:
        write_json(figures, verdicts, options.json)
    if options.plot:
        write_plot(evidence, options.plot)
    if options.json != "-":
        print("\n".join(table.lines(evidence, figures, verdicts)))
        print(f"saved as {folder}; to judge it again: loadkit judge {done.id}")
    if verdicts:
        return exit_code(verdict.status for verdict in verdicts)
    return 0 if figures["throughput"] else EXIT_CODES[Status.INCONCLUSIVE]


def _judged(criteria: Sequence[Criterion], evidence: "Evidence") -> list[Verdict]:
    from loadkit.judging import judge

    return [judge.judge(criterion, evidence) for criterion in criteria]


def _needed_afterwards(options: argparse.Namespace) -> list[str]:
    """The modules that save, judge and show a run."""
    return [
        "loadkit.recording.archive",
        "loadkit.reports.table",
        *(["loadkit.judging.judge", "scipy.special"] if options.that else []),
        *(["loadkit.reports.charts", "matplotlib.backends.backend_svg"] if options.plot else []),
    ]


@contextmanager
def _background_import(modules: Sequence[str]) -> Iterator[Callable[[], None]]:
    """Yield a function that starts to import modules in a thread; wait for the thread at the end."""
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
    if sys.platform == "linux":  # threads have their own priority there, and the load comes first
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)
    for module in modules:
        import_module(module)


def target_of(url: str, allowed: Sequence[str]) -> Target:
    """The target of a URL, if load on it is allowed: loopback, or a host allowed by name.

    Raises:
        ConfigurationError: not an http or https URL with a host, or it contains credentials.
        NotAllowedError: the host is neither loopback nor allowed by name.

    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.scheme in {"http", "https"} and parts.port != 0 else None
    except ValueError:  # a port that is not a number, or an unclosed bracket
        host = None
    if not host:
        raise ConfigurationError(
            f'cannot read "{Address(url)}"; expected a URL such as http://127.0.0.1:8080/path'
        )
    if "@" in parts.netloc:
        raise ConfigurationError(
            f"the URL {Address(url)} contains credentials, which would not be sent; "
            'expected a header: --header "Authorization: Basic …"'
        )
    if not _is_loopback(host) and host not in allowed:
        raise NotAllowedError(f"load on {host} is not allowed; to permit it: --allow-host {host}")
    return Target(name="address", base=f"{parts.scheme}://{parts.netloc}")


def plan_of(options: argparse.Namespace) -> Plan:
    """The plan that the options state."""
    parts = urlsplit(options.url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    arguments = {"path": path, "method": options.method or ("POST" if options.body else "GET")}
    # Headers are arguments of the journey too. Their capital letters distinguish them from its own.
    arguments |= dict(_header(text) for text in options.header)
    if options.body:
        arguments["body"] = _body(options.body)
    low, _, high = options.think.partition("..")
    think = Think(_seconds(low), _seconds(high or low))
    level = options.rate if options.rate is not None else float(options.users)
    if not 0 < level < math.inf:
        raise ConfigurationError(f"a load of {level:g} cannot run; expected such as --users 10 or --rate 100")
    if think.low > think.high:
        raise ConfigurationError(
            f"--think {options.think}: the first time is longer than the second; expected such as 1s..3s"
        )
    for name, text in (("--for", options.hold), ("--timeout", options.timeout)):
        if not _seconds(text):
            raise ConfigurationError(f"{name} {text}: expected a duration above 0, such as {name} 10s")
    if options.even and options.rate is None:
        raise ConfigurationError("--even needs an open load; expected such as --rate 100 --even")
    if options.workers is not None and options.workers < 1:
        raise ConfigurationError(f"--workers {options.workers}: expected one or more, such as --workers 2")
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
    """The plan without credentials: query, headers and body are masked before the run is saved."""
    return plan.with_workloads(
        lambda load: replace(load, mix=tuple(_entry_without_secrets(entry) for entry in load.mix))
    )


def _entry_without_secrets(entry: MixEntry) -> MixEntry:
    kept = tuple((name, _kept(name, value)) for name, value in entry.arguments)
    return replace(entry, arguments=kept)


def _kept(name: str, value: str) -> str:
    match name:
        case "path":
            return masked_path(value)
        case "body":
            return f"{_HIDDEN} ({len(value.encode())} bytes)"
        case "method":
            return value
        case _:
            return value if name in _HARMLESS else _HIDDEN


def write_json(figures: Mapping[str, Any], verdicts: Sequence[Verdict], where: str) -> None:
    """Write what `loadkit/reports/run.schema.json` describes to a file, or to standard output for "-"."""
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
    """Check before any load that a plot is an SVG file.

    Raises:
        ConfigurationError: the file has another extension.

    """
    if file and not file.endswith(".svg"):
        raise ConfigurationError(f"--plot {file}: only SVG is supported; expected such as percentiles.svg")


def write_plot(evidence: "Evidence", file: str) -> None:
    """Plot the percentiles of response and service time.

    Raises:
        ConfigurationError: the file cannot be written.

    """
    from loadkit.reports import charts

    try:
        Path(file).write_bytes(charts.percentiles(evidence, evidence.window))
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(text: str) -> float:
    """A duration option: a bare 0, else a number with its unit."""
    return 0.0 if text.strip() == "0" else float(grammar.read("duration", text))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ConfigurationError(
            f'cannot read the header "{text}"; expected such as "Accept: application/json"'
        )
    name, value = name.strip(), value.strip()
    try:
        RequestHeaders({name: value})
    except UnicodeEncodeError:
        raise ConfigurationError(
            f'--header "{name}": only Latin-1 can be sent; expected such as "Accept: application/json"'
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
