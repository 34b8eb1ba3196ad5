"""The examples of a run as text and tables: which operations failed and how, and the slowest.

They show what a rate does not: what failed, for whom, since when, and what the answer was.
"""

import html
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from loadkit.recording.examples import Example
from loadkit.recording.run import Run
from loadkit.recording.sample import OK
from loadkit.recording.slices import label_series
from loadkit.recording.timing import timing_of
from loadkit.reports.causes import Causes, FailureKind, TimingCauses
from loadkit.reports.slow import SlowOperations
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.verdict import Window

__all__ = ["lines", "page", "sentences"]

_KINDS_SHOWN = 3
"""The number of kinds of failure for which the terminal and a description show an example."""
_LABELS_SHOWN = 3
_STYLE = (
    "body{font:14px/1.4 sans-serif;margin:12px;color:#1d2433}table{border-collapse:collapse;margin-bottom:20px}"
    "th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid #dde2ea;vertical-align:top}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f4f6f9;padding:8px;max-width:900px;margin:4px 0}"
    "h1{font-size:18px;margin:8px 0}h2{font-size:16px;margin:16px 0 8px}summary{cursor:pointer;color:#234b8f}"
    ".when,.trace{white-space:nowrap}"
)
_HEADINGS = (
    "at",
    "took",
    "user",
    "tenant",
    "region",
    "instance",
    "trace",
    "request and answer",
)


def lines(run: Run, window: Window) -> Iterator[str]:
    """One example of each of the most frequent kinds of failure in a window, for the terminal."""
    kept: dict[tuple[str, str, str], list[Example]] = defaultdict(list)
    for each in run.examples:
        if each.outcome != OK:
            kept[each.timing, each.label, each.outcome].append(each)
    # Few examples of each kind are kept, so their number does not show how frequent the kind is.
    counts = Counter({kind: len(same) for kind, same in kept.items()})
    for timing in map(timing_of, {timing for timing, _, _ in kept}):
        labels = {label_series(label, timing): label for label in run.table.labels(timing)}
        for series, kinds in run.table.failures(labels, window.start, window.end).items():
            counts |= Counter({(timing.key, labels[series], kind): number for kind, number in kinds.items()})
    for kind in sorted(kept, key=lambda kind: -counts[kind])[:_KINDS_SHOWN]:
        yield f"for example {_format_example(kept[kind][0])}"


def sentences(causes: Causes) -> Iterator[str]:
    """What failed, for whom and since when, with examples; the most frequent kinds come first."""
    if causes.slow is not None:
        yield _slow_sentence(causes.slow, causes.run, causes.slow_whom)
    for failure in causes.failures[:_KINDS_SHOWN]:
        yield _sentence(failure, causes.run)
        if failure.examples:
            yield f"for example {_format_example(failure.examples[0], causes.run)}"
    if len(causes.failures) > _KINDS_SHOWN:
        yield f"and {len(causes.failures) - _KINDS_SHOWN} more kinds of failure"
    if causes.failures and causes.slow is None:
        return  # the criterion concerns failures: the times of other operations would only distract
    for key in causes.timings:
        slowest = causes.by_timing[key].slowest if key in causes.by_timing else ()
        if slowest:
            yield f"the longest {causes.by_timing[key].timing.name}: {_format_example(slowest[0], causes.run)}"


def page(causes: Causes) -> bytes:
    """An HTML page of a scope's examples: the failures by kind, then the slowest of each timing."""
    run = causes.run
    start = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{_escaped(causes.scope)}</title><style>{_STYLE}</style>",
        f"<h1>Failures and slowest operations: {_escaped(causes.scope)}</h1>",
        f"<p>Times count from the start of the load, {start}. The time of day is in parentheses.</p><h2>Failures</h2>",
    ]
    if causes.failures:
        parts += [_overview(causes.failures, run)]
    else:
        parts.append("<p>No operation failed.</p>")
    if causes.slow is not None:
        parts.append(f"<p><b>{_escaped(_slow_sentence(causes.slow, run, causes.slow_whom))}</b></p>")
    shown = [failure for failure in causes.failures if failure.examples]
    for failure in shown:
        heading = f"{failure.kind}: {failure.amount}, {_span(failure, run)}"
        # One example is expanded, so that a reader sees what an example shows.
        table = _table(failure.examples, run, opens_first=failure is shown[0])
        parts += [f"<p><b>{_escaped(heading)}</b></p>", *table]
    for key, each in causes.by_timing.items():
        if each.slowest:
            is_own = key in causes.timings
            parts += _slowest(each, run, is_open=is_own)
    return "\n".join(parts).encode()


