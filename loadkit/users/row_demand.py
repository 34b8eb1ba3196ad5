"""Computes how many rows of test data a plan needs, to refuse too few rows before the load.

Rows per user are counted, because the plan and its seed determine the users. For an open load the
number is an estimate, because arrivals add users when they need them.

Rows per operation are an estimate with a margin for chance. Each worker takes its own part of the
rows, so the worker that needs most rows determines the result. A user who is present for T seconds,
with pauses of mean m and squared coefficient of variation c², starts at most T/m + 1 + c²
operations on average (Lorden 1970). Their variance is about T·c²/m. Answer times only reduce them.

A user without pauses takes rows as fast as the service answers, which is unknown before the load.
Only one row is certain, for the user's first journey, and only that row is counted. If the service
never answers, the user takes no other row, and no user follows when its session is over. If a user
finds no row left, the run ends during the load (`EndingKind.ROWS_USED_UP`) and is invalid.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loadkit.users.arrival_queue import users_for
from loadkit.workload.plan import Plan, Population
from loadkit.workload.schedule import Stay, entry_of, stays
from loadkit.workload.workload import Model, Workload

__all__ = ["RowDemand", "row_demand"]

_ROOM = 3.0
"""The margin of a worker's estimate, in standard deviations. It is exceeded once in 700 runs."""

Uses = Sequence[Sequence[bool]]
"""For each population, whether each journey of its mix uses the table."""


@dataclass(frozen=True, slots=True)
class RowDemand:
    """The rows that a plan needs of a table."""

    rows: int
    why: str
    """How the rows are counted: "one for each user"."""


def row_demand(plan: Plan, per: Literal["user", "operation"], uses: Uses, workers: int) -> RowDemand:
    """The rows that a plan needs of one table.

    For rows per operation, the result is a lower bound if users have no pauses.

    Args:
        plan: the plan.
        per: whether each user or each operation takes a row.
        uses: see `Uses`.
        workers: the number of workers, each with its part of the users and of the rows.

    """
    return _per_user(plan, uses, workers) if per == "user" else _per_operation(plan, uses, workers)


# --- a row per user


def _per_user(plan: Plan, uses: Uses, workers: int) -> RowDemand:
    everybody = sum(population.workload.most_users for population in plan.populations)
    rows, before, why = 0, 0, "one for each user"
    for population, mix in zip(plan.populations, uses, strict=True):
        load = population.workload
        if any(mix):
            if load.model is not Model.CLOSED:
                rates = [entry.share * load.peak / workers for entry in load.mix]
                users = min(load.most_users, workers * sum(map(users_for, rates)))
                why = "one for each user, estimated from the arrivals"
            elif load.session is not None:
                users = _highest_of_sessions(plan, population, mix, before, everybody) - before
                why = "one for each user, and users whose session is over are followed by others"
            else:
                users = load.most_users
            # The trial has a user for each entry of the mix, even if the load has fewer users.
            tried = max(place for place, is_used in enumerate(mix) if is_used) + 1
            rows = max(rows, before + users, before + tried)
        before += load.most_users
    return RowDemand(rows, why)


def _highest_of_sessions(
    plan: Plan, population: Population, mix: Sequence[bool], before: int, everybody: int
) -> int:
    """The highest user number in a population, plus one.

    The next user of a seat has the number of the previous user plus `everybody`: see `ClosedLoad`.
    """
    load, highest = population.workload, 0
    for seat, present in enumerate(stays(load.stages)):
        if mix[entry_of(seat, load.mix)]:
            followers = _followers(plan, load, before + seat, present)
            highest = max(highest, before + seat + followers * everybody + 1)
    return highest


def _followers(plan: Plan, load: Workload, seat: int, present: Sequence[Stay]) -> int:
    """The number of users who follow the first user of a seat, if nobody waits for a log-in."""
    assert load.session is not None
    followers = 0
    for stay in present:
        moment = stay.join
        while True:
            choices = random.Random(f"{plan.seed}:session:{seat}:{followers}")
            moment += load.session.draw(choices)
            if moment >= stay.leave:
                break
            followers += 1
    return followers


# --- a row per operation


@dataclass(slots=True)
class _Estimate:
    """The operations of one worker."""

    mean: float = 0.0
    variance: float = 0.0

    @property
    def most(self) -> int:
        # Without the tolerance, 10 × 0.1 would need one more row.
        return math.ceil(self.mean + _ROOM * math.sqrt(self.variance) - 1e-6)


def _per_operation(plan: Plan, uses: Uses, workers: int) -> RowDemand:
    estimates = [_Estimate() for _ in range(workers)]
    before = 0
    for population, mix in zip(plan.populations, uses, strict=True):
        load = population.workload
        if load.model is Model.CLOSED:
            _add_users(estimates, plan, load, mix, before)
        else:
            _add_arrivals(estimates, load, mix)
        before += load.most_users
    # Worker w of n takes the rows w, w + n, w + 2n …
    rows = max(
        worker + workers * (each.most - 1) + 1 if each.most else 0 for worker, each in enumerate(estimates)
    )
    why = "one for each operation, estimated from users, their pauses and the time"
    if any(any(mix) and _never_pauses(each) for each, mix in zip(plan.populations, uses, strict=True)):
        why += ", and one for each user without pauses, who will take more"
    return RowDemand(rows, why)


def _never_pauses(population: Population) -> bool:
    load = population.workload
    return load.model is Model.CLOSED and not load.pace and not load.think.mean


def _add_users(
    estimates: Sequence[_Estimate], plan: Plan, load: Workload, mix: Sequence[bool], before: int
) -> None:
    """Add the operations of a closed load's users."""
    pause, spread = (load.pace, 0.0) if load.pace else (load.think.mean, load.think.spread)
    if not any(mix):
        return
    for number, present in enumerate(stays(load.stages)):
        if not mix[entry_of(number, load.mix)]:
            continue
        estimate = estimates[number % len(estimates)]
        if not pause:
            estimate.mean += 1
            continue
        for stay in present:
            seconds = stay.leave - stay.join
            # At a fixed pace the number is exact.
            estimate.mean += seconds / pause + 1 + spread if spread else math.ceil(seconds / pause)
            estimate.variance += seconds / pause * spread
        if load.session is not None:
            estimate.mean += (1 + spread) * _followers(plan, load, before + number, present)


def _add_arrivals(estimates: Sequence[_Estimate], load: Workload, mix: Sequence[bool]) -> None:
    """Add the arrivals of an open load: worker k mod n serves arrival k."""
    area = level = 0.0
    for stage in load.stages:
        area += stage.seconds * (level + stage.level) / 2
        level = stage.level
    whole = sum(entry.share for entry in load.mix)
    share = sum(entry.share for entry, is_used in zip(load.mix, mix, strict=True) if is_used) / whole
    for worker, estimate in enumerate(estimates):
        # The number of evenly spaced arrivals is exact, but the entry of each is drawn at random.
        own = area / len(estimates) if load.is_poisson else math.ceil((round(area) - worker) / len(estimates))
        estimate.mean += share * own
        estimate.variance += share * own * (1 if load.is_poisson else 1 - share)
