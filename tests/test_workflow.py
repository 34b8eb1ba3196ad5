"""A workflow is one operation: it succeeds if all of its steps do, and its outcome names the first that did not."""

import asyncio
import contextlib

import pytest

from loadkit import grammar
from loadkit.drivers.base import NoResponse
from loadkit.drivers.http.response import StatusError
from loadkit.drivers.masking import Mask
from loadkit.drivers.postgres.exchanges import LastQuery
from loadkit.recording.sample import OK
from loadkit.recording.timing import WORKFLOW
from tests.user_meeting import meet


def workflows(use, **rest):
    """What was recorded of the workflows of a user, and of nothing else."""
    return meet(use, **rest).recorder.timing(WORKFLOW).samples


def test_the_time_is_that_of_the_steps_without_the_pauses():
    async def use(user):
        with user.workflow("visit") as workflow:
            with workflow.step("first"):
                await user.get("/x")
            await user.think()
            with workflow.step("second"):
                await user.get("/x")
                await user.get("/x")

    (sample,) = workflows(use)
    assert (sample.label, sample.outcome, sample.region) == ("visit", OK, "eu")
    assert sample.end - sample.intended == pytest.approx(0.3)


async def a_refusal(user):
    (await user.get("/broken")).raise_for_status()


async def no_answer(user):
    await user.get("/!reset")


async def a_failed_check(user):
    await user.get("/x")
    user.check(False, "shows the event")


async def a_status_that_nobody_looks_at(user):
    await user.get("/broken")


async def a_failed_assertion(_):
    raise AssertionError("the author's own check of the service")


@pytest.mark.parametrize(
    "wrong", [a_refusal, no_answer, a_failed_check, a_status_that_nobody_looks_at, a_failed_assertion]
)
def test_the_first_step_that_fails_is_named_whatever_failed_in_it(wrong):
    async def use(user):
        with contextlib.suppress(NoResponse, StatusError, AssertionError), user.workflow("visit") as workflow:
            with workflow.step("log in"):
                await user.get("/x")
            with workflow.step("post an event"):
                await wrong(user)
            with workflow.step("leave"):
                await user.get("/broken")

    (sample,) = workflows(use)
    assert sample.outcome == "step failed: post an event"


@pytest.mark.parametrize("is_last", [True, False])
def test_the_example_shows_the_operation_of_the_failed_step_or_the_latest_before_it(is_last):
    """A step that waits for a message has no operation of its own, but shows what it waited for."""

    async def use(user):
        with contextlib.suppress(NoResponse), user.workflow("visit") as workflow:
            with workflow.step("post an event"):
                await user.get("/first")
                if is_last:
                    user.check(False, "shows the event")
            if not is_last:
                with workflow.step("see the event"):
                    raise NoResponse("no message in time")
            with workflow.step("leave"):
                await user.get("/later")

    found = [each for each in meet(use).recorder.examples.drain() if each.timing == WORKFLOW.key]
    (example,) = [each for each in found if each.outcome != OK]
    assert example.exchange.request.startswith("GET /first")
    assert "200" in example.exchange.answer


def test_a_query_after_the_failed_step_does_not_change_the_example():
    """A client describes its last query, so that a query need not store its description."""

    async def use(user):
        last = LastQuery(Mask())
        with user.workflow("visit") as workflow:
            with contextlib.suppress(NoResponse), workflow.step("find the event"):
                user.meter.exchange = last.begin(None, batch=3)
                raise NoResponse("not found")
            with workflow.step("leave"):
                user.meter.exchange = last.begin(None, batch=8)

    found = [each for each in meet(use).recorder.examples.drain() if each.timing == WORKFLOW.key]
    (example,) = [each for each in found if each.outcome != OK]
    assert example.exchange.request == "a batch of 3 rows"


def test_a_workflow_that_succeeds_keeps_no_exchange():
    async def use(user):
        with user.workflow("visit") as workflow, workflow.step("look"):
            await user.get("/x")

    found = [each for each in meet(use).recorder.examples.drain() if each.timing == WORKFLOW.key]
    assert [each.exchange.request for each in found] == [""]


def test_a_failure_before_the_workflow_breaks_no_step():
    async def use(user):
        await user.get("/broken")
        with user.workflow("visit") as workflow, workflow.step("look"):
            await user.get("/x")

    assert [sample.outcome for sample in workflows(use)] == [OK]


@pytest.mark.parametrize("wrong", [no_answer, a_failed_check, a_status_that_nobody_looks_at])
def test_a_failure_earlier_in_the_journey_hides_no_failed_step(wrong):
    async def use(user):
        await user.get("/broken")
        for _ in range(2):
            with user.workflow("visit") as workflow, workflow.step("look"):
                with contextlib.suppress(NoResponse):
                    await wrong(user)
                await user.get("/x")
        with user.workflow("visit") as workflow, workflow.step("look"):
            await user.get("/x")

    assert [sample.outcome for sample in workflows(use)] == ["step failed: look", "step failed: look", OK]


@pytest.mark.parametrize("within", ["/broken", "/x"])
@pytest.mark.parametrize("before", ["/broken", "/x"])
def test_after_a_step_the_journey_still_knows_whether_something_had_failed(before, within):
    async def use(user):
        await user.get(before)
        with user.workflow("visit") as workflow, workflow.step("look"):
            await user.get(within)
        user.meter.settle()
        assert user.meter.has_failed is ("/broken" in (before, within))

    meet(use)


def test_a_workflow_that_the_end_of_the_load_cuts_short_is_not_recorded():
    async def use(user):
        with user.workflow("visit") as workflow, workflow.step("look"):
            user.meter.leave()

    loop_ended = []

    async def until_the_end(user):
        try:
            await use(user)
        except BaseException as error:
            loop_ended.append(type(error).__name__)

    assert workflows(until_the_end) == []
    assert loop_ended == ["UserFinished"]


@pytest.mark.parametrize(
    ("is_cut", "outcomes"), [(False, ["step failed: look"]), (True, [])], ids=["drained", "cut"]
)
def test_a_step_without_an_answer_at_the_end_of_the_drain_fails(is_cut, outcomes):
    async def use(user):
        user.meter.is_cut = is_cut
        with user.workflow("visit") as workflow, workflow.step("look"):
            await user.get("/x")

    async def until_the_drain_ends(user):
        task = asyncio.ensure_future(use(user))
        await asyncio.sleep(0.05)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    assert [sample.outcome for sample in workflows(until_the_drain_ends)] == outcomes


def test_a_mistake_of_the_journey_is_no_failed_workflow():
    async def use(user):
        with contextlib.suppress(KeyError), user.workflow("visit") as workflow, workflow.step("look"):
            await user.get("/x")
            raise KeyError("a misspelt key")

    assert workflows(use) == []


@pytest.mark.parametrize(
    "sentence", ["the workflow success rate is above 99%", "the p95 workflow time is below 5 s"]
)
def test_a_criterion_on_workflows_speaks_of_workflows(sentence):
    assert grammar.criterion(sentence).measure.timing == WORKFLOW.key
