"""What counts as the failure of an operation, and what as a mistake of the journey."""

import contextlib
import json

import pytest

from loadkit.drivers.base import NoResponse
from loadkit.journey import journey
from loadkit.recording.timing import SEND
from loadkit.users.lifecycle import Lifecycle
from loadkit.workload.workload import Think
from tests.user_meeting import following, meet, mistakes_of


def outcomes_of(*steps, **plan):
    """What is recorded of a journey that takes these steps once."""

    @journey("j")
    async def work(user, topic):
        for step in steps:
            answer = await step(user)
        answer.json()

    meeting = meet(lambda user: following(user, work, is_once=True), **plan)
    return [(sample.label, sample.outcome) for sample in meeting.recorder.requests.samples]


def page(user):
    return user.get("/page")


@pytest.mark.parametrize("is_httpx", [False, True])
def test_an_answer_that_is_not_json_is_one_failed_operation(is_httpx):
    async def ask(user):
        if is_httpx:
            user.use_httpx()
        return await page(user)

    assert outcomes_of(page, ask) == [("GET /page", "ok"), ("GET /page", "body is not JSON")]


def test_an_operation_that_failed_before_its_body_was_read_keeps_its_failure():
    async def check(user):
        answer = await page(user)
        user.check(False, "it is new")
        return answer

    assert outcomes_of(lambda user: user.get("/broken")) == [("GET /broken", "status 500")]
    assert outcomes_of(check) == [("GET /page", "check: it is new")]


def test_an_expected_status_does_not_excuse_a_body_that_is_not_json():
    def ask(user):
        return user.get("/broken", expect=(500,))

    assert outcomes_of(ask) == [("GET /broken", "body is not JSON")]


def test_a_body_that_is_read_after_a_later_operation_fails_its_own_operation_and_no_other():
    async def ask_twice(user):
        answer = await page(user)
        await user.get("/other")
        return answer

    assert outcomes_of(ask_twice) == [("GET /page", "body is not JSON"), ("GET /other", "ok")]


def test_a_body_that_is_read_after_a_think_time_fails_its_operation_once():
    async def ask_and_think(user):
        answer = await page(user)
        await user.think()
        return answer

    assert outcomes_of(ask_and_think, think=Think(5.0, 5.0)) == [("GET /page", "body is not JSON")]


def test_an_operation_that_a_check_failed_keeps_that_failure_when_its_body_is_read_later():
    async def check_and_think(user):
        answer = await page(user)
        user.check(False, "it is new")
        await user.think()
        return answer

    assert outcomes_of(check_and_think, think=Think(5.0, 5.0)) == [("GET /page", "check: it is new")]


@pytest.mark.parametrize("checks", [0, 150])
def test_a_kept_answer_that_is_read_in_each_journey_fails_its_operation_once(checks):
    @journey("kept")
    async def work(user, topic):
        user.state["page"] = user.state.get("page") or await page(user)
        user.state["page"].json()

    @journey("checked")
    async def checked(user, topic):
        await user.get("/other")
        user.check(False, "it is new")

    async def use(user):
        await following(user, work, is_once=True)
        for _ in range(checks):
            await following(user, checked, is_once=True)
        await following(user, work, is_once=True)

    recorder = meet(use).recorder.requests
    assert [sample.outcome for sample in recorder.samples if sample.label == "GET /page"] == [
        "body is not JSON"
    ]
    assert not recorder.retracted


def test_an_error_after_a_failed_answer_and_a_think_is_no_mistake_of_the_journey_either():
    @journey("j")
    async def work(user, topic):
        answer = await user.get("/broken")
        await user.think()
        _ = answer.json_body

    meeting = meet(lambda user: following(user, work, is_once=True), think=Think(1.0, 1.0))
    assert not meeting.recorder.counts


def test_a_failed_assertion_of_a_journey_is_a_failed_operation_and_no_mistake():
    @journey("j")
    async def work(user, topic):
        await user.get("/")
        assert user.number < 0, "the author's own check of the service"

    meeting = meet(lambda user: following(user, work, is_once=True))
    assert not meeting.recorder.counts
    *_, sample = meeting.recorder.requests.samples
    assert (sample.label, sample.outcome) == ("(journey)", "error: AssertionError")


