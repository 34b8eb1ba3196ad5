"""The attachments of a report: evidence beside each criterion, and the tables of each run."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from allure_commons.types import AttachmentType

from loadkit import grammar
from loadkit.criterion import ScopeKind
from loadkit.errors import PhraseError
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.families import rules_of, time_limit
from loadkit.judging.health import NO_TIME_LIMIT
from loadkit.reports import charts, summary, timeline
from loadkit.reports.results import plain
from loadkit.units import format_bytes, format_number, format_quantity
from loadkit.verdict import Window
from steps.suite.results import CriterionResult

__all__ = ["Attachment", "attachments_of", "tables_of"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment, drawn when it is needed."""

    title: str
    key: str
    """Equal keys, equal contents: several criteria show one file."""
    kind: AttachmentType
    draw: Callable[[], bytes]


def attachments_of(result: CriterionResult, evidence: Evidence) -> Iterator[Attachment]:
    """What to show beside a criterion: its own measure first, then what its run has for all."""
    run, window = evidence.run, result.verdict.window or evidence.window
    scope, limit = EVERYTHING, NO_TIME_LIMIT
    try:
        criterion = grammar.criterion(result.sentence)
    except PhraseError:
        pass  # a step of the suite's users has a sentence of its own
    else:
        if criterion.reference is not None:
            # What is drawn is this run's own measure, with what it comes to as a limit for it.
            limit = result.verdict.details.get("here", {}).get("limit") or 0.0
            criterion = replace(criterion, reference=None, limit=limit)
        if criterion.scope.kind is not ScopeKind.INSTANCE:
            scope = criterion.scope
        limit = time_limit(criterion) or NO_TIME_LIMIT
        if rules_of(criterion.measure.family).chart:
            digest = hashlib.md5(f"{criterion} {window}".encode(), usedforsecurity=False).hexdigest()[:12]
            yield Attachment(
                "the measure over time",
                f"{run.id}-measure-{digest}",
                AttachmentType.SVG,
                partial(charts.measure, evidence, window, criterion),
            )
    yield Attachment(
        "percentiles",
        f"{run.id}-{window}-{scope}-percentiles",
        AttachmentType.SVG,
        partial(charts.percentiles, evidence, window, scope),
    )
    for title, draw in (("load", charts.load), ("resources", charts.resources), ("errors", charts.errors)):
        yield Attachment(title, f"{run.id}-{title}", AttachmentType.SVG, partial(draw, evidence, window))
    yield Attachment(
        f"second by second: {scope}",
        f"{run.id}-seconds-{scope}",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(evidence, scope)),
    )
    yield Attachment(
        "the load generator's health",
        f"{run.id}-health-{window}-{limit}",
        AttachmentType.TEXT,
        lambda: "\n".join(_generator(evidence, window or evidence.whole, limit)).encode(),
    )
    yield Attachment(
        "what was looked at before the load",
        f"{run.id}-preflight",
        AttachmentType.TEXT,
        lambda: "\n".join(run.facts.get("preflight") or ["nothing was"]).encode(),
    )


def _generator(evidence: Evidence, window: Window, limit: float) -> Iterator[str]:
    """The checks of the generator's health in a window, for a time limit in seconds."""
    state = evidence.health(window, limit)
    yield f"health: {state.status}"
    yield from (f"  {reason}" for reason in state.reasons)
    for result in state.checks:
        value, warns, invalid = (
            format_quantity(figure, result.check.unit)
            for figure in (result.value, result.warns_from, result.invalid_from)
        )
        side = "below" if result.check.falls else "above"
        yield f"{result.check.words} {value} (a warning {side} {warns}, invalid {side} {invalid})"
    cpu_seconds, memory = summary.effort(evidence, window)
    yield (
        f"load processes: {evidence.run.workers}, with {format_number(cpu_seconds)} s of processor time "
        f"and {format_bytes(memory)} of memory"
    )
    yield "second by second: the table of the load generator, among the global attachments"


def tables_of(evidence: Evidence) -> Iterator[Attachment]:
    """What to keep of a run for those who calculate themselves."""
    run = evidence.run
    yield Attachment("figures", f"{run.id}-figures", AttachmentType.JSON, partial(_figures, evidence))
    yield Attachment(
        "second by second",
        f"{run.id}-seconds",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(evidence)),
    )
    yield Attachment(
        "load generator",
        f"{run.id}-generator",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.generator(evidence)),
    )


def _figures(evidence: Evidence) -> bytes:
    return json.dumps(plain(summary.summarise(evidence)), indent=1, allow_nan=False).encode()
