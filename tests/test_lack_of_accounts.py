"""A fail that a lack of users or accounts can explain is invalid, and any other fail stands."""

import dataclasses

import numpy as np
import pytest

from loadkit.criterion import Comparison
from loadkit.recording.sample import OK, Sample
from loadkit.recording.stalls import Stall
from loadkit.recording.worker_second import ALL_IN_USE, ALL_PRESENT
from loadkit.verdict import Status
from tests.builders import error_rate, judge, plan_of, response_time, run_of, throughput, worker_seconds_of
from tests.test_judge_circumstances import NEVER, frozen_open_load

FAIL, INVALID = Status.FAIL, Status.INVALID


@pytest.mark.parametrize("beside", [(), (10, 11, 12)], ids=["then", "then and before"])
def test_a_service_that_stood_still_while_all_accounts_were_in_use_fails(beside):
    run = frozen_open_load(0.001)
    rows = [
        dataclasses.replace(each, counts={"users": each.counts["users"] | {f"{ALL_IN_USE}accounts": 100}})
        if 60 <= each.second < 68 or each.second in beside
        else each
        for each in run.worker_seconds
    ]
    run = dataclasses.replace(run, worker_seconds=rows)
    assert judge(response_time(comparison=NEVER), run).status is INVALID
    frozen = dataclasses.replace(run, stalls=(Stall(60.0, 68.0),))
    assert judge(response_time(comparison=NEVER), frozen).status is FAIL


@pytest.mark.parametrize(("stall", "status"), [(8.0, FAIL), (1.2, INVALID)])
def test_a_stall_explains_waits_for_accounts_only_for_some_time_after_it(stall, status):
    """From the stall on, arrivals wait for a user for 1 s, for 40 s."""
    starts, samples = np.arange(0, 600, 0.02), []
    for start in starts.tolist():
        wait = 1.0 if 20 <= start < 60 else 0.0
        samples.append(Sample("GET /", OK, start, start + wait, start + wait + 0.01, 100))
    rows = [
        dataclasses.replace(each, counts={"users": each.counts["users"] | {f"{ALL_IN_USE}accounts": 10}})
        if 20 <= each.second < 60
        else each
        for each in worker_seconds_of(600, scheduled=50)
    ]
    run = run_of(samples, plan_of(600, level=50), worker_seconds=rows, stalls=[(20.0, 20.0 + stall)])
    verdict = judge(response_time(comparison=Comparison.STAYS_BELOW), run)
    assert verdict.status is status, verdict.reason


def test_seconds_with_fewer_arrivals_do_not_show_a_low_throughput_of_the_service():
    """Each other second has 120 arrivals, of which 20 find no account; the rest have 80."""
    samples, rows = [], []
    for each in worker_seconds_of(300, scheduled=100):
        is_full = each.second % 2 == 0
        number = 100 if is_full else 80
        starts = each.second + np.arange(number) / number
        samples += [Sample("GET /", OK, start, start, start + 0.001, 100) for start in starts.tolist()]
        if is_full:
            end = each.second + 0.999
            samples += [Sample("GET /", "dropped", end, end, end, 0)] * 20
            counts = {"users": each.counts["users"] | {f"{ALL_IN_USE}accounts": 10}}
            rows.append(dataclasses.replace(each, counts=counts))
        else:
            rows.append(each)
    run = run_of(samples, plan_of(300, level=100), worker_seconds=rows)
    verdict = judge(throughput(94, Comparison.IS_ABOVE), run)
    assert verdict.status is INVALID, verdict.reason


def test_arrivals_dropped_while_most_users_think_excuse_no_slow_spell_at_another_time():
    samples = []
    for start in np.arange(0, 300, 0.02).tolist():
        took = 1.0 if 100 <= start < 110 else 0.01
        samples.append(Sample("GET /", OK, start, start, start + took, 100))
    samples += [Sample("GET /", "dropped", 200 + number / 9, 201.0, 201.0, 0) for number in range(9)]
    rows = [
        dataclasses.replace(each, counts={"users": each.counts["users"] | {ALL_PRESENT: 10}})
        if each.second == 200
        else each
        for each in worker_seconds_of(300, scheduled=50)
    ]
    run = run_of(samples, plan_of(300, level=50), worker_seconds=rows)
    assert judge(response_time(comparison=NEVER), run).status is FAIL


@pytest.mark.parametrize(
    ("sent", "status"), [(0.0, FAIL), (5.0, INVALID)], ids=["sent", "waited for an account"]
)
def test_operations_without_an_answer_lacked_no_account(sent, status):
    """One in five is unfinished after 5 s, while all accounts are in use."""
    samples = []
    for number, start in enumerate(np.arange(0, 60, 0.02).tolist()):
        took, outcome = (5.0, "unfinished") if number % 5 == 0 else (0.01, OK)
        begun = start + (sent if outcome != OK else 0.0)
        samples.append(Sample("GET /", outcome, start, begun, start + took, 100))
    rows = [
        dataclasses.replace(each, counts={"users": each.counts["users"] | {f"{ALL_IN_USE}accounts": 50}})
        for each in worker_seconds_of(60)
    ]
    assert judge(error_rate(0.01), run_of(samples, plan_of(60), worker_seconds=rows)).status is status
