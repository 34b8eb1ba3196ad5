"""A known answer: a server that answers at once, behind a network of known latency, jitter and loss.

As in `test_known_answers`, a figure may be above the truth by what the machine did, and never below it.
"""

from pathlib import Path

import pytest
from scipy.stats import gamma

from loadkit.engine.run import run
from loadkit.network.delays import retransmission_timeout
from loadkit.recording.histogram import quantile_of
from loadkit.recording.slices import Kind, SliceTable, region_series
from loadkit.target import NetworkPath, Target
from loadkit.workload.workload import MixEntry, Think
from tests.known_answers.runs import Answer
from tests.known_answers.servers import Stalling, serving
from tests.virtual_time import plan_of

pytestmark = [pytest.mark.load, pytest.mark.prove]

ROOT = Path(__file__).parent.parent
JITTERY = NetworkPath(0.08, jitter=0.01)
LOSSY = NetworkPath(0.08, loss=0.02)
STEADY = slice(3, 15)
"""Seconds of the run without the opening of connections, which takes a second round trip."""


def quantile(table: SliceTable, region: str, share: float) -> float:
    found = table.histograms(Kind.RESPONSE, [region_series(region)], STEADY.start, STEADY.stop)
    value = quantile_of(found[region_series(region)], share)
    assert value is not None
    return value


def test_the_network_of_a_region_is_measured_as_it_was_stated() -> None:
    mix = tuple(
        MixEntry("loadkit.journey:fetch", 0.5, region, (("path", "/work"),))
        for region in ("Jittery", "Lossy")
    )
    plan = plan_of(mix=mix, level=200, seconds=15, think=Think(0.3, 0.7), drain=2.0)
    with serving(Stalling(0.0, 0.0, 1e9)) as server:
        target = Target("known", server.base, regions={"Jittery": JITTERY, "Lossy": LOSSY})
        done = Answer(run(plan, target, root=ROOT, workers=1), server.log())
    table, late = done.run.table, done.run.facts["relay"]["late_p99"]
    shape, scale = (0.08 / 0.01) ** 2, 0.01**2 / 0.08
    for share, allowed in ((0.5, 0.002), (0.95, 0.003)):
        truth = float(gamma.ppf(share, a=shape, scale=scale))
        measured = quantile(table, "Jittery", share)
        assert truth - allowed <= measured <= truth + allowed + done.disturbance(share) + 2 * late
    # 3.96 % of the round trips lose a packet in one of the two directions.
    assert quantile(table, "Lossy", 0.9) < 0.09 + done.disturbance(0.9) + 2 * late
    assert quantile(table, "Lossy", 0.99) > 0.08 + retransmission_timeout(LOSSY) - 0.002
