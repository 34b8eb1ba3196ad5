"""The page of results: what each row of the matrix showed when it was last run.

The run of a row writes its line at once, so a run of some rows, or one that ends early, keeps the other lines.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from loadkit.verdict import Status, Verdict
from tests.matrix.areas import AREAS, Area, Outcome
from tests.matrix.table import Row

PAGE = Path(__file__).with_name("RESULTS.md")
QUIET_RUNS = 20
"""Runs with nothing wrong."""

_SHOWN = (Status.FAIL, Status.PASS, Status.INCONCLUSIVE, Status.INVALID)
_QUIET = "Runs without a fault"
_NOT_RUN = "not run yet"
_HEAD = """# Results of the fault matrix

`make prove` writes this page. Each row runs load on the local environment, injects one fault, and
judges every criterion of its area. If only some rows run, the other lines stay unchanged. In the
area "system" all protocols are used together, and the criteria are those of all areas.

| word | meaning |
|---|---|
| fail | the service did not meet the criterion |
| pass | the service met the criterion, which is not the usual verdict without the fault |
| inconclusive | there is not enough evidence, because the fault removes it or ends the run |
| invalid | the load generator or its machine was overloaded |
| as expected | yes, if the row allows each verdict; otherwise the verdicts that it does not allow |
| last run | day of the last run of the row |

A line names only the criteria that did not have their usual verdict. The usual verdict is a pass,
unless the list of criteria states another one. The tables of expected verdicts are in this folder:
`table.py`, `messages.py`, `database.py` and `system.py`.
"""


def line_of(area: Area, row: Row, outcome: Outcome) -> str:
    """The line of a row: its criteria by verdict, without those that are as usual."""
    named: dict[Status, list[str]] = defaultdict(list)
    for name, verdict in outcome.verdicts.items():
        if verdict.status not in area.usual(name):
            named[verdict.status].append(name)
    wrong = area.wrong(row, outcome)
    judged = ", ".join(f"**{name} is {verdict.status}**" for name, verdict in wrong.items()) or "yes"
    if outcome.health == "invalid":
        judged += "; the machine was busy"
    return _line(row.name, *(", ".join(named[status]) for status in _SHOWN), judged, _today())


def quiet_line(number: int, verdicts: Mapping[str, Verdict]) -> str:
    """The line of a run with nothing wrong: how many criteria had each verdict."""
    counts = [sum(verdict.status is status for verdict in verdicts.values()) for status in _SHOWN]
    failed = ", ".join(name for name, verdict in verdicts.items() if verdict.status is Status.FAIL)
    return _line(f"run {number}", *map(str, counts), failed or "none", _today())


def record(area_name: str, row: Row, outcome: Outcome, page: Path = PAGE) -> None:
    """Write the line of a row that was run."""
    _write(page, area_name, line_of(AREAS[area_name], row, outcome))


def record_quiet(number: int, verdicts: Mapping[str, Verdict], page: Path = PAGE) -> None:
    """Write the line of a run with nothing wrong."""
    _write(page, _QUIET, quiet_line(number, verdicts))


def lines_of(text: str) -> dict[str, dict[str, str]]:
    """The lines of a page, by heading and by what was switched on."""
    found: dict[str, dict[str, str]] = {}
    for part in text.split("\n## ")[1:]:
        heading, _, rest = part.partition("\n")
        lines = (line for line in rest.splitlines() if line.startswith("| ") and line.count(" | ") == 6)
        found[heading] = {line[2:].partition(" | ")[0]: line for line in lines}
    return found


def page_of(lines: Mapping[str, Mapping[str, str]]) -> str:
    """The page with these lines, in the order of the tables. Lines of rows that are no more are left out."""
    parts = [_HEAD]
    for name, area in AREAS.items():
        parts.append(f"## {name}\n\n{area.hold:g} s of load for each row, unless it states another time.\n")
        parts.append(_criteria(area))
        head = ("fault", *_SHOWN, "as expected", "last run")
        parts.append(_table(head, (row.name for row in area.rows), lines.get(name, {})))
    parts.append(
        f"## {_QUIET}\n\nThe load of the system area, {QUIET_RUNS} times without a fault. The numbers count "
        "criteria. None may fail.\n"
    )
    head = ("run", *_SHOWN, "failed criteria", "last run")
    parts.append(
        _table(head, (f"run {number}" for number in range(1, QUIET_RUNS + 1)), lines.get(_QUIET, {}))
    )
    return "\n".join(parts)


def _write(page: Path, heading: str, line: str) -> None:
    lines = lines_of(page.read_text()) if page.exists() else {}
    lines.setdefault(heading, {})[line[2:].partition(" | ")[0]] = line
    page.write_text(page_of(lines))


def _criteria(area: Area) -> str:
    lines = ["| criterion | as a sentence | without a fault |", "|---|---|---|"]
    for name, sentence in area.criteria.items():
        usual = " or ".join(sorted(area.usual(name)))
        lines.append(f"| {name} | {sentence} | {usual} |")
    return "\n".join(lines) + "\n"


def _table(head: Iterable[str], names: Iterable[str], lines: Mapping[str, str]) -> str:
    head = tuple(head)
    filled = [lines.get(name) or _line(name, "", "", "", "", _NOT_RUN, "") for name in names]
    return "\n".join([_line(*head), "|" + "---|" * len(head), *filled]) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
