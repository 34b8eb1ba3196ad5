"""Ready to judge? Looked at before any load: what would make every verdict of a run worthless is found here.

A check that does not hold ends the run before it begins (exit 2); one that only makes figures worse is a warning.
"""

import email.utils
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from loadkit.drivers.tls import context_of
from loadkit.environment.environment import ResolvedEnvironment
from loadkit.environment.settings import Settings
from loadkit.errors import LoadkitError
from loadkit.grammar import ALERTS
from loadkit.observers.base import Observer
from loadkit.observers.observation import Observation
from loadkit.units import format_number, format_ratio, format_seconds
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = ["Check", "NotReadyError", "as_before", "look", "ready"]

_TIMEOUT = 5.0
"""Seconds that a service without load may take to answer."""
_LOOKED_BACK = 20.0
"""Seconds of scrapes that are looked at."""
_CLOCK_OFFSET = 2.0
"""Seconds that clocks may differ; the Date header that tells of it counts whole ones."""
_SCRAPE_TOLERANCE = 0.5
"""Ratio by which scrapes may come apart from the interval stated."""
_FOREIGN = 0.02
"""Ratio of the plan's own operations that others may make at the same time."""
_QUIET = 5.0
"""Operations per second of others that are never too many: probes, health checks, a colleague looking."""
_BUSY = 0.5
"""Ratio of this machine's processors that may be in use before any load."""


class NotReadyError(LoadkitError):
    """The environment is not as a judgement needs it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at before the load."""

    name: str
    found: str
    expected: str = ""
    holds: bool = True
    is_needed: bool = True
    """Does it end the run where it does not hold? Else it is a warning."""
    may_pass: bool = False
    """Is it worth looking again in a moment, where it does not hold?"""

    def __str__(self) -> str:
        wanted = f", expected {self.expected}" if self.expected and not self.holds else ""
        return f"{self.name}: {self.found}{wanted}"


def look(
    plan: Plan,
    resolved: ResolvedEnvironment,
    observer: Observer | None,
    *,
    now: Callable[[], float] = time.time,
) -> tuple[Check, ...]:
    """All checks, in the order of a reader's questions.

    Args:
        plan: what is about to be put on.
        resolved: where; its version and instances are what is expected.
        observer: who watches it, if anybody.
        now: the Unix time, in seconds.

    """
    checks = [*_service(resolved, now)]
    checks += _rows(resolved.facts)
    if observer is not None:
        moment = now()
        observations = observer.observe(moment - _LOOKED_BACK, moment)
        checks += _watched(plan, resolved.environment.settings, observations)
    busy = psutil.cpu_percent(interval=0.3) / 100
    checks.append(
        Check(
            "this machine's processors",
            f"{format_ratio(busy)} in use",
            "at most half",
            busy <= _BUSY,
            is_needed=False,
        )
    )
    return tuple(checks)


def as_before(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Check, ...]:
    """Is an environment as it was, by what its control command tells: its version, its instances, its faults?"""
    return tuple(
        Check(name, str(seen), str(wanted), seen == wanted, may_pass=True)
        for name, wanted, seen in (
            (name, _condition(before.get(name)), _condition(now.get(name)))
            for name in ("version", "instances", "faults")
        )
    )


def _condition(fact: Any) -> str:
    """A fact without what changes when a part is started again: its process, its address."""
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
    """Look until all holds, for so many seconds: the end of our own last run may still be on the service.

    Raises:
        NotReadyError: a needed check does not hold; the sentence names every such check.

    """
    patient = Retrying(
        stop=stop_after_delay(patience),
        wait=wait_fixed(2),
        retry=retry_if_result(lambda checks: not all(check.holds for check in checks if check.may_pass)),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else (),
    )
    checks: tuple[Check, ...] = patient(look_again)
    broken = [str(check) for check in checks if check.is_needed and not check.holds]
    if broken:
        raise NotReadyError("not ready to judge: " + "; ".join(broken))
    return checks


