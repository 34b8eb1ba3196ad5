"""Allure results: one per criterion, written into reports/allure-results.

The Allure status of a pass is passed, and that of a fail is failed. Inconclusive and invalid
verdicts are broken; not judged is unknown. A verdict without its own Allure status is in the name
of the result. The first word of a result's message is the verdict; allure/categories.json uses it.
"""

import base64
import hashlib
import html
import json
import platform
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from allure_commons import model2
from allure_commons.logger import AllureFileLogger
from allure_commons.types import AttachmentType, LabelType, LinkType, Severity

from loadkit.judging.evidence import Evidence
from loadkit.recording.run import Run
from loadkit.reports import database, examples
from loadkit.reports.gate import answer, tally
from loadkit.units import format_bytes
from loadkit.verdict import Status
from steps.suite.criteria_json import SUITE, suite_version
from steps.suite.drawings import Drawings, drawings
from steps.suite.evidence import Attachment, attachments_of, causes_of_result, tables_of
from steps.suite.outcome import ContextStep, Finished, Outcome, span
from steps.suite.terminal import figures

__all__ = ["FOLDER", "PAGE", "remove", "write"]

FOLDER = "allure-results"
"""Name of the folder within the folder of reports."""
PAGE = Path("allure", "index.html")
"""Path of the report within the folder of reports."""

_CATEGORIES = Path(__file__).resolve().parents[2] / "allure" / "categories.json"
_CATALOGUE = "../../features/requirements.toml"
"""Path of the requirements, relative to the report reports/allure/index.html."""
_STATUSES = {
    Status.PASS: model2.Status.PASSED,
    Status.FAIL: model2.Status.FAILED,
    Status.INCONCLUSIVE: model2.Status.BROKEN,
    Status.INVALID: model2.Status.BROKEN,
    Status.NOT_JUDGED: model2.Status.UNKNOWN,
}
_AREAS = {"api": "API", "websocket": "WebSocket"}
"""Areas whose name is not their capitalized tag."""
_ALLURE_VERDICTS = {Status.PASS, Status.FAIL}
"""Verdicts that have an Allure status of their own."""


def remove(reports: Path) -> None:
    """Remove the results of an earlier session.

    Allure would show incomplete results as complete, and two results of one criterion as a retry.
    """
    shutil.rmtree(reports / FOLDER, ignore_errors=True)


def write(outcome: Outcome, reports: Path, tell: Callable[[int], None] = lambda _: None) -> Path:
    """Write the results of a session with their evidence into an empty folder, and return it.

    `tell` is called after each criterion with the number of those written.
    """
    remove(reports)
    folder = reports / FOLDER
    of_criteria = [_attachments(finished, outcome) for finished in outcome.criteria]
    of_runs = {letter: list(tables_of(evidence)) for letter, evidence in outcome.evidence.items()}
    groups = {letter: [*tables] for letter, tables in of_runs.items()}
    for finished, attachments in zip(outcome.criteria, of_criteria, strict=True):
        groups.setdefault(finished.result.run, []).extend(attachments)
    with drawings(list(groups.values())) as drawn:
        store = _AttachmentStore(AllureFileLogger(str(folder)), drawn)
        _write_criteria(outcome, of_criteria, store, tell)
        _write_globals(outcome, of_runs, store)
    _write_environment(outcome, folder)
    return folder


def _attachments(finished: Finished, outcome: Outcome) -> list[Attachment]:
    evidence = outcome.evidence.get(finished.result.run)
    return [] if evidence is None else list(attachments_of(finished.result, evidence))


def _write_criteria(
    outcome: Outcome,
    of_criteria: Sequence[Sequence[Attachment]],
    store: "_AttachmentStore",
    tell: Callable[[int], None],
) -> None:
    """Write one result for each criterion, with its attachments."""
    run_lines = dict(zip(outcome.runs, outcome.run_lines(), strict=True))
    repeats: Counter[str] = Counter()
    latest = 0
    for number, (finished, attachments) in enumerate(zip(outcome.criteria, of_criteria, strict=True), 1):
        result = finished.result
        repeats[result.identity] += 1
        # Allure sorts by start time. Differences of a millisecond preserve the order of the feature
        # files.
        latest = max(latest + 1, int(result.started * 1000))
        entry = _entry(finished, repeats[result.identity], outcome.environment)
        entry.start, entry.stop = latest, max(latest, int(result.stopped * 1000))
        entry.steps = [*_context(finished, entry.start, store), _judgement(finished, entry)]
        entry.attachments = [store.put(attachment) for attachment in attachments]
        entry.descriptionHtml = "".join(
            f"<p>{paragraph}</p>"
            for paragraph in _description(
                finished,
                run_lines.get(result.run, ""),
                outcome.runs.get(result.run),
                outcome.evidence.get(result.run),
            )
        )
        if attachments:
            entry.descriptionHtml += _first(attachments[0].title, *store.drawn.of(attachments[0]))
        store.logger.report_result(entry)
        tell(number)


