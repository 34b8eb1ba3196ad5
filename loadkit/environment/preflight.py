"""Checks before any load: they find conditions that would invalidate every verdict of a run.

A failed check that is needed ends the run before it begins (exit 2). Any other failed check is a
warning: the condition only makes figures less precise.
"""

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from loadkit.drivers.tls import context_of
from loadkit.environment.capacity import Capacity
from loadkit.environment.environment import ResolvedEnvironment
from loadkit.environment.records import count_records
from loadkit.environment.settings import Settings
from loadkit.errors import LoadkitError
from loadkit.observers.base import Observer
from loadkit.observers.machine import HOSTS, OTHERS, PROCESSORS, Use, shares
from loadkit.observers.observation import Observation
from loadkit.observers.proc import MachineWatcher
from loadkit.target import Target
from loadkit.units import format_number, format_seconds
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = [
    "Check",
    "NotReadyError",
    "approximate_rate",
    "check_capacity",
    "check_restored",
    "look",
    "machine_checks",
    "may_fill_machine",
    "ready",
]

_TIMEOUT = 5.0
"""Seconds that a service without load may take to answer."""
_LOOK_BACK = 20.0
"""Seconds of scrapes before now that are evaluated."""
_CLOCK_OFFSET = 2.0
"""Maximum offset of clocks in seconds; the Date header has a resolution of one second."""
_SCRAPE_TOLERANCE = 0.5
"""Maximum relative deviation of the scrape interval from the stated one."""
_FOREIGN = 0.02
"""Maximum ratio of operations of others to the plan's own operations."""
_BACKGROUND = 5.0
"""Operations per second of others that are always allowed: probes, health checks, single users."""
_MOMENT = 1.0
"""Seconds for which this machine is observed."""
_BUSY = 0.5
"""Maximum ratio of this machine's processors in use before any load."""
_OTHERS = 0.1
"""Maximum ratio of this machine that other processes may take before any load; also its host."""
_MAY_FILL = 100.0
"""Operations per second; if each takes 2 ms in all parts, they use a fifth of a processor."""
_NAMED, _LEAST_NAMED = 3, 0.02
"""The maximum number of other processes that are named, and their minimum share of the machine."""


class NotReadyError(LoadkitError):
    """The environment is not ready to be judged."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check before the load."""

    name: str
    found: str
    expected: str = ""
    holds: bool = True
    is_needed: bool = True
    """Does its failure end the run? If not, it is a warning."""
    may_pass: bool = False
    """After a failure, may the check succeed a moment later?"""

    def __str__(self) -> str:
        expected = f", expected {self.expected}" if self.expected and not self.holds else ""
        return f"{self.name}: {self.found}{expected}"


def look(
    plan: Plan,
    resolved: ResolvedEnvironment,
    observer: Observer | None,
    *,
    now: Callable[[], float] = time.time,
) -> tuple[Check, ...]:
    """Run all checks, most important first.

    Args:
        plan: the plan of the run.
        resolved: the environment; it states the expected version and number of instances.
        observer: the observer of the environment, if any.
        now: returns the Unix time in seconds.

    """
    checks = [*_service(resolved, now)]
    checks += _rows(resolved.facts)
    checks += _records(plan, resolved)
    if observer is not None:
        moment = now()
        observations = observer.observe(moment - _LOOK_BACK, moment)
        checks += _observed(plan, resolved.environment.settings, observations)
    return (*checks, *_machine(resolved.target))


def check_restored(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Check, ...]:
    """Check that version, instances and faults are the same in two reports of a control command."""
    return tuple(
        Check(name, str(found), str(expected), found == expected, may_pass=True)
        for name, expected, found in (
            (name, _condition(before.get(name)), _condition(now.get(name)))
            for name in ("version", "instances", "faults")
        )
    )


def _condition(fact: Any) -> str:
    """A fact without the parts that change at a restart: process and address."""
    if isinstance(fact, list):
        named = [
            f"{each.get('name', '')} {each.get('state', '')}".strip() if isinstance(each, dict) else str(each)
            for each in fact
        ]
        return ", ".join(sorted(named)) or "none"
    if isinstance(fact, Mapping):
        return ", ".join(sorted(fact)) or "none"
    return str(fact)


