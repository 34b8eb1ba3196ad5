"""The trial of each journey before the load, in virtual time."""

import asyncio
import re

import pytest

from loadkit.drivers.fake import Answer, FakeDriver
from loadkit.drivers.http.client import HttpClient
from loadkit.engine.trial import try_users
from loadkit.engine.worker import Shard
from loadkit.errors import ConfigurationError
from loadkit.target import Account, Secret, Target
from loadkit.users.pacer import LoopAlarm
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.virtual_time import ROOT, VirtualLoop, plan_of, simulate

ACCOUNTS = tuple(Account(f"u{number}", Secret("x")) for number in range(9))


class RememberingDriver(FakeDriver):
    """Keeps the headers of each request."""

    def client(self, meter):
        client = HttpClient(meter, self)
        SENT.append(client.headers)
        return client


SENT = []


def trial(plan, answer=None, target=None):
    """The requests of a trial, and the seconds that it took."""
    loop, asked = VirtualLoop(), []
    SENT.clear()

    def service(_now, method, path):
        asked.append(f"{method} {path}")
        return answer(path) if answer else Answer(0.1)

    shard = Shard(0, 1, target or Target("shop", "http://fake"), "run-7", ROOT)
    drivers = (RememberingDriver(service, loop.clock),)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(try_users(plan, shard, clock=loop.clock, drivers=drivers, alarm_of=LoopAlarm))
    return asked, loop.clock.seconds


def journeys(*names, **rest):
    return plan_of(
        mix=tuple(MixEntry(f"tests.sample_journeys:{name}", 1 / len(names)) for name in names), **rest
    )


@pytest.mark.parametrize("model", list(Model))
def test_each_journey_of_a_mix_is_tried_once_without_its_think_times(model):
    asked, seconds = trial(journeys("two_steps", "failing_check", model=model, think=Think(60, 60)))
    assert asked == ["GET /first/1", "POST /second", "GET /checked"]
    assert seconds == pytest.approx(0.3, abs=0.01)


def test_the_journeys_of_all_populations_are_tried_each_once():
    def population(name, journey):
        mix = (MixEntry(f"tests.sample_journeys:{journey}", 1.0),)
        return Population(name, Workload(Model.CLOSED, (Stage(0, 5), Stage(60, 5)), mix))

    plan = Plan(
        "shop",
        (population("a", "two_steps"), population("b", "two_steps"), population("c", "failing_check")),
    )
    assert trial(plan)[0] == ["GET /first/1", "POST /second", "GET /checked"]


def test_a_mistake_of_any_journey_is_an_error_of_one_line():
    with pytest.raises(ConfigurationError) as caught:
        trial(journeys("two_steps", "mistake_at_once"))
    assert re.fullmatch(
        r"the journey \"a mistake at once\" itself failed: KeyError: 'nothing' at "
        r"tests/sample_journeys/__init__\.py:\d+ \(found in one trial before the load\)",
        str(caught.value),
    )


@pytest.mark.parametrize(
    "answer",
    [
        Answer(0.1, status_code=500),
        Answer(0.1, failure="refused"),
        Answer(0.1, body=b"<html>"),
        Answer(0.1, body=b"[]"),
        Answer(5000.0),
    ],
    ids=["status", "refused", "no JSON", "failing check", "no answer"],
)
def test_a_failure_of_the_service_in_a_trial_is_no_mistake(answer):
    trial(journeys("two_steps", "failing_check", "expected_refusal", "through_httpx"), lambda _: answer)


def test_an_error_after_a_failed_answer_is_no_mistake_in_a_trial_either():
    trial(journeys("mistake"), lambda _: Answer(0.1, status_code=500))


def test_a_journey_that_does_not_end_is_stopped_and_the_next_is_tried():
    asked, seconds = trial(journeys("endless", "failing_check"))
    assert asked[-1] == "GET /checked"
    assert seconds == pytest.approx(10.1, abs=0.2)


def test_trials_that_take_long_do_not_delay_a_run_by_more_than_forty_seconds():
    plan = plan_of(
        mix=tuple(MixEntry("tests.sample_journeys:endless", 0.1, "", (("text", f"{n}"),)) for n in range(10))
    )
    _, seconds = trial(plan)
    assert seconds <= 40