class _AttachmentStore:
    """The attachments of a folder.

    Each result has its own file, because Allure 3 shows a file only in the first result that names
    it.
    """

    def __init__(self, logger: AllureFileLogger, drawn: Drawings) -> None:
        self.logger = logger
        self.drawn = drawn

    def put(self, attachment: Attachment) -> model2.Attachment:
        """Write an attachment, and return the reference to it."""
        kind, content = self.drawn.of(attachment)
        source = f"{uuid.uuid4()}-attachment.{kind.extension}"
        self.logger.report_attached_data(content, source)
        return model2.Attachment(name=attachment.title, source=source, type=kind.mime_type)


def _entry(finished: Finished, repeat: int, environment: str) -> model2.TestResult:
    """A criterion as an Allure result without times, steps and evidence.

    `repeat` numbers the criteria with the same identity, from 1.
    """
    result, verdict = finished.result, finished.result.verdict
    sentence = (
        result.sentence if verdict.status in _ALLURE_VERDICTS else f"{verdict.status} · {result.sentence}"
    )
    asides = [
        *([f"rehearsed: {verdict.rehearsed}"] if verdict.rehearsed else []),
        *(["advisory"] if result.advisory else []),
    ]
    identity = result.identity if repeat == 1 else f"{result.identity} ({repeat})"
    digest = hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest()
    entry = model2.TestResult(
        uuid=str(uuid.uuid4()),
        name=" — ".join([sentence, *asides]),
        fullName=identity,
        testCaseId=digest,
        historyId=digest,
        status=_STATUSES[verdict.status],
        titlePath=[*result.feature_file.split("/"), finished.scenario],
        labels=[model2.Label(name, value) for name, value in _labels(finished, environment)],
        links=[
            model2.Link(LinkType.LINK, f"{_CATALOGUE}#{requirement}", requirement)
            for requirement in result.requirements
        ],
        # Measurements change from run to run; excluded parameters do not identify the test.
        parameters=[
            *(model2.Parameter(name, value, excluded=True) for name, value in _measurements(finished)),
            *(model2.Parameter(name, value) for name, value in result.parameters),
        ],
    )
    if verdict.status is not Status.PASS:
        entry.statusDetails = model2.StatusDetails(message=f"{verdict.status}: {verdict.reason}")
    return entry


def _labels(finished: Finished, environment: str) -> Iterator[tuple[str, str]]:
    result = finished.result
    yield LabelType.EPIC, _AREAS.get(result.area, result.area.capitalize()) or "Other"
    yield LabelType.FEATURE, result.feature
    yield LabelType.STORY, finished.scenario
    yield LabelType.SEVERITY, Severity.MINOR.value if result.advisory else Severity.CRITICAL.value
    yield "verdict", str(result.verdict.status)
    yield "environment", environment
    if result.level:
        yield "level", result.level
    if result.run:
        yield "run", result.run
    for tag in sorted(result.tags):
        yield LabelType.TAG, tag


def _measurements(finished: Finished) -> Iterator[tuple[str, str]]:
    verdict = finished.result.verdict
    yield from figures(verdict).items()
    if verdict.samples:
        yield "samples", f"{verdict.samples:,}"
    if verdict.effective_samples is not None:
        yield "independent samples", f"{verdict.effective_samples:,.0f}"
    if verdict.window is not None:
        window = verdict.window
        yield "window", f"{window.phase}, seconds {window.start} to {window.end} of the run"
    if finished.result.run:
        yield "run", f"{finished.result.run} ({verdict.run})" if verdict.run else finished.result.run


def _description(
    finished: Finished, run_line: str, run: Run | None, evidence: Evidence | None
) -> Iterator[str]:
    """HTML paragraphs: the verdict with its reason, the cause, the run, the notes, the promise."""
    result, verdict = finished.result, finished.result.verdict
    yield f"<b>{verdict.status}</b>: {html.escape(verdict.reason)}"
    if evidence is not None and verdict.status is not Status.PASS:
        causes = causes_of_result(result, evidence)
        sentences = list(examples.sentences(causes))
        if sentences:
            yield "<b>what failed, for whom and since when</b>: " + "<br>".join(map(html.escape, sentences))
        if causes.slow is not None:
            reasons = list(database.reasons_for_slowness(evidence.run.database))
            if reasons:
                yield "<b>the database</b>: " + "<br>".join(map(html.escape, reasons))
    if run_line:
        yield f"{html.escape(run_line)}. The global attachments contain the tables of the run."
    if verdict.rehearsed:
        yield f"This was a rehearsal ({html.escape(verdict.rehearsed)}). It cannot sign off a release."
    if result.advisory:
        yield "This criterion is advisory: it never blocks a release."
    if not_seen := verdict.details.get("not_seen"):
        yield f"{html.escape(not_seen)}."
    for warning in (*verdict.warnings, *(run.warnings if run is not None else ())):
        yield f"Note: {html.escape(warning)}"
    if finished.promise:
        yield f"<i>{html.escape(finished.promise)}</i>"


