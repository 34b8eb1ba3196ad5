"""Users of a closed load who wait long for one answer, while the others are answered, are seen in the verdict."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest

from loadkit.criterion import Scope, ScopeKind
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.timing import MESSAGE
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.builders import judge, plan_of, response_time, run_of, samples_of, worker_seconds_of

USERS, SECONDS = 120, 300
LABEL, TENANT = Scope(ScopeKind.LABEL, "GET /b"), Scope(ScopeKind.TENANT, "tenant-1")


def operations(respond, users=USERS, seconds=SECONDS, tenants=4, think=(0.3, 1.3)):
    """What each of the users does, one operation after the other; `respond(user, now, draw)`: time and outcome."""
    draw = np.random.default_rng(1)
    samples = []
    for user in range(users):
        now = draw.uniform(0, 1)
        while now < seconds:
            took, outcome = respond(user, now, draw)
            label = f"GET /{'abc'[int(draw.integers(3))]}"
            samples.append(Sample(label, outcome, now, now, now + took, 100, f"tenant-{user % tenants}"))
            now += took + draw.uniform(*think)
    return samples


def hang(begin, end, stuck=60, timeout=1000.0, until=10_000.0):
    """The first `stuck` users are on an instance that answers nothing from `begin` to `end`; the load stops at `until`."""

    def respond(user, now, draw):
        took = draw.exponential(0.02)
        if user < stuck and begin <= now < end:
            took = min(end - now + took, timeout, until - now)
            return took, "timeout" if took == timeout else "unfinished" if took == until - now else OK
        return took, OK

    return respond


def independent(draw_time):
    """Every operation's time is drawn for itself."""
    return lambda _user, _now, draw: (draw_time(draw), OK)


def closed(samples, users=USERS, seconds=SECONDS, ramp=0, **changes):
    return run_of(samples, plan_of(seconds - ramp, ramp, users, Model.CLOSED), **changes)


HANGS = {
    "answered at its end": closed(operations(hang(100, 160))),
    "timed out after 10 s and tried again": closed(operations(hang(100, 160, timeout=10.0))),
    "timed out after 5 s and tried again": closed(operations(hang(100, 160, timeout=5.0))),
    "begun before the window": closed(operations(hang(20, 80)), ramp=30),
    "given up at the end of the load": closed(operations(hang(240, 1000, until=310.0))),
}


@pytest.mark.parametrize("quantile", [0.95, 0.99])
@pytest.mark.parametrize("scope", [EVERYTHING, LABEL, TENANT], ids=str)
@pytest.mark.parametrize("run", HANGS.values(), ids=HANGS)
def test_half_of_the_users_stuck_for_a_fifth_of_the_time_never_pass(run, scope, quantile):
    verdict = judge(response_time(quantile, 0.5, scope=scope), run)
    assert verdict.status in {Status.FAIL, Status.INCONCLUSIVE}
    assert verdict.details["filled"] > 0
    assert any("of 120 users waited for one answer" in warning for warning in verdict.warnings)


@pytest.mark.parametrize("name", HANGS)
def test_the_share_of_slow_operations_is_the_share_of_the_users_time(name):
    """Operations prevented are as many as the stuck users would have begun: a tenth of all, or less with time-outs."""
    evidence = Evidence(HANGS[name])
    window = Window(30, 270) if "before" in name else Window(0, 300)
    stuck = {"begun before the window": 50, "given up at the end of the load": 60}.get(name, 60)
    usual = 120 / (0.8 + 0.02)
    traffic, corrected = (
        evidence.traffic(window=window),
        evidence.corrected(0.5, window=window),
    )
    assert corrected.size == traffic.size + corrected.corrected
    assert corrected.size == pytest.approx(usual * window.seconds, rel=0.03)
    assert corrected.corrected == pytest.approx(usual * stuck / 2, rel=0.25)
