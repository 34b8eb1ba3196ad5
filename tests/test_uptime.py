"""How uptime is judged: each protocol that the run used has to be up."""

import dataclasses
import math
import re

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


def test_three_minutes_without_a_missing_answer_are_enough_for_three_nines():
    found = judge(UPTIME, used(180))
    assert (found.status, found.measured) == (PASS, 1.0)
    assert "(HTTP 100 %, WebSocket 100 %, the database 100 %)" in found.reason
    assert list(found.details["protocols"]) == [HTTP, WEBSOCKET, DATABASE]


def test_a_run_too_short_is_inconclusive_and_says_how_long_it_must_be():
    found = judge(UPTIME, used(60))
    assert found.status is UNKNOWN
    told = re.search(r"about ([\d.]+) (s|min) of steady load would decide it", found.reason)
    assert told is not None, found.reason
    needed = float(told[1]) * {"s": 1, "min": 60}[told[2]]
    assert 150 < needed < 180
    assert judge(UPTIME, used(math.ceil(needed))).status is PASS


@pytest.mark.parametrize("protocol", ["http", "websocket", "database"])
def test_one_protocol_that_is_down_fails_and_is_named(protocol):
    found = judge(UPTIME, used(**{protocol: [(100, 112)]}))
    name = {"http": HTTP, "websocket": WEBSOCKET, "database": DATABASE}[protocol]
    assert (found.status, found.measured) == (FAIL, 0.95)
    assert found.reason.lower().startswith(f"{name.lower()}: uptime was 95 %")
    assert found.details["protocols"][name]["status"] == "fail"


def test_a_short_outage_near_the_limit_is_no_pass():
    assert judge(UPTIME, used(database=[(100, 100.2)])).status is UNKNOWN


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
