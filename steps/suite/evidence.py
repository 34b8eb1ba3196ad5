"""The attachments of a report: the evidence of each criterion, and the tables of each run."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from allure_commons.types import AttachmentType

from loadkit import grammar
from loadkit.criterion import Criterion, Scope, ScopeKind
from loadkit.errors import PhraseError
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.families import Basis, rules_of, time_limit
from loadkit.judging.health import NO_TIME_LIMIT
from loadkit.recording.distributions import is_realistic
from loadkit.recording.timing import CONNECT, OPERATION, RECORD, REQUEST, timing_of
from loadkit.reports import charts, database, distributions, examples, protocol_charts, summary, timeline
from loadkit.reports.causes import Causes, causes_of, timings_of
from loadkit.reports.results import plain
from loadkit.reports.timeline import one_timing
from loadkit.units import format_bytes, format_number, format_quantity
from loadkit.verdict import Status, Window
from steps.suite.results import CriterionResult

__all__ = ["Attachment", "attachments_of", "causes_of_result", "tables_of"]

_causes = lru_cache(1000)(causes_of)
"""The JSON file, the terminal and the pages need the same causes."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment; its content is generated on demand."""

    title: str
    key: str
    """Attachments with equal keys have equal contents."""
    kind: AttachmentType
    draw: Callable[[], bytes]


def attachments_of(result: CriterionResult, evidence: Evidence) -> Iterator[Attachment]:
    """The attachments of a criterion: first its own measure, then those of its run."""
    run, window = evidence.run, result.verdict.window or evidence.window
    scope, limit, timing, counted, is_mean = EVERYTHING, NO_TIME_LIMIT, REQUEST.key, OPERATION.key, False
    criterion = _criterion(result)
    if criterion is not None:
        is_drawn = criterion.reference is None or bool(_limit_here(result))
        criterion = evidence.as_measured(_on_own_run(criterion, result))
        if criterion.scope.kind is not ScopeKind.INSTANCE:
            scope = criterion.scope
        limit, timing = time_limit(criterion) or NO_TIME_LIMIT, criterion.measure.timing
        is_mean = criterion.measure.statistic == "mean"
        if rules_of(criterion.measure.family).basis is Basis.OPERATIONS and timing != RECORD.key:
            counted = timing
        # Each timing has its own curve. Records have no times, but their operations have.
        timing = one_timing(evidence, scope, OPERATION.key if timing == RECORD.key else timing)
        if is_drawn and rules_of(criterion.measure.family).chart:
            digest = hashlib.md5(f"{criterion} {window}".encode(), usedforsecurity=False).hexdigest()[:12]
            yield Attachment(
                "the measure over time",
                f"{run.id}-measure-{digest}",
                AttachmentType.SVG,
                partial(charts.measure, evidence, window, criterion),
            )
    yield Attachment(
        "percentiles",
        f"{run.id}-{window}-{scope}-{timing}-percentiles",
        AttachmentType.SVG,
        partial(charts.percentiles, evidence, window, scope, timing),
    )
    if run.examples:
        causes = causes_of_result(result, evidence)
        # If a criterion did not pass, its page shows what its own sentence counts.
        suffix = "" if result.verdict.status is Status.PASS else f"-{result.sentence}"
        yield Attachment(
            f"failures and slowest operations: {causes.scope}",
            f"{run.id}-{result.verdict.window}-{causes.scope}-{causes.timings}{suffix}-examples",
            AttachmentType.HTML,
            partial(examples.page, causes),
        )
    if is_realistic(run):
        yield Attachment(
            "random distributions: chart",
            f"{run.id}-distributions",
            AttachmentType.SVG,
            partial(distributions.chart, run),
        )
        yield Attachment(
            "random distributions: requested and actual",
            f"{run.id}-distributions-table",
            AttachmentType.TEXT,
            lambda: "\n".join(distributions.lines(run)).encode(),
        )
    shown = [("load", charts.load), ("resources", charts.resources), ("errors", charts.errors)]
    if run.table.labels(CONNECT):
        shown += [("connections", protocol_charts.disconnects), ("messages", protocol_charts.messages)]
    if run.database is not None:
        shown.append(("database", protocol_charts.database))
        yield Attachment(
            "database: slow statements, plans, what to try",
            f"{run.id}-database-{scope}-{limit}",
            AttachmentType.TEXT,
            lambda: "\n".join(database.lines(evidence, _limits(evidence, scope, limit))).encode(),
        )
    for title, draw in shown:
        # The chart shows which seconds were judged.
        key = f"{run.id}-{title}-{window}"
        yield Attachment(title, key, AttachmentType.SVG, partial(draw, evidence, window))
    of_timing = "" if counted == OPERATION.key else f", {timing_of(counted).name}"
    yield Attachment(
        f"second by second: {scope}{of_timing}",
        f"{run.id}-seconds-{scope}-{counted}",
        AttachmentType.CSV,
        lambda: timeline.csv_of(timeline.seconds(evidence, scope, counted)),
    )
    status = result.verdict.status
    yield Attachment(
        "health of the load generator",
        f"{run.id}-health-{window}-{limit}-{is_mean}-{status}",
        AttachmentType.TEXT,
        lambda: "\n".join(_generator(evidence, window or evidence.whole, limit, is_mean, status)).encode(),
    )
    yield Attachment(
        "checks before the load",
        f"{run.id}-preflight",
        AttachmentType.TEXT,
        lambda: "\n".join(run.facts.get("preflight") or ["none"]).encode(),
    )