def test_a_user_arrives_before_its_trial_with_an_account_of_its_role():
    admin = Account("root", Secret("x"), role="admin")
    target = Target(
        "shop", "http://fake", accounts=(*ACCOUNTS, admin), journeys="tests.sample_journeys.arriving"
    )
    mix = (
        MixEntry("tests.sample_journeys.arriving:work", 0.5),
        MixEntry("tests.sample_journeys:administer", 0.5),
    )
    asked, _ = trial(plan_of(mix=mix), target=target)
    assert asked == ["POST /login", "GET /tasks/u0", "POST /login", "GET /admin/root"]


def test_a_journey_is_not_tried_by_a_user_that_could_not_arrive():
    target = Target("shop", "http://fake", accounts=ACCOUNTS, journeys="tests.sample_journeys.arriving")
    plan = plan_of("tests.sample_journeys.arriving:work")
    asked, _ = trial(plan, lambda _: Answer(0.1, status_code=503), target)
    assert asked == ["POST /login"]


def test_a_mistake_in_arrive_is_found():
    target = Target("shop", "http://fake", accounts=ACCOUNTS, journeys="tests.sample_journeys.misspelt")
    with pytest.raises(ConfigurationError, match=r"\(arrive\) itself failed: KeyError: 'token' at tests/"):
        trial(plan_of("tests.sample_journeys.misspelt:idle"), target=target)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"<html>\n  <title>Down</title>", "<html> <title>Down</title>"),
        (b"access_token=abc.def&expires=60", "access_token=***&expires=***"),
        (b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "***"),
        (b"\x00\xff", "\ufffd\ufffd"),
        (b"no " * 50, "no " * 20 + "…"),
        (b"", ""),
    ],
)
def test_a_login_that_is_answered_with_no_json_is_one_line_without_tokens(body, shown):
    target = Target("shop", "http://fake", accounts=ACCOUNTS, journeys="tests.sample_journeys.misspelt")
    with pytest.raises(ConfigurationError) as caught:
        trial(plan_of("tests.sample_journeys.misspelt:idle"), lambda _: Answer(0.1, body=body), target)
    assert str(caught.value) == (
        f'POST /login at http://fake answered with status 200 and a body that is not JSON: "{shown}"; '
        "check the address of environment shop"
    )


def test_a_trial_keeps_no_account_from_the_run():
    target = Target("shop", "http://fake", accounts=ACCOUNTS[:5], journeys="tests.sample_journeys.arriving")
    plan = plan_of("tests.sample_journeys.arriving:work", level=5, seconds=5)
    trial(plan, target=target)
    run = simulate(plan, lambda _now, _method, _path: Answer(0.1), target=target)
    assert len(run.table.names("label:")) == 5


def test_requests_of_a_trial_carry_the_runs_id_and_names_made_of_it_do_not_occur_in_the_run():
    asked, _ = trial(journeys("naming"))
    assert asked == ["POST /names/run-7-trial-0"]
    assert [headers["x-run-id"] for headers in SENT] == ["run-7"]


@pytest.mark.parametrize(("model", "first"), [(Model.CLOSED, "/of/acme"), (Model.JOURNEYS, None)])
def test_a_trial_acts_for_the_tenants_that_the_run_acts_for(model, first):
    accounts = tuple(Account(f"u{number}", Secret("x"), tenant="acme") for number in range(9))
    target = Target("shop", "http://fake", accounts=accounts)
    plan = journeys("for_each_tenant", model=model, level=2, seconds=5, think=Think(1, 1))
    of_run = []

    def service(_now, _method, path):
        of_run.append(path)
        return Answer(0.1)

    asked, _ = trial(plan, target=target)
    simulate(plan, service, target=target)
    expected = {first} - {None}
    assert ({each.partition(" ")[2] for each in asked}, set(of_run)) == (expected, expected)


@pytest.mark.parametrize(("users", "followed"), [(1, ["GET /first/1", "POST /second"]), (5, None)])
def test_a_trial_needs_no_account_of_a_role_that_none_of_the_users_has(users, followed):
    admin = Account("root", Secret("x"), role="admin")
    target = Target("shop", "http://fake", accounts=(*ACCOUNTS, admin))
    asked, _ = trial(journeys("two_steps", "administer", level=users), target=target)
    assert asked == (followed or ["GET /first/1", "POST /second", "GET /admin/root"])
