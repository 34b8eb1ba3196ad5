"""The gate: what the results of a session mean for a release, as an exit code and the lines that explain it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadkit.errors import ConfigurationError
from loadkit.reports.results import Results, read
from loadkit.verdict import Status, exit_code

__all__ = ["Judged", "answer", "gate", "judged_of", "tally"]

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
    """The criteria of a results document, as the gate needs to know them."""
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