def test_an_error_after_a_failed_operation_that_is_not_recorded_is_no_mistake_either():
    @journey("j")
    async def work(user, topic):
        answer = await user.get("/broken", record=False)
        _ = answer.json_body

    @journey("caught")
    async def caught(user, topic):
        answer = None
        with contextlib.suppress(NoResponse):
            answer = await user.get("/!refused")
        _ = answer.json_body

    for each in (work, caught):
        assert not meet(lambda user, each=each: following(user, each, is_once=True)).recorder.counts


@pytest.mark.parametrize(("path", "outcome"), [("/broken", "status 500"), ("/!refused", "refused")])
def test_an_operation_that_is_not_recorded_and_ends_its_journey_is_one_failed_operation(path, outcome):
    @journey("j")
    async def work(user, topic):
        (await user.get(path, record=False)).raise_for_status()

    @journey("caught")
    async def caught(user, topic):
        with contextlib.suppress(NoResponse):
            await user.get(path, record=False)
        _ = user.state["token"]

    for each in (work, caught):
        recorder = meet(lambda user, each=each: following(user, each, is_once=True)).recorder
        assert not recorder.counts
        assert [sample[:2] for sample in recorder.requests.samples] == [("(journey)", outcome)]


@pytest.mark.parametrize("path", ["/broken", "/!refused"])
def test_a_failure_that_is_not_recorded_and_did_not_end_the_journey_is_no_failed_operation(path):
    @journey("j")
    async def work(user, topic):
        with contextlib.suppress(NoResponse):
            await user.get(path, record=False)
        (await user.get("/broken", label="result")).raise_for_status()

    recorder = meet(lambda user: following(user, work, is_once=True)).recorder
    assert [sample[:2] for sample in recorder.requests.samples] == [("result", "status 500")]


def test_an_operation_that_begins_forgets_the_unrecorded_failure_before_it():
    async def use(user):
        await user.get("/broken", record=False)
        with await user.meter.begin("other", SEND) as operation:
            operation.succeeded(user.meter.now())
        assert (user.meter.has_failed, user.meter.unrecorded_failure) == (True, "")

    meet(use)


def test_a_mistake_in_a_renewal_is_counted_as_a_journeys_and_tried_again():
    @journey("j")
    async def work(user, topic):
        if "due" not in user.state:
            user.state["due"] = True
            user.renew_after(0.0, renew)
        await user.get("/")

    async def renew():
        raise KeyError("token")

    async def use(user):
        life = Lifecycle(user, user.meter._pacer)
        for _ in range(3):  # and not again before the next journey, which begins at once
            await life.follow(work, is_once=True)

    ((mistake, times),) = mistakes_of(meet(use).recorder).items()
    assert mistake.startswith(
        "the renewal of users (renew_after) itself failed: KeyError: 'token' at tests/test_user_failures.py:"
    )
    assert times == 3


def test_a_mistake_is_placed_in_the_journeys_code_and_only_twenty_are_told_apart():
    @journey("misspelt")
    async def work(user, topic):
        _ = user.random.choice([])

    @journey("many")
    async def many(user, topic):
        getattr(user.state, f"key{user.number}")

    async def use(user):
        await following(user, work, is_once=True)
        for user.number in range(30):
            await following(user, many, is_once=True)

    counts = mistakes_of(meet(use).recorder)
    assert next(iter(counts)).startswith(
        'the journey "misspelt" itself failed: IndexError: Cannot choose from an empty sequence '
        "at tests/test_user_failures.py:"
    )
    assert len(counts) == 21
    assert counts["journeys failed themselves (other errors)"] == 11


def test_the_text_of_a_mistake_is_told_only_where_it_is_in_the_code():
    @journey("misspelt")
    async def work(user, topic):
        _ = {"id": 1}["idd"]

    @journey("data")
    async def data(user, topic):
        raise KeyError(f"of {topic}")

    def told(journey):
        (name,) = mistakes_of(meet(lambda user: following(user, journey, is_once=True)).recorder)
        return name.rpartition(" at ")[0].partition("itself failed: ")[2]

    assert told(work) == "KeyError: 'idd'"
    assert told(data) == "KeyError"


def test_a_journey_that_catches_the_error_decides_itself_what_failed():
    async def use(user):
        answer = await page(user)
        with pytest.raises(json.JSONDecodeError, match="the body is not JSON"):
            answer.json()

    (sample,) = meet(use).recorder.requests.samples
    assert sample.outcome == "ok"