def ready(look_again: Callable[[], tuple[Check, ...]], *, patience: float = 15.0) -> tuple[Check, ...]:
    """Repeat the checks for up to `patience` seconds: the previous run may have after-effects.

    Raises:
        NotReadyError: a needed check failed; the message names every such check.

    """
    retry = Retrying(
        stop=stop_after_delay(patience),
        wait=wait_fixed(2),
        retry=retry_if_result(lambda checks: not all(check.holds for check in checks if check.may_pass)),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else (),
    )
    checks: tuple[Check, ...] = retry(look_again)
    failed = [str(check) for check in checks if check.is_needed and not check.holds]
    if failed:
        raise NotReadyError("not ready to judge: " + "; ".join(failed))
    return checks


def _service(resolved: ResolvedEnvironment, now: Callable[[], float]) -> list[Check]:
    target = resolved.target
    path = target.ready or "/"
    try:
        # The request must not go through the proxies of this machine's environment.
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=context_of(target)) as client:
            answer = client.get(target.base + path)
    except httpx.HTTPError as error:
        return [
            Check(
                "the service", f"{target.base} does not answer: {error or type(error).__name__}", holds=False
            )
        ]
    is_ready = answer.is_success or not target.ready
    checks = [Check("the service", f"{path} answered {answer.status_code}", "200", is_ready, may_pass=True)]
    version = _version(answer, resolved.facts)
    expected = resolved.version
    if expected or version:
        is_expected = not expected or version == expected
        checks.append(Check("its version", version or "not reported", expected, is_expected))
    date = email.utils.parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else None
    if date is not None:
        offset = abs(now() - date.timestamp())
        checks.append(
            Check(
                "its clock",
                f"{format_seconds(offset)} from this machine's",
                f"at most {format_seconds(_CLOCK_OFFSET)}",
                offset <= _CLOCK_OFFSET,
            )
        )
    return checks


def _version(answer: httpx.Response, facts: Mapping[str, Any]) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    return str((body.get("version") if isinstance(body, dict) else "") or facts.get("version", ""))


def _machine(target: Target) -> list[Check]:
    """Check this machine without load: what is busy now will be busy during the load."""
    with MachineWatcher(target) as watcher:
        time.sleep(_MOMENT)
    return machine_checks(watcher.observations())


def machine_checks(observations: Mapping[str, Observation]) -> list[Check]:
    """Check the figures of this machine; no check without figures."""
    use = shares(observations.get(PROCESSORS))
    if Use.IDLE not in use:
        return []
    busy, steal, others = 1 - use[Use.IDLE], use.get(Use.STEAL, 0.0), use.get(Use.OTHERS, 0.0)
    busiest = sorted(shares(observations.get(OTHERS)).items(), key=lambda row: -row[1])[:_NAMED]
    named = ", ".join(f"{name} {_percent(share)}" for name, share in busiest if share >= _LEAST_NAMED)
    found = f"{_percent(busy)} in use"
    if Use.OTHERS in use:
        found += f", {_percent(others)} by other processes" + (f" ({named})" if named else "")
    if steal > _OTHERS:
        found += f", {_percent(steal)} by the host of this virtual machine (steal)"
    return [
        Check(
            "this machine's processors",
            found,
            f"at most {_percent(_BUSY)}, and at most {_percent(_OTHERS)} by others",
            busy <= _BUSY and others <= _OTHERS and steal <= _OTHERS,
            is_needed=False,
        )
    ]


def may_fill_machine(plan: Plan) -> bool:
    """Is a plan so large that this machine may be too small for it?

    Users who never pause fill every machine, so the answer for them is no.
    """
    loads = [population.workload for population in plan.populations]
    if any(load.model is Model.CLOSED and not (load.think.mean or load.pace) for load in loads):
        return False
    return sum(approximate_rate(load) for load in loads) >= _MAY_FILL


def check_capacity(capacity: Capacity, plan: Plan) -> Check:
    """Check that this machine carries a plan, with the environment's parts on it."""
    level = sum(population.workload.peak for population in plan.populations)
    return Check(
        "the capacity of this machine",
        capacity.in_words(plan),
        f"at least {plan.in_words}, as planned",
        level <= capacity.largest_level,
        is_needed=False,
    )


def _percent(ratio: float) -> str:
    return f"{100 * max(ratio, 0.0):.0f} %"


def _rows(facts: Mapping[str, Any]) -> list[Check]:
    """The number of rows in each table of the database, for information."""
    rows: Mapping[str, Any] = facts.get("rows") or {}
    return [Check(f"rows of {table}", f"{count:,}") for table, count in rows.items()]


