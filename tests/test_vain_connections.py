"""Connections that the service accepts and ends at once, and actions of the plan that end none."""

import dataclasses

import numpy as np
import pytest

from loadkit.recording.messages import DISCONNECTED, MESSAGES_RECEIVED, MESSAGES_SEARCHED, MISSING
from loadkit.recording.run import Event
from loadkit.recording.timing import CONNECT, LIFETIME, RECONNECT
from loadkit.recording.worker_second import JOURNEY_ERROR, JOURNEYS, USERS, WITH_ERRORS
from loadkit.verdict import Status
from loadkit.workload.plan import Action
from loadkit.workload.workload import Model
from tests.builders import plan_of, samples_of
from tests.test_judge_messages import DOUBLE, LOST, ORDER, REACH, run_with, verdict

PASS, FAIL, UNKNOWN = Status.PASS, Status.FAIL, Status.INCONCLUSIVE

SUCCESS = "the connection success rate is above 90%"
RAMPED = plan_of(60, ramp=10, model=Model.CLOSED)
RAMP = (0.0, 9.9)


def attempts(number=500, over=RAMP, took=0.01, outcome="ok", label="WS /"):
    return CONNECT, samples_of(np.linspace(*over, number), np.full(number, took), label, outcome)


def ended(number, over=RAMP, after=0.005, outcome="closed 1006", label="WS /"):
    """Connections that opened evenly over a time, and ended so many seconds after it."""
    return LIFETIME, samples_of(np.linspace(*over, number), np.full(number, after), label, outcome)


def on_success(*samples, sentence=SUCCESS, plan=RAMPED, counts=(), **changes):
    return verdict(sentence, run_with(counts, seconds=70, plan=plan, samples=samples, **changes))


# --- accepted and ended at once


@pytest.mark.parametrize(
    ("connections", "status"),
    [
        (ended(200), UNKNOWN),
        (ended(500), UNKNOWN),
        (ended(200, after=0.95), UNKNOWN),
        (ended(200, outcome="closed 1000"), UNKNOWN),
        (ended(200, outcome="invalid frame"), UNKNOWN),
        # They served for a time; criteria on connections that stay open judge that.
        (ended(200, after=1.1), PASS),
        # The users closed them, as churn does, or one that needs its connection for a moment only.
        (ended(500, outcome="ok"), PASS),
        (ended(5), PASS),
    ],
)
def test_a_connection_that_is_accepted_and_ended_at_once_is_no_sure_success(connections, status):
    found = on_success(attempts(), connections)
    assert found.status is status, found.reason


def test_the_reason_names_the_connections_and_the_rate_without_them():
    found = on_success(attempts(), ended(200))
    assert found.reason.startswith("Connection success rate was 100 %")
    assert (
        "but 200 connections were accepted and ended within a second, and no user closed them; "
        "if they had failed, connection success rate was 60 %" in found.reason
    )
    assert found.details["closed_at_once"] == 200


def test_a_few_of_them_are_told_where_they_do_not_matter():
    found = on_success(attempts(), ended(5))
    assert any(
        each.startswith("5 connections were accepted and ended within a second") for each in found.warnings
    )


def test_what_fails_and_what_is_not_known_stays_so():
    refused = attempts(200, outcome="status 503")
    assert on_success(attempts(), refused, ended(500)).status is FAIL
    assert on_success(attempts(5), ended(5)).status is UNKNOWN


def test_connections_that_opened_slowly_and_after_their_last_attempt_count_too():
    late = attempts(over=(0.0, 0.9), took=1.5), ended(500, over=(1.5, 2.4))
    found = on_success(*late)
    assert found.status is UNKNOWN
    assert "if they had failed, connection success rate was 0 %" in found.reason


def test_connections_of_attempts_after_the_window_are_not_those_of_attempts_in_it():
    stages = plan_of(60, ramp=10, model=Model.CLOSED)
    fall = stages.with_workloads(
        lambda load: dataclasses.replace(
            load, stages=(*load.stages, dataclasses.replace(load.stages[-1], seconds=20.0, level=10))
        )
    )
    later = (70.5, 76.0)
    samples = attempts(over=(0.0, 69.9)), attempts(over=later), ended(500, over=later)
    run = run_with(seconds=90, plan=fall, samples=samples)
    assert verdict(SUCCESS, run).status is PASS


def test_the_connections_of_one_label_are_judged_by_their_own_ends():
    both = attempts(label="WS /a"), attempts(label="WS /b"), ended(200, label="WS /a")
    for label, status in (("WS /a", UNKNOWN), ("WS /b", PASS)):
        sentence = f'the connection success rate of "{label}" is above 90%'
        assert on_success(*both, sentence=sentence).status is status


def test_other_criteria_do_not_depend_on_them():
    vain = attempts(), ended(500)
    assert on_success(*vain, sentence="the p99 connection time stays below 1 s").status is PASS
    assert on_success(*vain, sentence=LOST).status is PASS


