"""The examples of failed operations, and their traces."""

import asyncio
import contextlib

import pytest

from loadkit.drivers.base import NoResponse
from loadkit.journey import journey
from loadkit.recording.examples import MOST, Exchange
from loadkit.recording.timing import SEND
from loadkit.target import Account, Secret
from loadkit.users.lifecycle import Lifecycle
from loadkit.workload.workload import Model
from tests.user_meeting import following, lines_of, meet, only_request


def examples_of(use):
    return meet(use).recorder.examples.drain()


def test_a_failed_operation_is_an_example_with_what_was_sent_and_what_came_back():
    (example,) = examples_of(lambda user: user.post("/broken", json={"n": 1}))
    assert (example.outcome, example.user, example.region) == ("status 500", 3, "eu")
    assert example.exchange.request.splitlines()[0] == "POST /broken"
    assert '{"n":1}' in example.exchange.request
    assert example.exchange.answer.splitlines()[0] == "500"
    assert "<html>" in example.exchange.answer


def test_an_operation_without_an_answer_is_an_example_too():
    async def use(user):
        with contextlib.suppress(NoResponse):
            await user.get("/!reset")

    (example,) = examples_of(use)
    assert (example.outcome, example.exchange.answer) == ("reset", "")
    assert example.exchange.request.startswith("GET /!reset")


def test_an_operation_that_a_check_fails_is_an_example_of_that_check():
    async def use(user):
        await user.get("/page")
        user.check(False, "shows the event")

    (example,) = examples_of(use)
    assert example.outcome == "check: shows the event"
    assert "<html>" in example.exchange.answer


def test_what_is_not_recorded_is_no_example():
    assert examples_of(lambda user: user.get("/broken", record=False)) == ()


def arriving(arrive, **rest):
    """The failures of a user whose preparation `arrive` is tried once, and their examples."""

    async def use(user):
        user.meter.is_recorded = False  # as before the load
        await Lifecycle(user, user.meter._pacer).arrive_once(arrive)

    recorder = meet(use, **rest).recorder
    return [sample[:2] for sample in recorder.requests.samples], recorder.examples.drain()


LOG_IN = {"username": "ann", "password": "S3CRET-text"}


@pytest.mark.parametrize(
    ("path", "outcome", "answer"),
    [
        ("/broken", "status 500", "500"),
        ("/page", "body is not JSON", "200"),
        ("/!refused", "refused", ""),
    ],
)
@pytest.mark.parametrize("model", [Model.CLOSED, Model.JOURNEYS])
def test_a_failed_log_in_is_an_example_with_what_was_sent_and_what_came_back(model, path, outcome, answer):
    async def arrive(user):
        (await user.post(path, json=LOG_IN)).raise_for_status().json()

    failures, (example,) = arriving(
        arrive, account=Account("ann", Secret("S3CRET-text"), "acme"), model=model
    )
    assert failures == [("(arrival)", outcome)]
    assert (example.label, example.outcome) == failures[0]
    assert (example.user, example.tenant, example.region, example.at) == (3, "acme", "eu", 0.0)
    assert example.seconds == pytest.approx(0.1)
    assert example.exchange.request.splitlines()[0] == f"POST {path}"
    assert '"username":"ann"' in example.exchange.request
    assert "S3CRET-text" not in example.exchange.request
    assert example.exchange.trace
    assert example.exchange.answer.partition("\n")[0] == answer


def test_a_failed_log_in_shows_the_answer_that_failed_and_no_other():
    async def arrive(user):
        page = await user.get("/page")
        await user.get("/later")
        page.json()

    failures, (example,) = arriving(arrive)
    assert failures == [("(arrival)", "body is not JSON")]
    assert example.exchange == Exchange()


def test_of_log_ins_that_fail_again_and_again_five_are_kept():
    async def arrive(user):
        (await user.post("/broken")).raise_for_status()

    async def use(user):
        for _ in range(40):
            await Lifecycle(user, user.meter._pacer).arrive_once(arrive)

    meeting = meet(use)
    kept = meeting.recorder.examples.drain()
    assert MOST <= len([each for each in kept if each.label == "(arrival)"]) <= 2 * MOST


def test_a_log_in_that_succeeds_leaves_no_answer_behind():
    async def use(user):
        user.meter.is_recorded = False
        await Lifecycle(user, user.meter._pacer).arrive_once(lambda user: user.get("/"))
        assert user.meter.exchange is None

    meet(use)


