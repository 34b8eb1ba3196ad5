"""The exhibits of a report: what speaks for a verdict beside each criterion, and once for each run all its figures."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from allure_commons.types import AttachmentType

from loadkit import grammar
from loadkit.criterion import Family, ScopeKind
from loadkit.errors import PhraseError
from loadkit.judging import window as steady
from loadkit.judging.health import NO_TIME_LIMIT, health
from loadkit.recording.run import Run
from loadkit.reports import charts, summary, timeline
from loadkit.units import format_bytes, format_number, format_quantity
from loadkit.verdict import Window
from steps.suite.criteria_json import plain
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


def attachments_of(result: CriterionResult, run: Run) -> Iterator[Attachment]:
    """What to show beside a criterion: its own measure first, then what is common to all that share the run."""
    window = result.verdict.window or steady.window(run)
    scope, limit = timeline.EVERYTHING, NO_TIME_LIMIT
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
        if criterion.measure.family is Family.TIME and criterion.limit:
            limit = criterion.limit
        digest = hashlib.md5(f"{criterion} {window}".encode(), usedforsecurity=False).hexdigest()[:12]
        yield Attachment(
            "the measure over time",
            f"{run.id}-measure-{digest}",
            AttachmentType.SVG,
            partial(charts.measure, run, window, criterion),
        )
    yield Attachment(
        "percentiles",
        f"{run.id}-{window}-{scope}-percentiles",
        AttachmentType.SVG,
        partial(charts.percentiles, run, window, scope),
    )
    for title, draw in (("load", charts.load), ("resources", charts.resources), ("errors", charts.errors)):
        yield Attachment(title, f"{run.id}-{title}", AttachmentType.SVG, partial(draw, run, window))
    yield Attachment(
        f"second by second: {scope}",
        f"{run.id}-seconds-{scope}",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(run, scope)),
    )
    yield Attachment(
        "the load generator's health",
        f"{run.id}-health-{window}-{limit}",
        AttachmentType.TEXT,
        lambda: "\n".join(_generator(run, window or steady.whole(run), limit)).encode(),
    )
    yield Attachment(
        "what was looked at before the load",
        f"{run.id}-preflight",
        AttachmentType.TEXT,
        lambda: "\n".join(run.facts.get("preflight") or ["nothing was"]).encode(),
    )


def _generator(run: Run, window: Window, limit: float) -> Iterator[str]:
    """The signs of the generator's own health in a window, for a criterion with a limit of so many seconds."""
    state = health(run, window, limit)
    yield f"health: {state.status}"
    yield from (f"  {reason}" for reason in state.reasons)
    for result in state.checks:
        value, warns, invalid = (
            format_quantity(figure, result.check.unit)
            for figure in (result.value, result.warns_from, result.invalid_from)
        )
        side = "below" if result.check.falls else "above"
        yield f"{result.check.words} {value} (a warning {side} {warns}, invalid {side} {invalid})"
    used = summary.summarise(run, window)["generator"]
    yield (
        f"load processes: {used['workers']}, with {format_number(used['cpu_seconds'])} s of processor time "
        f"and {format_bytes(used['peak_memory_bytes'])} of memory"
    )
    yield "second by second: the table of the load generator, among the global attachments"


def tables_of(run: Run) -> Iterator[Attachment]:
    """What to keep of a run for those who calculate themselves."""
    window = steady.window(run)
    yield Attachment("figures", f"{run.id}-figures", AttachmentType.JSON, partial(_figures, run, window))
    yield Attachment(
        "second by second",
        f"{run.id}-seconds",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(run)),
    )
    yield Attachment(
        "load generator",
        f"{run.id}-generator",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.generator(run)),
    )


def _figures(run: Run, window: Window | None) -> bytes:
    return json.dumps(plain(summary.summarise(run, window)), indent=1, allow_nan=False).encode()