def _first(title: str, kind: AttachmentType, content: bytes) -> str:
    """The HTML of the first chart, or of its error; Allure collapses the attachments themselves."""
    if kind is not AttachmentType.SVG:
        return f"<p>{html.escape(content.decode())}</p>"
    svg = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/svg+xml;base64,{svg}"/>'


def _context(finished: Finished, moment: int, store: _AttachmentStore) -> Iterator[model2.TestStepResult]:
    for step in finished.context:
        shown = model2.TestStepResult(
            name=step.text,
            status=model2.Status.PASSED if step.has_held else model2.Status.BROKEN,
            start=moment,
            stop=moment,
        )
        if step.message:
            shown.statusDetails = model2.StatusDetails(message=step.message)
        if step.table:
            shown.attachments = [store.put(_table(step))]
        yield shown
    if rehearsed := finished.result.verdict.rehearsed:
        # The steps above state the load for a release. This step states the load of the rehearsal.
        passed = model2.Status.PASSED
        yield model2.TestStepResult(
            name=f"rehearsed with {rehearsed}", status=passed, start=moment, stop=moment
        )


def _table(step: ContextStep) -> Attachment:
    digest = hashlib.md5(step.table.encode(), usedforsecurity=False).hexdigest()
    return Attachment("table", f"table-{digest}", AttachmentType.TEXT, step.table.encode)


def _judgement(finished: Finished, entry: model2.TestResult) -> model2.TestStepResult:
    return model2.TestStepResult(
        name=f"{finished.result.keyword} {finished.result.sentence}",
        status=entry.status,
        statusDetails=entry.statusDetails,
        start=entry.start,
        stop=entry.stop,
    )


def _write_globals(
    outcome: Outcome, of_runs: Mapping[str, Sequence[Attachment]], store: _AttachmentStore
) -> None:
    """Write the global attachments: the tables of each run."""
    moment = int(outcome.stopped * 1000)
    attachments = [
        model2.GlobalAttachment(f"Run {letter} · {shown.name}", shown.source, shown.type, moment)
        for letter, tables in of_runs.items()
        for shown in map(store.put, tables)
    ]
    if attachments:
        store.logger.report_globals(model2.Globals(attachments))


def _write_environment(outcome: Outcome, folder: Path) -> None:
    """Write the files that Allure shows with the results: environment, executor and categories."""
    environment = {
        "gate": answer(outcome.judged).removeprefix("gate: "),
        "environment": outcome.environment,
        "suite": f"{SUITE} {suite_version()}",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{f"run {letter}": f"{run.plan.in_words}, {span(run)}" for letter, run in outcome.runs.items()},
        **dict(_service(outcome.runs.values())),
    }
    lines = [f"{_property(name)} = {value}" for name, value in environment.items()]
    (folder / "environment.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(folder / "categories.json", json.loads(_CATEGORIES.read_text(encoding="utf-8")))
    # This is the last file. allure/generate.py refuses results without it, because they are
    # incomplete.
    executor = {"name": "behave", "type": "behave", "reportName": _title(outcome)}
    _write_json(folder / "executor.json", executor)


def _title(outcome: Outcome) -> str:
    """The title of the page, which readers see first: the decision, the tally, what was judged."""
    version = dict(_service(outcome.runs.values())).get("service version", "")
    judged = f"{outcome.environment}, service {version}" if version else outcome.environment
    return f"{answer(outcome.judged).capitalize()} · {tally(outcome.judged)} · {judged}"


def _service(runs: Iterable[Run]) -> Iterator[tuple[str, str]]:
    """The service and the machine of the load generator, from the facts of the last run."""
    facts: Mapping[str, Any] = next((run.facts for run in reversed(list(runs)) if run.facts), {})
    environment = facts.get("environment", {})
    if "version" in environment:
        yield "service version", str(environment["version"])
    if "instances" in environment:
        instances = environment["instances"]
        yield "service instances", str(len(instances) if isinstance(instances, list) else instances)
    rows = environment.get("rows")
    if rows:
        largest = max(rows, key=rows.get)
        yield f"rows of {largest}", f"{rows[largest]:,}"
    machine = facts.get("machine")
    if machine:
        memory = format_bytes(machine["memory_bytes"])
        yield "load generator", f"{machine['cores']} cores of {machine['cpu']}, {memory} of memory"


def _property(name: str) -> str:
    return name.replace(" ", "\\ ")


def _write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