def causes_of_result(result: CriterionResult, evidence: Evidence) -> Causes:
    """The failed and the slowest operations of those that a criterion judges."""
    criterion, scope = _criterion(result), EVERYTHING
    if criterion is not None:
        criterion = evidence.as_measured(_on_own_run(criterion, result))
        scope = criterion.scope if criterion.scope.kind is not ScopeKind.INSTANCE else EVERYTHING
    is_met = result.verdict.status is Status.PASS
    return _causes(
        evidence, scope, timings_of(criterion), result.verdict.window, None if is_met else criterion
    )


def _criterion(result: CriterionResult) -> Criterion | None:
    """The criterion of a sentence; None for the sentence of a custom step."""
    try:
        return grammar.criterion(result.sentence)
    except PhraseError:
        return None


def _on_own_run(criterion: Criterion, result: CriterionResult) -> Criterion:
    """The criterion for its own run; a comparison of loads is replaced by its resulting limit."""
    if criterion.reference is None:
        return criterion
    return replace(criterion, reference=None, limit=_limit_here(result))


def _limit_here(result: CriterionResult) -> float:
    """The limit for the own run that results from a comparison of two loads; 0 if there is none."""
    here = result.verdict.details.get("here") or {}
    return float(here.get("limit") or 0.0)


def _limits(evidence: Evidence, scope: Scope, limit: float) -> dict[str, float]:
    """The limit of each key query that a criterion on times covers, in seconds."""
    facts = evidence.run.database
    if facts is None or limit == NO_TIME_LIMIT:
        return {}
    covers_all = scope.kind is not ScopeKind.LABEL
    return {plan.query: limit for plan in facts.plans if covers_all or plan.query == scope.name}


def _generator(
    evidence: Evidence, window: Window, limit: float, is_mean: bool, status: Status
) -> Iterator[str]:
    """The health checks of the load generator in a window.

    `limit` is the time limit of the criterion in seconds; `is_mean` tells whether it limits a mean.
    `status` is that of its verdict.
    """
    state = evidence.health(window, limit, is_mean=is_mean)
    yield f"health: {state.status}"
    if state.status == "invalid" and status in {Status.PASS, Status.FAIL}:
        yield f"  the verdict of this criterion, {status}, does not depend on it"
    yield from (f"  {reason}" for reason in state.reasons)
    for result in state.checks:
        value, warns, invalid = (
            format_quantity(figure, result.check.unit)
            for figure in (result.value, result.warns_from, result.invalid_from)
        )
        side = "below" if result.check.falls else "above"
        yield f"{result.check.words} {value} (warning {side} {warns}, invalid {side} {invalid})"
    cpu_seconds, memory = summary.generator_cost(evidence, window)
    yield (
        f"load processes: {evidence.run.workers}; processor time {format_number(cpu_seconds)} s; "
        f"memory {format_bytes(memory)}"
    )
    yield "figures of each second: see the table of the load generator in the global attachments"


def tables_of(evidence: Evidence) -> Iterator[Attachment]:
    """The tables of a run, for further analysis."""
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
