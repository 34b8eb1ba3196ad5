"""The exhibits of a report: charts beside each criterion, and once for each run its figures as tables."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from allure_commons.types import AttachmentType

from loadkit import charts, phrases, steady, summary, timeline
from loadkit.errors import PhraseError
from loadkit.record import Run
from loadkit.verdict import Window
from steps.suite.criteria_json import plain
from steps.suite.results import CriterionResult

__all__ = ["Exhibit", "charts_of", "tables_of"]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One attachment, drawn when it is needed."""

    title: str
    key: str
    """Equal keys, equal contents: several criteria show one file."""
    kind: AttachmentType
    draw: Callable[[], bytes]


def charts_of(result: CriterionResult, run: Run) -> Iterator[Exhibit]:
    """What to show beside a criterion: its own measure first, then what is common to all that share the run."""
    window = result.verdict.window or steady.window(run)
    try:
        criterion = phrases.criterion(result.sentence)
    except PhraseError:
        pass  # a step of the suite's users has a sentence of its own
    else:
        if criterion.reference is not None:
            # What is drawn is this run's own measure, with what it comes to as a limit for it.
            limit = result.verdict.details.get("here", {}).get("limit") or 0.0
            criterion = replace(criterion, reference=None, limit=limit)
        digest = hashlib.md5(f"{criterion} {window}".encode(), usedforsecurity=False).hexdigest()[:12]
        yield Exhibit(
            "the measure over time",
            f"{run.id}-measure-{digest}",
            AttachmentType.SVG,
            partial(charts.measure, run, window, criterion),
        )
    if window is not None:
        place = f"{run.id}-{window.start}-{window.end}"
        yield Exhibit(
            "percentiles",
            f"{place}-percentiles",
            AttachmentType.SVG,
            partial(charts.percentiles, run, window),
        )
    for title, draw in (("load", charts.load), ("resources", charts.resources), ("errors", charts.errors)):
        yield Exhibit(title, f"{run.id}-{title}", AttachmentType.SVG, partial(draw, run, window))


def tables_of(run: Run) -> Iterator[Exhibit]:
    """What to keep of a run for those who calculate themselves."""
    window = steady.window(run)
    yield Exhibit("figures", f"{run.id}-figures", AttachmentType.JSON, partial(_figures, run, window))
    yield Exhibit(
        "second by second",
        f"{run.id}-seconds",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(run)),
    )
    yield Exhibit(
        "load generator",
        f"{run.id}-generator",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.generator(run)),
    )


def _figures(run: Run, window: Window | None) -> bytes:
    return json.dumps(plain(summary.summarise(run, window)), indent=1, allow_nan=False).encode()
