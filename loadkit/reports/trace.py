"""Tracing: each requirement with its scenarios, load levels, endpoint groups and last verdicts."""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from loadkit import grammar
from loadkit.criterion import ScopeKind
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.reports.results import CriterionEntry, read
from loadkit.structuring import Stated, structure
from loadkit.verdict import Status

__all__ = ["JudgingScenario", "Requirement", "Traced", "requirements_of", "trace", "verdicts_of"]

_ID = re.compile(r"[A-Z]+-[0-9]+")
_SMOKE = "smoke"
"""Tag of scenarios with a fraction of the load that a requirement states."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the catalogue."""

    id: str
    text: Annotated[str, Stated('"p95 response time of every endpoint group below 500 ms"')]
    area: Annotated[str, Stated('"api"')]
    levels: Annotated[tuple[str, ...], Stated('["baseline", "peak"]')] = ()
    """Load levels at which it must be judged; each is a tag."""
    groups: Annotated[tuple[str, ...], Stated('["auth", "admin"]')] = ()
    """Endpoint groups that must be judged; if there are levels, at each level."""
    proof: Annotated[str, Stated('"tests/test_known_answers.py"')] = ""
    """Test or page that proves it if no scenario can: a path relative to the project's root."""
    planned: Annotated[bool, Stated("true")] = False
    """Is it not implemented yet? Then no scenario need judge it."""


@dataclass(frozen=True, slots=True)
class JudgingScenario:
    """A scenario of the features."""

    where: str
    """file:line."""
    tags: frozenset[str]
    criteria: tuple[str, ...]
    """Sentences of its Then steps."""

    @property
    def ids(self) -> frozenset[str]:
        """Ids of the requirements in its tags."""
        return frozenset(tag for tag in self.tags if _ID.fullmatch(tag))

    @property
    def groups(self) -> frozenset[str]:
        """Endpoint groups in the scopes of its criteria."""
        found = set()
        for sentence in self.criteria:
            try:
                scope = grammar.criterion(sentence).scope
            except PhraseError:
                continue  # a custom step of a user of the suite
            if scope.kind is ScopeKind.GROUP:
                found.add(scope.name)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Traced:
    """A requirement with its scenarios, verdicts and problems."""

    requirement: Requirement
    scenarios: tuple[JudgingScenario, ...]
    verdicts: Mapping[str, Mapping[Status, int]]
    """Number of criteria of the last session, by verdict. The key "" has those that judge the
    requirement. The keys "in a smoke", "rehearsed" … have those that do not."""
    problems: tuple[str, ...]
    """What is missing, one clause each."""

    def __str__(self) -> str:
        required = self.requirement
        criteria = sum(len(scenario.criteria) for scenario in self.scenarios)
        noun = "criterion" if criteria == 1 else "criteria"
        parts = [f"{criteria} {noun}"] if criteria else []
        parts += [" ".join(required.levels)] if criteria and required.levels else []
        parts += [" ".join(required.groups)] if criteria and required.groups else []
        parts += [f"proof: {required.proof}"] if required.proof else []
        parts += ["planned"] if required.planned else []
        parts += [f"last: {self._last}"] if criteria or self.verdicts else []
        return f"{required.id:9}{' · '.join([*parts, *(problem.upper() for problem in self.problems)])}"

    @property
    def _last(self) -> str:
        """The last verdicts: "2 pass, 1 fail", "none (1 pass in a smoke)"."""
        others = "; ".join(f"{_tally(counts)} {how}" for how, counts in self.verdicts.items() if how)
        return (_tally(self.verdicts.get("", {})) or "none") + (f" ({others})" if others else "")


def _tally(counts: Mapping[Status, int]) -> str:
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts.get(status))


def requirements_of(file: Path) -> tuple[Requirement, ...]:
    """The requirements of a catalogue, in its order.

    Raises:
        ConfigurationError: the catalogue cannot be read.

    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file}: not a catalogue of requirements: {error}") from None
    named = {
        name: {**table, "id": name} if isinstance(table, dict) else table for name, table in tables.items()
    }
    return tuple(structure(dict[str, Requirement], named, str(file)).values())


def verdicts_of(file: Path) -> dict[str, list[CriterionEntry]]:
    """The criteria of the last session by requirement; empty without a results file.

    Raises:
        ConfigurationError: the file exists and is not a results document.

    """
    found: dict[str, list[CriterionEntry]] = {}
    for entry in read(file).criteria if file.exists() else ():
        for name in entry.requirements:
            found.setdefault(name, []).append(entry)
    return found


def trace(
    requirements: Sequence[Requirement],
    scenarios: Sequence[JudgingScenario],
    verdicts: Mapping[str, Sequence[CriterionEntry]],
    proofs: frozenset[str] = frozenset(),
) -> tuple[list[Traced], list[str]]:
    """Compare the catalogue with the features.

    Args:
        requirements: the catalogue.
        scenarios: all scenarios.
        verdicts: criteria of the last session, by requirement.
        proofs: the proofs of the catalogue that exist.

    Returns:
        The requirements in order, and the problems, one line each.

    """
    known = {requirement.id for requirement in requirements}
    problems = [
        f"{scenario.where}: @{name} is not in the catalogue"
        for scenario in scenarios
        for name in sorted(scenario.ids - known)
    ]
    traced = []
    for requirement in requirements:
        judging = tuple(scenario for scenario in scenarios if requirement.id in scenario.ids)
        missing = () if requirement.planned else tuple(_missing(requirement, judging, proofs))
        counts: dict[str, Counter[Status]] = {}
        for entry in verdicts.get(requirement.id, ()):
            counts.setdefault(_how(entry, requirement), Counter())[entry.verdict.status] += 1
        traced.append(Traced(requirement, judging, counts, missing))
        problems += [f"{requirement.id} {problem}" for problem in missing]
    return traced, problems


def _how(entry: CriterionEntry, requirement: Requirement) -> str:
    """Why a criterion does not judge the requirement: "in a smoke, rehearsed"; "" if it does."""
    load = ""
    if not any(level in entry.tags for level in requirement.levels):
        if _SMOKE in entry.tags:
            load = "in a smoke"
        elif requirement.levels:
            load = "at another load"
    return ", ".join(how for how in (load, "rehearsed" if entry.verdict.rehearsed else "") if how)


def _missing(
    requirement: Requirement, judging: Sequence[JudgingScenario], proofs: frozenset[str]
) -> list[str]:
    if requirement.proof and requirement.proof not in proofs:
        return [f"names a proof that does not exist: {requirement.proof}"]
    if not judging:
        return [] if requirement.proof else ["has no criterion"]
    required = [
        (level, group) for level in requirement.levels or ("",) for group in requirement.groups or ("",)
    ]
    missing = [
        "/".join(part for part in (level, group) if part)
        for level, group in required
        if not any(
            (not level or level in scenario.tags) and (not group or group in scenario.groups)
            for scenario in judging
        )
    ]
    return [f"has no criterion for {name}" for name in missing]
