"""The criteria on the terminal: the runs, then each criterion with its figures, then the gate.

The output is complete in 80 columns, without colour, and in the log of a pipeline.
"""

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import groupby, islice

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadkit.criterion import Unit
from loadkit.errors import one_line
from loadkit.judging.evidence import Evidence
from loadkit.reports import examples, gate
from loadkit.units import distance, format_quantity
from loadkit.verdict import Status, Verdict
from steps.suite.evidence import causes_of_result
from steps.suite.outcome import Finished, Outcome
from steps.suite.results import CriterionResult

__all__ = ["figures", "show"]

_SENTENCES = 2
"""The most sentences about the causes of a fail: the first kind of failure, and an example of it."""

_LOOKS = {
    Status.PASS: ("✓", "green"),
    Status.FAIL: ("✗", "bold red"),
    Status.INCONCLUSIVE: ("?", "yellow"),
    Status.INVALID: ("!", "magenta"),
    Status.NOT_JUDGED: ("-", "cyan"),
}


def show(outcome: Outcome, console: Console, *, report: str = "", refusal: str = "") -> None:
    """Print the outcome of a session.

    Args:
        outcome: the outcome.
        console: the console to print on.
        report: location of the results and the report, in one line.
        refusal: the line that replaces the gate's answer if the gate does not count; "" if it does.

    """
    common = _common_warnings(outcome)
    for letter, line in zip(outcome.runs, outcome.run_lines(), strict=True):
        console.print(Text(line, style="bold"))
        for warning in outcome.runs[letter].warnings:
            console.print(Padding(Text(f"note: {warning}", style="dim"), (0, 0, 0, 2)))
        for (run, warning), criteria in common.items():
            if run == letter:
                console.print(
                    Padding(Text(f"note for {criteria} criteria: {warning}", style="dim"), (0, 0, 0, 2))
                )
    for title, group in groupby(outcome.criteria, key=lambda finished: finished.result.feature):
        console.print()
        console.print(Text(title, style="bold"))
        console.print(Padding(_table(list(group), common, outcome.evidence), (0, 0, 0, 2)))
    judged = outcome.judged
    console.print()
    console.print(Text(gate.tally(judged)))
    console.print(Text(refusal or gate.answer(judged), style="bold"))
    if report:
        console.print(Text(report), soft_wrap=True)


def figures(verdict: Verdict) -> dict[str, str]:
    """The existing figures of a verdict, formatted, by name: measured, limit, margin, interval."""
    unit = Unit(verdict.unit)
    formatted: dict[str, str] = {}
    if verdict.measured is not None:
        formatted["measured"] = format_quantity(verdict.measured, unit)
    elif verdict.censored:
        formatted["measured"] = "above every limit (among failed operations)"
    if verdict.limit is not None:
        formatted["limit"] = format_quantity(verdict.limit, unit)
    if verdict.measured is not None and verdict.limit is not None:
        formatted["margin"] = f"{distance(verdict.measured, verdict.limit, unit)} the limit"
    if verdict.interval is not None and math.isfinite(verdict.interval[0]):
        low, high = (format_quantity(bound, unit) for bound in verdict.interval)
        _, space, name = high.partition(" ")
        formatted["interval"] = f"{low.removesuffix(space + name)} – {high}"
    return formatted


def _common_warnings(outcome: Outcome) -> dict[tuple[str, str], int]:
    """The warnings that several criteria of a run share: the number of criteria by run and text."""
    counts = Counter(
        (finished.result.run, warning)
        for finished in outcome.criteria
        for warning in finished.result.verdict.warnings
    )
    return {which: count for which, count in counts.items() if count > 1 and which[0]}


def _table(
    criteria: Sequence[Finished], common: Container[tuple[str, str]], evidence: Mapping[str, Evidence]
) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=14)
    table.add_column(overflow="fold")
    for scenario, group in groupby(criteria, key=_heading):
        table.add_row("", Text(scenario, style="italic"))
        for finished in group:
            mark, style = _LOOKS[finished.result.verdict.status]
            word = Text(f"{mark} {finished.result.verdict.status}", style=style)
            rows = _rows(finished, common, evidence.get(finished.result.run))
            table.add_row(word, Group(*rows))
    return table


def _heading(finished: Finished) -> str:
    return " · ".join([finished.scenario, *finished.result.requirements])


def _rows(
    finished: Finished, common: Container[tuple[str, str]], evidence: Evidence | None
) -> Iterator[RenderableType]:
    """The rows of a criterion: its sentence, figures, the reason if it does not pass, its notes.

    A fail also tells what failed, for whom and since when, as far as that is known.
    """
    result, verdict = finished.result, finished.result.verdict
    asides = [
        *(["advisory"] if result.advisory else []),
        *([f"rehearsed: {verdict.rehearsed}"] if verdict.rehearsed else []),
    ]
    yield Text(result.sentence + "".join(f" ({aside})" for aside in asides))
    known = figures(verdict)
    parts = []
    if "measured" in known:
        bounds = f" ({known['interval']})" if "interval" in known else ""
        parts.append(f"measured {known['measured']}{bounds}")
    if "limit" in known:
        parts.append(f"limit {known['limit']}")
    if result.run:
        parts.append(f"run {result.run}")
    if parts:
        yield Text(" · ".join(parts), style="dim")
    if verdict.status is not Status.PASS:
        yield Text(verdict.reason, style=_LOOKS[verdict.status][1].removeprefix("bold "))
    if verdict.status is Status.FAIL and evidence is not None:
        yield from map(Text, _causes(result, evidence))
    for warning in verdict.warnings:
        if (result.run, warning) not in common:
            yield Text(f"note: {warning}", style="dim")


def _causes(result: CriterionResult, evidence: Evidence) -> list[str]:
    """What failed, for whom and since when; empty if nothing is known."""
    try:
        causes = causes_of_result(result, evidence)
        if not causes.failures and causes.slow is None:
            return []
        return list(islice(examples.sentences(causes), _SENTENCES))
    except Exception as error:
        # A failed explanation must not prevent the table and the exit code of the session.
        return [f"what failed is not known: {one_line(error)}"]