@pytest.mark.parametrize(
    ("path", "outcome", "answer"),
    [("/broken", "status 500", "500"), ("/page", "body is not JSON", "200"), ("/!refused", "refused", "")],
)
def test_a_journey_that_ends_with_what_is_not_recorded_is_an_example_of_that(path, outcome, answer):
    @journey("j")
    async def work(user, topic):
        await user.get("/")
        (await user.get(path, record=False)).raise_for_status().json()

    @journey("caught")
    async def caught(user, topic):
        with contextlib.suppress(NoResponse):
            await user.get(path, record=False)
        _ = user.state["token"]

    for each in (work,) if path == "/page" else (work, caught):
        *_, example = examples_of(lambda user, each=each: following(user, each, is_once=True))
        assert (example.label, example.outcome) == ("(journey)", outcome)
        assert example.exchange.request.splitlines()[0] == f"GET {path}"
        assert example.exchange.answer.partition("\n")[0] == answer


def test_a_failed_assertion_is_an_example_with_the_answer_before_it_and_none_of_another_journey():
    @journey("j")
    async def work(user, topic):
        await user.get("/page")
        assert user.number < 0

    @journey("k")
    async def without(user, topic):
        assert user.number < 0

    async def use(user):
        await user.get("/earlier", record=False)
        for each in (without, work):
            await following(user, each, is_once=True)

    first, last = (each for each in examples_of(use) if each.label == "(journey)")
    assert (first.outcome, first.exchange) == ("error: AssertionError", Exchange())
    assert last.exchange.request.startswith("GET /page")
    assert "<html>" in last.exchange.answer


def test_a_renewal_in_a_journey_changes_nothing_of_what_its_failure_shows():
    @journey("j")
    async def work(user, topic):
        with contextlib.suppress(NoResponse):
            await user.get("/!refused", record=False)
        user.renew_after(0.0, lambda: user.post("/renew"))
        await user.meter.renew_if_due()
        _ = user.state["token"]

    (example,) = examples_of(lambda user: following(user, work, is_once=True))
    assert (example.label, example.outcome) == ("(journey)", "refused")
    assert example.exchange.request.startswith("GET /!refused")


def test_a_journeys_failure_outside_its_operations_is_none_that_its_arrival_became():
    @journey("j")
    async def work(user, topic):
        assert user.number < 0

    async def use(user):
        await following(user, work, is_once=True)
        assert user.meter.timings == set()

    assert len(meet(use, model=Model.JOURNEYS).recorder.examples.drain()) == 1


def test_a_request_that_is_unfinished_at_the_end_is_an_example_without_an_answer():
    async def use(user):
        for is_cut in (True, False):
            user.meter.is_cut = is_cut
            asking = asyncio.create_task(user.post("/slow", json={"n": 1}))
            await asyncio.sleep(0.05)
            asking.cancel()
            await asyncio.wait((asking,))

    (example,) = examples_of(use)
    assert (example.label, example.outcome, example.user) == ("POST /slow", "unfinished", 3)
    assert example.seconds == pytest.approx(0.05)  # it was due when the one before was given up
    assert '{"n":1}' in example.exchange.request
    assert example.exchange.answer == ""


def test_an_operation_of_another_protocol_that_is_unfinished_is_an_example_of_its_own():
    async def use(user):
        await user.get("/earlier", record=False)
        with contextlib.suppress(asyncio.CancelledError), await user.meter.begin("shout", SEND):
            raise asyncio.CancelledError

    (example,) = examples_of(use)
    assert (example.label, example.timing, example.outcome) == ("shout", SEND.key, "unfinished")
    assert example.exchange == Exchange()


def test_each_request_carries_a_trace_of_its_own_that_its_example_names():
    async def use(user):
        await user.get("/broken")
        await user.get("/broken")

    meeting = meet(use)
    sent = [lines_of(headers)["traceparent"].split("-") for _, _, headers, _, _ in meeting.driver.asked]
    assert [flags for *_, flags in sent] == ["01", "00"]  # one of a second is to be traced
    named = [example.exchange.trace for example in meeting.recorder.examples.drain()]
    assert named == [trace for _, trace, _, _ in sent]
    assert len(set(named)) == 2


def test_a_trace_of_the_journeys_own_is_kept():
    own = f"00-{'a' * 32}-{'b' * 16}-01"
    meeting = meet(lambda user: user.get("/broken", headers={"Traceparent": own}))
    assert lines_of(only_request(meeting)[2])["traceparent"] == own
    (example,) = meeting.recorder.examples.drain()
    assert example.exchange.trace == "a" * 32
