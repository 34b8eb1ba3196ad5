"""How uptime is judged: each protocol that the run used has to be up."""

import dataclasses

import numpy as np
import pytest

from loadkit import grammar
from loadkit.engine.uptime import INTERVAL
from loadkit.recording.run import DATABASE, HTTP, WEBSOCKET
from loadkit.recording.slices import SliceTable
from loadkit.recording.timing import CONNECT, QUERY, REQUEST
from loadkit.verdict import Status
from loadkit.workload.workload import Model
from tests.builders import judge, plan_of, run_of, samples_of

PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE
UPTIME = grammar.criterion("uptime is above 99.9%")
USES = {HTTP: REQUEST, WEBSOCKET: CONNECT, DATABASE: QUERY}


def probes(seconds, down=()):
    """Twenty per second; those due in a span of `down` (seconds) were not answered."""
    due = np.arange(round(seconds / INTERVAL)) * INTERVAL
    return tuple((float(at), not any(start <= at < end for start, end in down)) for at in due)


def used(seconds=240, uses=(HTTP, WEBSOCKET, DATABASE), probed=None, **down):
    """A run that used some protocols; `http`, `websocket`, `database`: when each was down."""
    table = SliceTable()
    for name in uses:
        starts = np.arange(seconds * 20) / 20
        table.record(samples_of(starts, np.full(len(starts), 0.02)), timing=USES[name])
    names = {HTTP: "http", WEBSOCKET: "websocket", DATABASE: "database"}
    made = {name: probes(seconds, down.get(names[name], ())) for name in (uses if probed is None else probed)}
    return run_of(
        table,
        plan_of(seconds, model=Model.CLOSED),
        probes=made.pop(HTTP, ()),
        protocol_probes=made,
    )


def test_uptime_is_a_fact_of_the_run_and_no_inference_from_the_number_of_probes():
    found = judge(UPTIME, used(180))
    assert (found.status, found.measured, found.interval, found.effective_samples) == (PASS, 1.0, None, None)
    assert "(HTTP 100 %, WebSocket 100 %, the database 100 %)" in found.reason
    assert "confidence" not in found.reason
    assert "3,600 of 3,600 probes were answered" in found.reason
    assert "is sure to see an outage only if it recurs within 60 s" in found.reason
    assert list(found.details["protocols"]) == [HTTP, WEBSOCKET, DATABASE]


def test_a_run_too_short_is_inconclusive_and_says_how_long_it_must_be():
    """A single failed probe of fewer than a thousand is more than 0.1 %."""
    found = judge(UPTIME, used(20))
    assert found.status is UNKNOWN
    assert "400 of 400 probes were answered, and 1,000 are needed to show it" in found.reason
    assert "about 50 s of steady load would decide it" in found.reason
    assert judge(UPTIME, used(49)).status is UNKNOWN
    assert judge(UPTIME, used(50)).status is PASS
    assert judge(grammar.criterion("uptime is at least 100%"), used(20)).status is PASS


@pytest.mark.parametrize("protocol", ["http", "websocket", "database"])
def test_one_protocol_that_is_down_fails_and_is_named(protocol):
    found = judge(UPTIME, used(**{protocol: [(100, 112)]}))
    name = {"http": HTTP, "websocket": WEBSOCKET, "database": DATABASE}[protocol]
    assert (found.status, found.measured) == (FAIL, 0.95)
    assert found.reason.lower().startswith(f"{name.lower()}: uptime was 95 %")
    assert found.details["protocols"][name]["status"] == "fail"


@pytest.mark.parametrize(
    ("sentence", "outage", "status"),
    [
        ("uptime is above 99.9%", 0.15, PASS),  # 3 of 4000 probes
        ("uptime is above 99.9%", 0.2, FAIL),  # 4 of them are exactly the limit
        ("uptime is at least 99.9%", 0.2, PASS),
        ("uptime is at least 99.9%", 0.25, FAIL),
        ("uptime is above 99.9%", 2.0, FAIL),  # ten times the allowed downtime
    ],
)
def test_an_outage_is_compared_with_the_limit_as_it_was(sentence, outage, status):
    found = judge(grammar.criterion(sentence), used(200, database=[(100, 100 + outage)]))
    assert found.status is status
    assert found.measured == 1 - round(outage / INTERVAL) / 4000


@pytest.mark.parametrize(
    ("missing", "key"), [(WEBSOCKET, "websocket_ready"), (DATABASE, "[database] dsn"), (HTTP, "ready")]
)
def test_a_protocol_that_was_used_and_not_probed_is_no_pass(missing, key):
    found = judge(UPTIME, used(probed=[name for name in USES if name != missing]))
    assert found.status is UNKNOWN
    assert f"no probe of {missing} was made; the key {key} of the environment file" in found.reason


def test_a_protocol_that_the_run_did_not_use_needs_no_probe():
    found = judge(UPTIME, used(uses=(HTTP,)))
    assert (found.status, found.measured) == (PASS, 1.0)
    assert found.reason.startswith("Uptime was 100 %")
    assert judge(UPTIME, used(uses=(DATABASE,))).status is PASS


def test_probes_that_stopped_are_no_pass():
    run = used(uses=(HTTP,))
    half = dataclasses.replace(run, probes=run.probes[: len(run.probes) // 2])
    found = judge(UPTIME, half)
    assert found.status is UNKNOWN
    assert "only 2,400 probes of HTTP were made, in 120 of 240 seconds" in found.reason.lower().replace(
        "http", "HTTP"
    )


def test_an_outage_costs_the_probes_of_its_length():
    """Probes are due by the clock: those of a hung service are not fewer than those of a good one."""
    found = judge(grammar.criterion("uptime is above 90%"), used(uses=(HTTP,), http=[(60, 84)]))
    assert found.measured == pytest.approx(0.9)