@pytest.mark.parametrize("what", ["all connections drop", "an instance is killed"])
def test_connections_that_an_action_of_the_plan_ends_leave_the_success_rate_as_it_is(what):
    """Clients of a churning load come back all the time, also just before the action."""
    plan = dataclasses.replace(
        plan_of(60, ramp=10, model=Model.CLOSED), actions=(Action(what, at=20.0, restarts=1),)
    ).with_workloads(lambda load: dataclasses.replace(load, churn=0.1))
    before = attempts(50, over=(29.2, 29.9)), ended(50, over=(29.2, 29.9), after=0.5)
    after = attempts(100, over=(30.5, 35.0)), ended(100, over=(30.5, 35.0))
    assert on_success(attempts(100), *before, *after, plan=plan).status is PASS
    # Those that ended before the action are no work of it.
    earlier = attempts(50, over=(20.0, 25.0)), ended(50, over=(20.0, 25.0))
    assert on_success(attempts(100), *earlier, *before, *after, plan=plan).status is UNKNOWN


def test_hidden_failures_and_connections_ended_at_once_count_together():
    """Either of them alone leaves the pass as it is."""

    def status(closed, errors):
        samples = [attempts(), *([ended(closed)] if closed else [])]
        run = run_with(seconds=70, plan=RAMPED, samples=samples)
        counts = (
            {JOURNEYS: 500, USERS: 100, WITH_ERRORS: 1, f"{JOURNEY_ERROR}KeyError": errors} if errors else {}
        )
        seconds = [*run.worker_seconds]
        seconds[5] = dataclasses.replace(
            seconds[5], counts={"users": {**seconds[5].counts["users"], **counts}}
        )
        return verdict(SUCCESS, dataclasses.replace(run, worker_seconds=seconds)).status

    assert status(34, 0) is PASS
    assert status(0, 5) is PASS
    assert status(34, 5) is UNKNOWN


# --- a gap that was none


STORM = Event(20.0, "all connections drop")
KILL = Event(20.4, "an instance is killed", restarts=1)


def gapped(*events, drops=(), samples=(), plan=None):
    run = run_with(events=events, samples=samples, plan=plan)
    seconds = [*run.worker_seconds]
    for at in drops:
        counts = {**seconds[at].counts, "connections": {f"{DISCONNECTED}closed 1006": 3}}
        seconds[at] = dataclasses.replace(seconds[at], counts=counts)
    return dataclasses.replace(run, worker_seconds=seconds)


@pytest.mark.parametrize("sentence", [LOST, DOUBLE, ORDER, REACH])
@pytest.mark.parametrize("event", [STORM, KILL])
def test_an_action_that_ends_no_connection_shows_nothing_of_messages_across_a_gap(sentence, event):
    found = verdict(sentence, gapped(event))
    assert found.status is UNKNOWN
    assert f'no connection is known to have dropped because of "{event.what}"' in found.reason
    assert verdict(sentence, gapped(event, drops=[20])).status is PASS
    assert verdict(sentence, gapped(event, drops=[50])).status is PASS  # found by a ping
    assert verdict(sentence, gapped(event, drops=[19])).status is UNKNOWN


def test_each_of_several_actions_must_end_a_connection():
    later = dataclasses.replace(KILL, at=40.4)
    assert verdict(LOST, gapped(STORM, later, drops=[21])).status is UNKNOWN
    assert "an instance is killed" in verdict(LOST, gapped(STORM, later, drops=[21])).reason
    assert "all connections drop" in verdict(LOST, gapped(STORM, later, drops=[40])).reason
    assert verdict(LOST, gapped(STORM, later, drops=[21, 40])).status is PASS


def test_actions_at_the_same_time_end_connections_together():
    assert verdict(LOST, gapped(STORM, KILL, drops=[21])).status is PASS
    assert verdict(LOST, gapped(STORM, KILL)).status is UNKNOWN


def test_an_action_that_need_not_end_a_connection_needs_no_gap():
    assert verdict(LOST, gapped(Event(20.0, "the cache is emptied"))).status is PASS


def test_a_lost_message_fails_with_and_without_a_gap():
    assert verdict(LOST, run_with({MISSING: 1}, events=[STORM])).status is FAIL


def test_a_plan_that_drops_connections_and_dropped_none_shows_nothing_across_a_gap():
    plan = plan_of(60, model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, churn=0.01))
    found = verdict(LOST, gapped(plan=plan))
    assert found.status is UNKNOWN
    assert "none was dropped, so there was no gap" in found.reason
    back = RECONNECT, samples_of(np.array([20.0]), np.array([2.0]), "WS /")
    assert verdict(LOST, gapped(plan=plan, samples=[back])).status is PASS


@pytest.mark.parametrize(("at", "status"), [(10.0, PASS), (20.0, UNKNOWN), (55.0, UNKNOWN)])
def test_what_an_action_ended_does_not_show_that_the_plan_dropped_connections(at, status):
    plan = plan_of(60, model=Model.CLOSED).with_workloads(lambda load: dataclasses.replace(load, churn=0.01))
    back = RECONNECT, samples_of(np.array([at]), np.array([2.0]), "WS /")
    assert verdict(LOST, gapped(KILL, drops=[21], plan=plan, samples=[back])).status is status


def test_others_data_needs_no_gap():
    run = run_with({MESSAGES_RECEIVED: 6000, MESSAGES_SEARCHED: 6000}, events=[STORM])
    assert verdict("no message carries another tenant's data", run).status is PASS
    assert verdict(LOST, run).status is UNKNOWN
