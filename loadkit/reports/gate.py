"""The gate: what the results of a session mean for a release, as an exit code and the lines that explain it."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadkit.errors import ConfigurationError
from loadkit.structuring import structure
from loadkit.verdict import Status, exit_code

__all__ = ["FILE", "SCHEMA", "Judged", "answer", "gate", "read", "tally"]

FILE = "criteria.json"
"""The name of the results file within a session's folder of reports."""
SCHEMA = 1
"""The version of its layout; another one is refused, not guessed at."""
NOTHING_SELECTED = "no criterion was selected: a tag that selects nothing is not a pass"


@dataclass(frozen=True, slots=True)
class Judged:
    """One criterion as the gate needs to know it."""

    sentence: str
    where: str
    """file:line of the sentence."""
    status: Status
    reason: str
    rehearsed: str = ""
    """What was scaled; empty for the real thing."""
    is_advisory: bool = False
    """Does it only report, and never block?"""


def gate(path: Path, *, sign_off: bool = False) -> tuple[int, list[str]]:
    """Answer for a results file, such as reports/criteria.json.

    Args:
        path: the file a session wrote, or the folder that holds it as criteria.json.
        sign_off: a release is to be signed on it, so a rehearsal is refused.

    Returns:
        The exit code (`loadkit.verdict.EXIT_CODES`) and the lines to print. A file that is missing, empty or cannot
        be read is 2, never a pass.

    """
    try:
        criteria = read(path)
    except ConfigurationError as error:
        return 2, [str(error)]
    lines = [
        f"{judged.status}: {judged.where}: {judged.sentence}{_aside(judged)}: {judged.reason}"
        for judged in criteria
        if judged.status is not Status.PASS
    ]
    code = exit_code(judged.status for judged in criteria if not judged.is_advisory)
    rehearsals = [judged for judged in criteria if judged.rehearsed] if sign_off else []
    if rehearsals:
        lines += [
            f"rehearsed: {judged.where}: {judged.sentence}: {judged.rehearsed}" for judged in rehearsals
        ]
        refusal = f"gate: refused (exit 2): {len(rehearsals)} of {len(criteria)} criteria were only rehearsed"
        return 2, [*lines, tally(criteria), refusal]
    return code, [*lines, tally(criteria), answer(criteria)]


def read(path: Path) -> list[Judged]:
    """The criteria of a results file, or of a folder's criteria.json.

    Raises:
        ConfigurationError: it is missing, empty, or not what a session writes.

    """
    if path.is_dir():
        path = path / FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or error}; a session writes it at its end"
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: not the results of a session: {error}") from None
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise ConfigurationError(f"{path}: schema {data.get('schema')!r}, this version reads {SCHEMA}")
    results = structure(_Results, data, f"{path}: not the results of a session", allow_unknown=True)
    return [row.judged for row in results.criteria]


@dataclass(frozen=True, slots=True)
class _Verdict:
    status: Status
    reason: str
    rehearsed: str


@dataclass(frozen=True, slots=True)
class _Row:
    sentence: str
    feature_file: str
    line: int
    advisory: bool
    verdict: _Verdict

    @property
    def judged(self) -> Judged:
        return Judged(
            sentence=self.sentence,
            where=f"{self.feature_file}:{self.line}",
            status=self.verdict.status,
            reason=self.verdict.reason,
            rehearsed=self.verdict.rehearsed,
            is_advisory=self.advisory,
        )


@dataclass(frozen=True, slots=True)
class _Results:
    """The part of a results file that the gate reads; `steps.suite.criteria_json` has the whole."""

    schema: int
    criteria: tuple[_Row, ...]


def tally(criteria: Sequence[Judged]) -> str:
    """How many there are of each status, in one line: "3 criteria: 2 pass, 1 fail"."""
    counts = Counter(judged.status for judged in criteria)
    told = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    advisory = sum(judged.is_advisory for judged in criteria)
    aside = f" ({advisory} advisory, not counted by the gate)" if advisory else ""
    noun = "criterion" if len(criteria) == 1 else "criteria"
    return f"{len(criteria)} {noun}: {told}{aside}" if criteria else "0 criteria"


def answer(criteria: Sequence[Judged]) -> str:
    """The gate's last word: "gate: fail (exit 1)"."""
    counted = [judged.status for judged in criteria if not judged.is_advisory]
    code = exit_code(counted)
    if not criteria:
        return f"gate: not judged (exit {code}): {NOTHING_SELECTED}"
    if not counted:
        return f"gate: not judged (exit {code}): every criterion is advisory, so nothing was promised"
    word = next(status for status in Status if exit_code([status]) == code)
    return f"gate: {word} (exit {code})"


def _aside(judged: Judged) -> str:
    words = [
        *(["advisory"] if judged.is_advisory else []),
        *([f"rehearsed: {judged.rehearsed}"] if judged.rehearsed else []),
    ]
    return f" ({'; '.join(words)})" if words else ""
