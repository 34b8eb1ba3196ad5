"""Tracing: every requirement with the scenarios that judge it, at which load levels and groups, and what came of it."""

import json
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
from loadkit.structuring import Stated, structure
from loadkit.verdict import Status

__all__ = ["Promise", "Requirement", "Traced", "requirements_of", "trace", "verdicts_of"]

_ID = re.compile(r"[A-Z]+-[0-9]+")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of the catalogue."""

    id: str
    text: Annotated[str, Stated('"p95 response time of every endpoint group below 500 ms"')]
    area: Annotated[str, Stated('"api"')]
    levels: Annotated[tuple[str, ...], Stated('["baseline", "peak"]')] = ()
    """Load levels at which it must be judged, each a tag."""
    groups: Annotated[tuple[str, ...], Stated('["auth", "admin"]')] = ()
    """Endpoint groups that must each be judged; with levels, at each of these."""
    proof: Annotated[str, Stated('"tests/test_known_answers.py"')] = ""
    """The test or page that shows it, where no scenario can: a path from the project's root."""
    planned: Annotated[bool, Stated("true")] = False
    """Is it not built yet, so that nothing need judge it?"""


@dataclass(frozen=True, slots=True)
class Promise:
    """A scenario as the features have it."""

    where: str
    """file:line."""
    tags: frozenset[str]
    criteria: tuple[str, ...]
    """Its Then sentences."""

    @property
    def ids(self) -> frozenset[str]:
        """Requirements that it is tagged with."""
        return frozenset(tag for tag in self.tags if _ID.fullmatch(tag))

    @property
    def groups(self) -> frozenset[str]:
        """Endpoint groups that its criteria speak of."""
        found = set()
        for sentence in self.criteria:
            try:
                scope = grammar.criterion(sentence).scope
            except PhraseError:
                continue  # a step of the suite's users has a sentence of its own
            if scope.kind is ScopeKind.GROUP:
                found.add(scope.name)
        return frozenset(found)


@dataclass(frozen=True, slots=True)
class Traced:
    """A requirement and all that is known of it."""

    requirement: Requirement
    promises: tuple[Promise, ...]
    verdicts: Mapping[Status, int]
    """How many criteria of the last session came to what."""
    problems: tuple[str, ...]
    """What is missing, one clause each."""

    def __str__(self) -> str:
        asked = self.requirement
        criteria = sum(len(promise.criteria) for promise in self.promises)
        noun = "criterion" if criteria == 1 else "criteria"
        parts = [f"{criteria} {noun}"] if criteria else []
        parts += [" ".join(asked.levels)] if criteria and asked.levels else []
        parts += [" ".join(asked.groups)] if criteria and asked.groups else []
        parts += [f"proof: {asked.proof}"] if asked.proof else []
        parts += ["planned"] if asked.planned else []
        last = ", ".join(
            f"{self.verdicts[status]} {status}" for status in Status if self.verdicts.get(status)
        )
        parts += [f"last: {last}"] if last else ["last: none"] if criteria else []
        return f"{asked.id:9}{' · '.join([*parts, *(problem.upper() for problem in self.problems)])}"


def requirements_of(file: Path) -> tuple[Requirement, ...]:
    """The catalogue, in its order.

    Raises:
        ConfigurationError: it cannot be read.

    """
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file}: not a catalogue of requirements: {error}") from None
    named = {
        name: {**table, "id": name} if isinstance(table, dict) else table for name, table in tables.items()
    }
    return tuple(structure(dict[str, Requirement], named, str(file)).values())


@dataclass(frozen=True, slots=True)
class _Verdict:
    status: Status


@dataclass(frozen=True, slots=True)
class _Row:
    requirements: tuple[str, ...]
    verdict: _Verdict


@dataclass(frozen=True, slots=True)
class _Results:
    """The part of a results file that is read here; the whole is in `steps.suite.criteria_json`."""

    criteria: tuple[_Row, ...]


def verdicts_of(file: Path) -> dict[str, Counter[Status]]:
    """What criteria of the last session came to, by requirement; nothing where there was no session.

    Raises:
        ConfigurationError: the file is there, and not what a session writes.

    """
    found: dict[str, Counter[Status]] = {}
    if not file.exists():
        return found
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: not the results of a session: {error}") from None
    results = structure(_Results, data, f"{file}: not the results of a session", allow_unknown=True)
    for row in results.criteria:
        for name in row.requirements:
            found.setdefault(name, Counter())[row.verdict.status] += 1
    return found


def trace(
    requirements: Sequence[Requirement],
    promises: Sequence[Promise],
    verdicts: Mapping[str, Mapping[Status, int]],
    proofs: frozenset[str] = frozenset(),
) -> tuple[list[Traced], list[str]]:
    """Hold the catalogue against the features. Returns the requirements in order, and all that is wrong, one line each.

    Args:
        requirements: the catalogue.
        promises: all scenarios.
        verdicts: of the last session, by requirement.
        proofs: those named in the catalogue that exist.

    """
    known = {requirement.id for requirement in requirements}
    problems = [
        f"{promise.where}: @{name} is in no catalogue"
        for promise in promises
        for name in sorted(promise.ids - known)
    ]
    traced = []
    for requirement in requirements:
        judging = tuple(promise for promise in promises if requirement.id in promise.ids)
        missing = () if requirement.planned else tuple(_missing(requirement, judging, proofs))
        traced.append(Traced(requirement, judging, verdicts.get(requirement.id, {}), missing))
        problems += [f"{requirement.id} {problem}" for problem in missing]
    return traced, problems


def _missing(requirement: Requirement, judging: Sequence[Promise], proofs: frozenset[str]) -> list[str]:
    if requirement.proof and requirement.proof not in proofs:
        return [f"names a proof that is not there: {requirement.proof}"]
    if not judging:
        return [] if requirement.proof else ["is judged by nothing"]
    wanted = [
        (level, group) for level in requirement.levels or ("",) for group in requirement.groups or ("",)
    ]
    left_out = [
        "/".join(part for part in (level, group) if part)
        for level, group in wanted
        if not any(
            (not level or level in promise.tags) and (not group or group in promise.groups)
            for promise in judging
        )
    ]
    return [f"misses {name}" for name in left_out]