def _records(plan: Plan, resolved: ResolvedEnvironment) -> list[Check]:
    """Check the number of records that a load states; with fewer, nothing is judged."""
    needed = plan.records_needed
    if not needed:
        return []
    file, database = resolved.environment.file.name, resolved.environment.settings.database
    if database is None or not database.records:
        return [
            Check(
                "records",
                f"environments/{file} does not name their table",
                'such as [database] records = "metric_events"',
                holds=False,
            )
        ]
    address = resolved.database_observer or resolved.target.database
    try:
        found = count_records(address, database.records, sees_all=bool(resolved.database_observer))
    except LoadkitError as error:
        return [Check("records", str(error), "an answer", holds=False)]
    advice = ""
    if database.seed:
        command = ["loadkit env", database.seed[0], resolved.environment.file.stem, *database.seed[1:]]
        advice = f"; make them: {' '.join(command)}".replace("{events}", f"{needed:.0f}")
    number = f"{found.number:,}" if found.is_exact else f"about {found.number:,}"
    return [
        Check(
            f"records in {database.records}",
            number,
            f"at least {needed:,.0f}{advice}",
            found.number >= needed,
        )
    ]


def _observed(plan: Plan, settings: Settings, observations: Mapping[str, Observation]) -> list[Check]:
    """Check the observations: the number of instances, the scrape interval, traffic of others."""
    problems = [observation.problem for observation in observations.values() if observation.problem]
    if problems and len(problems) == len(observations):
        # Criteria on client-side measures can still be judged; gauges will be inconclusive.
        return [Check("the observer", problems[0], "an answer", holds=False, is_needed=False, may_pass=True)]
    # Only named measures: a query of a sentence has any number of series, at the query's own step.
    measures = settings.observer.measures if settings.observer else {}
    usable = {
        name: observation
        for name, observation in observations.items()
        if name in measures and not observation.problem and observation.series
    }
    checks = []
    counts = [len(each.series) for name, each in usable.items() if measures[name].per == "instance"]
    instances = max(counts, default=0)
    expected = settings.instances
    if expected or instances:
        checks.append(
            Check(
                "instances watched",
                str(instances),
                str(expected or ""),
                not expected or instances == expected,
                may_pass=True,
            )
        )
    intervals = [
        np.median(np.diff(one.times))
        for observation in usable.values()
        for one in observation.series
        if len(one.times) > 2
    ]
    if intervals:
        found, stated = float(np.median(intervals)), next(iter(usable.values())).scrape_interval
        checks.append(
            Check(
                "scraped every",
                format_seconds(found),
                f"{format_seconds(stated)} as in the environment file",
                abs(found - stated) <= _SCRAPE_TOLERANCE * stated,
            )
        )
    checks += [
        Check(each.name, each.problem, "an answer", holds=False, is_needed=False)
        for each in observations.values()
        if each.name.startswith(HOSTS) and each.problem
    ]
    if settings.traffic in observations:
        checks += _foreign(plan, observations[settings.traffic])
    return checks


def _foreign(plan: Plan, served: Observation) -> list[Check]:
    """Check the rate of operations that the service serves without load from this suite."""
    rate = 0.0
    known = [each.known for each in served.series]
    counted = [each for each in known if len(each.times) > 2]
    if known and not counted:
        found = "not known, because there were fewer than three scrapes"
        return [Check("traffic of others", found, "three scrapes", False, is_needed=False, may_pass=True)]
    for one in counted:
        # Only the last scrapes: earlier ones may contain the end of the last run.
        times, values = one.times[-4:], one.values[-4:]
        rate += max(0.0, float((values[-1] - values[0]) / (times[-1] - times[0])))
    own = sum(approximate_rate(population.workload) for population in plan.populations)
    most = max(_BACKGROUND, _FOREIGN * own)
    return [
        Check(
            "traffic of others",
            f"{format_number(rate)} requests per second",
            f"at most {format_number(most)}",
            rate <= most,
            may_pass=True,
        )
    ]


def approximate_rate(load: Workload) -> float:
    """The approximate operations per second of a load at its peak; a paced journey has about ten."""
    if load.model is not Model.CLOSED:
        return load.peak
    return load.peak / max(load.think.mean, load.pace / 10, 0.01)
