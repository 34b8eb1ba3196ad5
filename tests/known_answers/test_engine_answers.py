"""Known answers 1 to 4 of the method: services whose response times are known, under the engine in virtual time."""

import random

import numpy as np
import pytest

from loadkit.drivers.fake import Answer
from loadkit.recording import histogram as buckets
from loadkit.recording.slices import Kind
from loadkit.recording.stalls import common
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.virtual_time import ORIGIN, Plan, Simulation, simulate

NO_THINK = Think(0, 0)
FETCH = (MixEntry("loadkit.journey:fetch", 1.0),)


def plan(
    model: Model, level: float, seconds: float, think: Think = NO_THINK, *, is_poisson: bool = True
) -> Plan:
    stages = (Stage(0, level), Stage(seconds, level))
    return Plan.of(
        "known", Workload(model, stages, FETCH, think, is_poisson=is_poisson), timeout=60.0, drain=60.0
    )


def single_server(rate: float, seed: int):
    """One server, first come first served, exponential service times with that rate."""
    generator = random.Random(seed)
    free = 0.0

    def service(now, _method, _path):
        nonlocal free
        free = max(now, free) + generator.expovariate(rate)
        return Answer(free - now)

    return service


def stalling(now, _method, _path):
    """10 ms, but stands still in the first second of every ten."""
    place = (now - ORIGIN) % 10.0
    return Answer(0.010 + (1.0 - place if place < 1.0 else 0.0))


def response_times(run: Simulation, kind: Kind = Kind.RESPONSE):
    _, _, bucket, count = run.table.select(
        kind, [name for name in run.table.series if name[:6] == "label:"], 0, 9999
    )
    totals = np.bincount(bucket, count, buckets.BUCKETS)
    ranks = totals.cumsum()

    def quantile(share: float) -> float:
        return buckets.middle(int(np.searchsorted(ranks, share * ranks[-1])))

    return quantile


def mean(run: Simulation) -> tuple[float, float]:
    """Operations, and their mean response time in seconds."""
    sums = run.table.totals([name for name in run.table.series if name[:6] == "label:"], 0, 9999)[2].sum(
        axis=0
    )
    return sums[0], sums[1] / sums[0]


def test_1_an_open_load_sees_a_stall_as_users_would():
    quantile = response_times(simulate(plan(Model.REQUESTS, 100, 300, is_poisson=False), stalling))
    assert quantile(0.95) == pytest.approx(0.510, abs=0.020)
    assert quantile(0.99) == pytest.approx(0.910, abs=0.020)
    assert quantile(0.999) == pytest.approx(1.000, abs=0.020)


def test_1_a_closed_user_back_to_back_hides_the_stall_but_its_gaps_are_logged():
    run = simulate(plan(Model.CLOSED, 1, 60), stalling)
    assert response_times(run)(0.99) == pytest.approx(0.010, rel=0.01)
    stalls = [stall for stall in common([run.idle_intervals[0]]) if stall.seconds > 0.5]
    assert len(stalls) == 6
    assert all(stall.seconds == pytest.approx(1.0, abs=0.03) for stall in stalls)


def test_2_a_single_server_at_half_its_rate():
    quantile = response_times(simulate(plan(Model.REQUESTS, 50, 300), single_server(100, 1)))
    assert quantile(0.50) == pytest.approx(0.0139, rel=0.07)
    assert quantile(0.95) == pytest.approx(0.0599, rel=0.09)
    assert quantile(0.99) == pytest.approx(0.0921, rel=0.16)


@pytest.mark.parametrize(
    ("users", "rate", "seconds"), [(50, 49.07, 0.0190), (100, 92.43, 0.0819), (150, 100.0, 0.500)]
)
def test_3_users_who_think_before_a_single_server(users, rate, seconds):
    think = Think(0.0, 2.0, "exponential")
    run = simulate(plan(Model.CLOSED, users, 300, think), single_server(100, 2))
    operations, response = mean(run)
    assert operations / 300 == pytest.approx(rate, rel=0.02)
    assert response == pytest.approx(seconds, rel=0.10)
    # Little's law over users: N = X · (R + Z).
    assert operations / 300 * (response + 1.0) == pytest.approx(users, rel=0.05)


@pytest.mark.parametrize(("slow", "p95"), [(0.04, 0.020), (0.08, 0.400)])
def test_4_a_share_of_slow_answers_moves_the_percentile_beyond_it(slow, p95):
    chance = random.Random(1)
    run = simulate(
        plan(Model.REQUESTS, 100, 60), lambda *_: Answer(0.400 if chance.random() < slow else 0.020)
    )
    quantile = response_times(run)
    assert quantile(0.95) == pytest.approx(p95, rel=0.01)
    assert quantile(0.99) == pytest.approx(0.400, rel=0.01)