def _service(resolved: ResolvedEnvironment, now: Callable[[], float]) -> list[Check]:
    target = resolved.target
    path = target.ready or "/"
    try:
        # The proxies of this machine's environment have no part in what is measured.
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=context_of(target)) as client:
            answer = client.get(target.base + path)
    except httpx.HTTPError as error:
        return [
            Check(
                "the service", f"{target.base} does not answer: {error or type(error).__name__}", holds=False
            )
        ]
    is_ready = answer.is_success or not target.ready
    checks = [Check("the service", f"{path} says {answer.status_code}", "200", is_ready, may_pass=True)]
    version = _version(answer, resolved.facts)
    wanted = resolved.version
    if wanted or version:
        checks.append(Check("its version", version or "not told", wanted, not wanted or version == wanted))
    told = email.utils.parsedate_to_datetime(answer.headers["Date"]) if "Date" in answer.headers else None
    if told is not None:
        offset = abs(now() - told.timestamp())
        checks.append(
            Check(
                "its clock",
                f"{format_seconds(offset)} from ours",
                f"at most {format_seconds(_CLOCK_OFFSET)}",
                offset <= _CLOCK_OFFSET,
            )
        )
    return checks


def _version(answer: httpx.Response, facts: Mapping[str, Any]) -> str:
    try:
        told = answer.json()
    except ValueError:
        told = {}
    return str((told.get("version") if isinstance(told, dict) else "") or facts.get("version", ""))


def _rows(facts: Mapping[str, Any]) -> list[Check]:
    """How much the database holds, for the reader."""
    rows: Mapping[str, Any] = facts.get("rows") or {}
    return [Check(f"rows of {table}", f"{count:,}") for table, count in rows.items()]


def _watched(plan: Plan, settings: Settings, observations: Mapping[str, Observation]) -> list[Check]:
    """What the observer says of the service: how many instances, how often it is asked, who else is there."""
    silent = [observation.problem for observation in observations.values() if observation.problem]
    if silent and len(silent) == len(observations):
        # Criteria on what clients see can be judged all the same; those on gauges will be inconclusive.
        return [Check("the observer", silent[0], "an answer", holds=False, is_needed=False, may_pass=True)]
    seen = [
        observation
        for observation in observations.values()
        if not observation.problem and observation.series and not _is_of_alerts(observation)
    ]
    checks = []
    instances = max((len(observation.series) for observation in seen), default=0)
    wanted = settings.instances
    if wanted or instances:
        checks.append(
            Check(
                "instances watched",
                str(instances),
                str(wanted or ""),
                not wanted or instances == wanted,
                may_pass=True,
            )
        )
    spaces = [
        np.median(np.diff(one.times))
        for observation in seen
        for one in observation.series
        if len(one.times) > 2
    ]
    if spaces:
        found, stated = float(np.median(spaces)), seen[0].scrape_interval
        checks.append(
            Check(
                "scraped every",
                format_seconds(found),
                f"{format_seconds(stated)} as the environment file says",
                abs(found - stated) <= _SCRAPE_TOLERANCE * stated,
            )
        )
    if settings.traffic in observations:
        checks += _foreign(plan, observations[settings.traffic])
    return checks


def _is_of_alerts(observation: Observation) -> bool:
    """Alerts have series of another kind than instances."""
    return observation.name.partition(":")[0] == ALERTS


def _foreign(plan: Plan, served: Observation) -> list[Check]:
    """Operations that the service serves although we send none."""
    rate = 0.0
    for one in served.series:
        if len(one.times) > 2:
            # The last scrapes only: what came before may be the end of our own last run.
            times, values = one.times[-4:], one.values[-4:]
            rate += max(0.0, float((values[-1] - values[0]) / (times[-1] - times[0])))
    most = max(_QUIET, _FOREIGN * sum(_own(population.workload) for population in plan.populations))
    return [
        Check(
            "traffic of others",
            f"{format_number(rate)} requests per second",
            f"at most {format_number(most)}",
            rate <= most,
            may_pass=True,
        )
    ]


def _own(load: Workload) -> float:
    """About how many operations per second one of our loads makes."""
    return load.peak / max(load.think.mean, 0.01) if load.model is Model.CLOSED else load.peak
