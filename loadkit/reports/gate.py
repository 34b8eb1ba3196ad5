"""The gate: the decision about a release as an exit code, with the lines that explain it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadkit.errors import ConfigurationError
from loadkit.reports.results import Results, read
from loadkit.verdict import Status, exit_code

__all__ = ["Judged", "answer", "gate", "judged_of", "tally"]

NOTHING_SELECTED = "no criterion was selected; an empty selection is not a pass"


@dataclass(frozen=True, slots=True)
class Judged:
    """One criterion in the form that the gate needs."""

    sentence: str
    where: str
    """file:line of the sentence."""
    status: Status
    reason: str
    rehearsed: str = ""
    """What was scaled; empty for a run at the stated load."""
    is_advisory: bool = False
    """Is it reported only, and never blocks a release?"""


def gate(path: Path, *, sign_off: bool = False) -> tuple[int, list[str]]:
    """Decide on a results file, such as reports/criteria.json.

    Args:
        path: the results file of a session, or the folder that contains it as criteria.json.
        sign_off: refuse rehearsals, because a release is signed off on the results.

    Returns:
        The exit code (`loadkit.verdict.EXIT_CODES`) and the lines to print. For a file that is
        missing, empty or unreadable, the code is 2, never a pass.

    """
    try:
        criteria = judged_of(read(path))
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


def judged_of(results: Results) -> list[Judged]:
    """The criteria of a results document in the form that the gate needs."""
    return [
        Judged(
            sentence=entry.sentence,
            where=entry.where,
            status=entry.verdict.status,
            reason=entry.verdict.reason,
            rehearsed=entry.verdict.rehearsed,
            is_advisory=entry.advisory,
        )
        for entry in results.criteria
    ]


def tally(criteria: Sequence[Judged]) -> str:
    """The number of criteria of each status, in one line: "3 criteria: 2 pass, 1 fail"."""
    counts = Counter(judged.status for judged in criteria)
    by_status = ", ".join(f"{counts[status]} {status}" for status in Status if counts[status])
    advisory = sum(judged.is_advisory for judged in criteria)
    aside = f" ({advisory} advisory, not counted by the gate)" if advisory else ""
    noun = "criterion" if len(criteria) == 1 else "criteria"
    return f"{len(criteria)} {noun}: {by_status}{aside}" if criteria else "0 criteria"


def answer(criteria: Sequence[Judged]) -> str:
    """The decision in one line: "gate: fail (exit 1)"."""
    counted = [judged.status for judged in criteria if not judged.is_advisory]
    code = exit_code(counted)
    if not criteria:
        return f"gate: not judged (exit {code}): {NOTHING_SELECTED}"
    if not counted:
        return f"gate: not judged (exit {code}): every criterion is advisory"
    word = next(status for status in Status if exit_code([status]) == code)
    return f"gate: {word} (exit {code})"


def _aside(judged: Judged) -> str:
    words = [
        *(["advisory"] if judged.is_advisory else []),
        *([f"rehearsed: {judged.rehearsed}"] if judged.rehearsed else []),
    ]
    return f" ({'; '.join(words)})" if words else ""
