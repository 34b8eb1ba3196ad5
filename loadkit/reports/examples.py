"""The examples of a run as tables: which operations failed and how, and which took longest.

They answer what a rate leaves open: what failed, for whom, since when, and what came back.
"""

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from loadkit.criterion import Scope, ScopeKind
from loadkit.recording.examples import MOST, Example
from loadkit.recording.run import Run
from loadkit.recording.sample import OK
from loadkit.units import format_number, format_seconds

__all__ = ["lines", "of_scope", "page"]

_KINDS_SHOWN = 3
"""Kinds of failure of which the terminal shows an example."""
_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:12px;color:#1d2433}table{border-collapse:collapse;margin-bottom:20px}"
    "th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #dde2ea;vertical-align:top}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f6f9;padding:8px;max-width:900px;margin:4px 0}"
    "h2{font-size:16px;margin:8px 0}summary{cursor:pointer;color:#234b8f}"
)
_HEADINGS = ("at", "took", "user", "tenant", "region", "instance", "what was sent and what came back")


def of_scope(run: Run, scope: Scope) -> tuple[Example, ...]:
    """The examples of the operations that a scope covers."""
    return tuple(example for example in run.examples if _is_in(example, scope, run))


def lines(examples: Iterable[Example]) -> Iterator[str]:
    """One example of each of the commonest kinds of failure, for the terminal."""
    failed = [example for example in examples if example.outcome != OK]
    kinds = Counter((example.label, example.outcome) for example in failed)
    for kind, _ in kinds.most_common(_KINDS_SHOWN):
        example = next(each for each in failed if (each.label, each.outcome) == kind)
        yield (
            f"for example {example.label} at {_clock(example.at)}: {example.outcome} after "
            f"{format_seconds(example.seconds)}{_whose(example)}"
        )


def page(run: Run, scope: Scope) -> bytes:
    """An HTML page of the examples of a scope: first the failures by kind, then the slowest."""
    examples = of_scope(run, scope)
    failed = [example for example in examples if example.outcome != OK]
    by_kind: dict[tuple[str, str], list[Example]] = {}
    for example in failed:
        by_kind.setdefault((example.label, example.outcome), []).append(example)
    by_label: dict[str, list[Example]] = {}
    for example in sorted(examples, key=lambda each: -each.seconds):
        by_label.setdefault(example.label, []).append(example)
    parts = [f"<meta charset='utf-8'><style>{_STYLE}</style>"]
    parts.append(f"<h2>Failures of {html.escape(str(scope))}</h2>")
    if not by_kind:
        parts.append("<p>No operation failed.</p>")
    for (label, outcome), same in by_kind.items():
        first = min(each.at for each in same)
        heading = f"{label}: {outcome} (first at {_clock(first)}{_common(same)})"
        parts += [f"<p><b>{html.escape(heading)}</b></p>", *_table(same, run)]
    parts.append(f"<h2>The slowest of {html.escape(str(scope))}</h2>")
    for label, same in sorted(by_label.items(), key=lambda each: -each[1][0].seconds):
        parts += [f"<p><b>{html.escape(label)}</b></p>", *_table(same[:MOST], run)]
    return "\n".join(parts).encode()


def _table(examples: Sequence[Example], run: Run) -> Iterator[str]:
    yield "<table><tr>" + "".join(f"<th>{heading}</th>" for heading in _HEADINGS) + "</tr>"
    for example in examples:
        exchange = example.exchange
        cells: list[Any] = [
            _clock(example.at),
            format_seconds(example.seconds),
            example.user,
            example.tenant,
            example.region,
            exchange.instance,
        ]
        row = "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        yield f"<tr>{row}<td>{_details(example, run)}</td></tr>"
    yield "</table>"


def _details(example: Example, run: Run) -> str:
    exchange = example.exchange
    if not exchange.request:
        return html.escape(example.outcome)
    trace, template = exchange.trace, str(run.facts.get("trace_url", ""))
    shown = f"trace {trace}" if trace else ""
    if trace and template:
        url = html.escape(template.replace("{trace}", trace), quote=True)
        shown = f'<a href="{url}">trace {trace}</a>'
    answer = exchange.answer or "(no answer)"
    return (
        f"<details><summary>{html.escape(exchange.request.splitlines()[0])} → "
        f"{html.escape(answer.splitlines()[0] if example.outcome == OK else example.outcome)}</summary>"
        f"<pre>{html.escape(exchange.request)}</pre><pre>{html.escape(answer)}</pre>{shown}</details>"
    )


def _common(examples: Sequence[Example]) -> str:
    """What all examples of a kind share: one tenant, region or instance."""
    shared = [
        f"all of {what} {next(iter(values))}"
        for what, values in (
            ("tenant", {example.tenant for example in examples}),
            ("region", {example.region for example in examples}),
            ("instance", {example.exchange.instance for example in examples}),
        )
        if len(examples) > 1 and len(values) == 1 and next(iter(values))
    ]
    return "".join(f"; {each}" for each in shared)


def _whose(example: Example) -> str:
    parts = [f"user {format_number(example.user)}"]
    parts += [f"of {example.tenant}"] if example.tenant else []
    parts += [f"in {example.region}"] if example.region else []
    parts += [f"from {example.exchange.instance}"] if example.exchange.instance else []
    parts += [f"trace {example.exchange.trace}"] if example.exchange.trace else []
    return f" ({', '.join(parts)})"


def _is_in(example: Example, scope: Scope, run: Run) -> bool:
    match scope.kind:
        case ScopeKind.GROUP:
            return any(fnmatchcase(example.label, pattern) for pattern in run.groups.get(scope.name, ()))
        case ScopeKind.LABEL:
            return example.label == scope.name
        case ScopeKind.TENANT:
            return example.tenant == scope.name
        case ScopeKind.REGION:
            return example.region == scope.name
        case ScopeKind.POPULATION:
            return example.population == scope.name
        case ScopeKind.ALL | ScopeKind.INSTANCE:
            return True


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02}"