def _overview(failures: Sequence[FailureKind], run: Run) -> str:
    headings = ("what", "how often", "since", "for whom", "where")
    rows = [
        (
            failure.kind,
            failure.amount,
            _span(failure, run),
            failure.whom or "not known",
            _labels(failure),
        )
        for failure in failures
    ]
    return (
        "<table><tr>" + "".join(f"<th>{each}</th>" for each in headings) + "</tr>"
        + "".join("<tr>" + "".join(f"<td>{_escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        + "</table>"
    )  # fmt: skip


def _slowest(each: TimingCauses, run: Run, *, is_open: bool) -> Iterator[str]:
    """The slowest of a timing by label; collapsed if the criterion concerns another timing."""
    by_label: dict[str, list[Example]] = {}
    for example in each.slowest:
        by_label.setdefault(example.label, []).append(example)
    title = f"Slowest operations: {each.timing.name}"
    yield f"<h2>{_escaped(title)}</h2>" if is_open else f"<details><summary>{_escaped(title)}</summary>"
    for label, same in by_label.items():
        yield f"<p><b>{_escaped(label)}</b></p>"
        yield from _table(same, run)
    if not is_open:
        yield "</details>"


def _table(examples: Sequence[Example], run: Run, *, opens_first: bool = False) -> Iterator[str]:
    has_region = any(example.region for example in examples)
    headings = [each for each in _HEADINGS if has_region or each != "region"]
    yield "<table><tr>" + "".join(f"<th>{heading}</th>" for heading in headings) + "</tr>"
    for place, example in enumerate(examples):
        exchange = example.exchange
        cells: list[Any] = [
            _took(example),
            "" if example.user is None else example.user,
            example.tenant,
            *([example.region] if has_region else []),
            exchange.instance,
        ]
        row = f"<td class='when'>{_escaped(_moment(example.at, run))}</td>"
        row += "".join(f"<td>{_escaped(cell)}</td>" for cell in cells)
        details = _details(example, is_open=opens_first and place == 0)
        yield f"<tr>{row}<td class='trace'>{_trace(example, run)}</td><td>{details}</td></tr>"
    yield "</table>"


def _trace(example: Example, run: Run) -> str:
    trace, template = example.exchange.trace, str(run.facts.get("trace_url", ""))
    if not trace:
        return ""
    if not template:
        return f"<span title='{trace}'>{trace[:8]}…</span>"
    url = html.escape(template.replace("{trace}", trace), quote=True)
    return f'<a href="{url}" title="{trace}" target="_blank" rel="noreferrer">{trace[:8]}…</a>'


def _details(example: Example, *, is_open: bool) -> str:
    exchange = example.exchange
    if not exchange.request:
        return _escaped(example.outcome)
    answer = exchange.answer or "(no answer)"
    trace = f"trace {exchange.trace}" if exchange.trace else ""
    return (
        f"<details{' open' if is_open else ''}><summary>{_escaped(exchange.request.splitlines()[0])} → "
        f"{_escaped(answer.splitlines()[0] if example.outcome == OK else example.outcome)}</summary>"
        f"<pre>{_escaped(exchange.request)}</pre><pre>{_escaped(answer)}</pre>{trace}</details>"
    )


def _sentence(failure: FailureKind, run: Run) -> str:
    """A kind of failure in one line: what, how often, where, since when, for whom."""
    parts = [f"{failure.kind}: {failure.amount}", _span(failure, run), failure.whom, _labels(failure)]
    return "; ".join(part for part in parts if part)


def _slow_sentence(slow: SlowOperations, run: Run, whom: str = "") -> str:
    """The operations above a limit in one line: how many, since when, which, for whom.

    `whom` tells of the kept examples what was not counted.
    """
    first, *others = slow.parts
    if slow.first is None:
        span = f"never more than {format_ratio(slow.allowed)} for long"
    elif slow.last is None:
        span = f"from {_moment(slow.first, run)} to the end of the load"
    else:
        span = f"from {_moment(slow.first, run)} to {_moment(slow.last, run)}"
    return "; ".join([first, span, *others, *([whom] if whom else [])])


def _span(failure: FailureKind, run: Run) -> str:
    if failure.first is None:
        return "at a time that is not known"
    if failure.last is None:
        return f"from {_moment(failure.first, run)} to the end of the load"
    if int(failure.last) == int(failure.first):
        return f"at {_moment(failure.first, run)}"
    return f"from {_moment(failure.first, run)} to {_moment(failure.last, run)}"


def _labels(failure: FailureKind) -> str:
    labels = [
        f"{label} ({count:,} times)" if count > 1 else f"{label} (once)"
        for label, count in failure.by_label.items()
    ] or list(dict.fromkeys(each.label for each in failure.examples))
    return ", ".join([*labels[:_LABELS_SHOWN], "…"] if len(labels) > _LABELS_SHOWN else labels)


def _format_example(example: Example, run: Run | None = None) -> str:
    """One example in one line."""
    outcome = "took" if example.outcome == OK else f"{example.outcome} after"
    moment = _clock(example.at) if run is None else _moment(example.at, run)
    took = f"{outcome} {_took(example)}" if example.seconds or example.outcome == OK else example.outcome
    return f"{example.label} at {moment}: {took}{_whose(example)}"


def _took(example: Example) -> str:
    """The time that it took, and how late it was sent if that is more than a tenth of the time."""
    if not example.seconds:
        return ""
    waited = 0.0 if example.service is None else example.seconds - example.service
    shown = format_seconds(example.seconds)
    return (
        f"{shown} (sent {format_seconds(waited)} after it was due)"
        if waited > 0.1 * example.seconds
        else shown
    )


def _whose(example: Example) -> str:
    parts = ["no user" if example.user is None else f"user {format_number(example.user)}"]
    parts += [f"of {example.tenant}"] if example.tenant else []
    parts += [f"in {example.region}"] if example.region else []
    parts += [f"from {example.exchange.instance}"] if example.exchange.instance else []
    parts += [f"trace {example.exchange.trace}"] if example.exchange.trace else []
    return f" ({', '.join(parts)})"


def _moment(seconds: float, run: Run) -> str:
    """A moment as time since the start of the load, and as time of day: "1:02 (14:03:02)"."""
    return f"{_clock(seconds)} ({time.strftime('%H:%M:%S', time.localtime(run.started + seconds))})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02}"


def _escaped(value: Any) -> str:
    return html.escape(str(value))
