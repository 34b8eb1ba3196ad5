"""What a journey can do with its user."""

import asyncio
import contextlib
import json
import random

import pytest

from loadkit.drivers.base import NoResponse
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.fake import Answer, FakeDriver
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.masking import Mask
from loadkit.errors import ConfigurationError
from loadkit.journey import journey
from loadkit.recording.examples import MOST, Exchange
from loadkit.recording.messages import FOREIGN
from loadkit.recording.recorder import Recorder
from loadkit.recording.sql import FOREIGN_ROWS
from loadkit.recording.timing import SEND
from loadkit.recording.worker_second import JOURNEY_ERROR
from loadkit.target import Account, Secret
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.users.pacer import LoopAlarm, Pacer
from loadkit.users.user import User, WorkerContext
from loadkit.workload.workload import MixEntry, Model, Think
from tests.virtual_time import VirtualLoop, plan_of


class WritingDriver:
    """Keeps what is asked of it."""

    name = "http"
    descriptors_per_user = 1

    def __init__(self, clock):
        self.asked = []
        self._driver = FakeDriver(
            lambda _now, _method, path: Answer(
                0.1,
                status_code=500 if path == "/broken" else 200,
                body=b"<html>" if path in ("/page", "/broken") else b"{}",
                failure=path[2:].replace("%20", " ") if path[1:2] == "!" else "",
                held_back=0.03 if path == "/held" else 0.0,
            ),
            clock,
        )

    def client(self, meter):
        return HttpClient(meter, self)

    instance_header = "X-Instance"
    canaries = Canaries(())
    mask = Mask()

    def session(self):
        session, asked = self._driver.session(), self.asked

        class Session:
            def request(self, method, path, headers, more, body, deadline):
                asked.append((method, path, headers.block + more, body, deadline))
                return session.request(method, path, headers, more, body, deadline)

            def close(self):
                pass

        return Session()

    def httpx_session(self, note, options):
        return self.session()


class Meeting:
    """A user, what it sent, and what was recorded."""

    def __init__(self, loop, account=None, **plan):
        self.clock = loop.clock
        self.driver = WritingDriver(loop.clock)
        recorder = Recorder(0, 0.0)
        stated = plan_of(**plan)
        self.recorder = recorder.population(stated.populations[0].name)
        context = WorkerContext(
            stated, loop.clock, (self.driver,), recorder, Pacer(loop.clock, LoopAlarm), "run-7"
        )
        self.user = User(3, MixEntry("m:f", 1.0, "eu", (("topic", "cpu"),)), account, context)
        self.user.meter.start(0.0, float("inf"))


def following(user, done, **how):
    """What the engine has the user do."""
    return Lifecycle(user, user.meter._pacer).follow(done, **how)


def meet(use, **rest):
    loop = VirtualLoop()

    async def main():
        meeting = Meeting(loop, **rest)
        await use(meeting.user)
        meeting.user.close()
        return meeting

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def only_request(meeting):
    (asked,) = meeting.driver.asked
    return asked


def test_json_is_sent_as_json():
    method, path, headers, body, _ = only_request(meet(lambda user: user.post("/x", json={"a": [1, "é"]})))
    assert (method, path) == ("POST", "/x")
    assert body == '{"a":[1,"é"]}'.encode()
    assert b"content-type: application/json\r\n" in headers
    assert b"x-run-id: run-7\r\n" in headers


def test_a_form_is_sent_as_a_form():
    _, _, headers, body, _ = only_request(meet(lambda user: user.put("/x", data={"a": "1 2", "b": "ü"})))
    assert body == b"a=1+2&b=%C3%BC"
    assert b"content-type: application/x-www-form-urlencoded\r\n" in headers


def test_bytes_are_sent_as_they_are():
    _, _, headers, body, _ = only_request(meet(lambda user: user.patch("/x", content=b"\x00\x01")))
    assert body == b"\x00\x01"
    assert b"content-type" not in headers


def test_an_authors_content_type_replaces_the_default():
    _, _, headers, _, _ = only_request(
        meet(lambda user: user.post("/x", json={}, headers={"Content-Type": "application/vnd.api+json"}))
    )
    assert headers.lower().count(b"content-type") == 1


DEFAULTS = {"User-Agent": "mine/1", "ACCEPT": "text/html", "accept-Encoding": "identity", "X-RUN-ID": "mine"}


def lines_of(block):
    """What stands on the wire, by name."""
    fields = [line.split(": ", 1) for line in block.decode().split("\r\n") if line]
    assert len({name.lower() for name, _ in fields}) == len(fields), fields
    return {name.lower(): value for name, value in fields}


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_requests_header_replaces_the_users_which_replaces_the_default_whatever_their_case(name):
    async def use(user):
        user.headers[name.swapcase()] = "users"
        await user.get("/x")
        await user.get("/x", headers={name: DEFAULTS[name]})
        await user.get("/x")

    sent = [lines_of(headers)[name.lower()] for _, _, headers, _, _ in meet(use).driver.asked]
    assert sent == ["users", DEFAULTS[name], "users"]


@pytest.mark.parametrize("body", [{"json": {}}, {"data": {"a": "1"}}])
def test_a_users_content_type_replaces_that_of_the_body_and_a_requests_replaces_both(body):
    async def use(user):
        user.headers["CONTENT-TYPE"] = "text/users"
        await user.post("/x", **body)
        await user.post("/x", headers={"content-Type": "text/own"}, **body)

    sent = [lines_of(headers)["content-type"] for _, _, headers, _, _ in meet(use).driver.asked]
    assert sent == ["text/users", "text/own"]


def test_of_two_spellings_of_one_header_the_last_is_sent():
    headers = only_request(meet(lambda user: user.get("/x", headers={"X-One": "1", "x-one": "2"})))[2]
    assert lines_of(headers)["x-one"] == "2"


def test_headers_given_to_httpx_replace_the_defaults_too():
    async def use(user):
        user.use_httpx(headers={"Accept": "text/html"})
        assert user.headers["accept"] == "text/html"

    meet(use)


@pytest.mark.parametrize("name", ["Content-Length", "TRANSFER-ENCODING", "connection"])
def test_a_header_that_the_client_computes_is_refused_in_one_line(name):
    async def use(user):
        with pytest.raises(
            ValueError, match=f'"{name.lower()}" cannot be set, the client computes it; expected'
        ):
            user.headers[name] = "1"
        with pytest.raises(
            ValueError, match=f'"{name.lower()}" cannot be set, the client computes it; expected'
        ):
            await user.get("/x", headers={name: "1"})
        await user.get("/x")

    assert name.lower() not in lines_of(only_request(meet(use))[2])


def test_a_users_headers_are_sent_and_a_requests_own_besides_them():
    async def use(user):
        user.headers["Authorization"] = "Bearer t"
        await user.get("/x", headers={"X-One": "1"})

    headers = only_request(meet(use))[2]
    assert b"authorization: Bearer t\r\n" in headers
    assert b"X-One: 1\r\n" in headers


@pytest.mark.parametrize(
    ("path", "params", "sent"),
    [
        ("/x", {"a": 1, "b": "c d"}, "/x?a=1&b=c+d"),
        ("/ü x", None, "/%C3%BC%20x"),
        ("/a%20b?c=d", None, "/a%20b?c=d"),
        ("/a\r\nX: y", None, "/a%0D%0AX:%20y"),
    ],
)
def test_paths_and_queries_are_encoded(path, params, sent):
    assert only_request(meet(lambda user: user.get(path, params=params)))[1] == sent


def test_a_request_has_the_plans_timeout_or_its_own():
    assert only_request(meet(lambda user: user.get("/x"), timeout=7.0))[4] == 7.0
    assert only_request(meet(lambda user: user.get("/x", timeout=2.0), timeout=7.0))[4] == 2.0


def test_an_operation_is_recorded_with_its_users_tenant_and_region():
    account = Account("ann", Secret("x"), "acme")
    (sample,) = meet(
        lambda user: user.delete("/x/7", label="remove"), account=account
    ).recorder.requests.samples
    assert sample[:2] == ("remove", "ok")
    assert (sample.intended, sample.sent) == (0.0, 0.0)
    assert sample.end == pytest.approx(0.1)
    assert (sample.tenant, sample.region) == ("acme", "eu")


def test_an_operation_without_an_answer_breaks_the_journey_and_is_counted():
    async def use(user):
        with pytest.raises(NoResponse, match="refused"):
            await user.get("/!refused")

    (sample,) = meet(use).recorder.requests.samples
    assert sample.outcome == "refused"


def test_operations_that_found_no_socket_are_counted_apart():
    async def use(user):
        with pytest.raises(NoResponse):
            await user.get("/!no socket")

    assert meet(use).recorder.out_of_descriptors == 1


@pytest.mark.parametrize(("is_recorded", "counted"), [(True, 1), (False, 0)])
def test_an_operation_that_is_not_recorded_and_found_no_socket_is_counted_apart_too(is_recorded, counted):
    async def use(user):
        user.meter.is_recorded = is_recorded
        with pytest.raises(NoResponse):
            await user.get("/!no socket", record=False)

    assert meet(use).recorder.out_of_descriptors == counted


def test_the_next_operation_is_intended_a_think_time_behind_the_answer():
    async def use(user):
        await user.get("/a")
        await user.think()
        await user.get("/b")

    first, second = meet(use, think=Think(2.0, 2.0)).recorder.requests.samples
    assert second.intended == first.end + 2.0


def test_thinking_twice_is_thinking_longer():
    async def use(user):
        await user.get("/a")
        await user.think()
        await user.think()
        await user.get("/b")

    first, second = meet(use, think=Think(2.0, 2.0)).recorder.requests.samples
    assert second.intended == first.end + 4.0


def test_a_think_time_ends_on_a_whole_millisecond_and_the_operation_is_sent_then_without_lateness():
    async def use(user):
        for _ in range(50):
            await user.get("/a")
            await user.think()

    _, *thought = meet(use, think=Think(0.3, 1.3)).recorder.requests.samples
    assert [sample.intended for sample in thought] == [round(sample.intended, 3) for sample in thought]
    assert [sample.sent for sample in thought] == [sample.intended for sample in thought]
    assert {sample.lateness for sample in thought} == {0.0}


def test_a_think_time_of_a_few_milliseconds_is_not_rounded():
    async def use(user):
        await user.get("/a")
        await user.think()
        await user.get("/b")

    first, second = meet(use, think=Think(0.0024, 0.0024)).recorder.requests.samples
    assert second.intended == first.end + 0.0024


def test_time_that_a_journey_spends_itself_is_the_generators():
    async def use(user):
        await user.get("/a")
        await asyncio.sleep(0.5)
        await user.get("/b")

    _, second = meet(use).recorder.requests.samples
    assert second.lateness == pytest.approx(0.5)


def test_exponential_think_times_have_the_mean():
    async def use(user):
        for _ in range(2000):
            await user.get("/a")
            await user.think()

    meeting = meet(use, think=Think(0.5, 1.5, "exponential"))
    assert meeting.clock.seconds / 2000 - 0.1 == pytest.approx(1.0, rel=0.06)


def test_a_check_speaks_of_the_operation_before_it_only():
    async def use(user):
        await user.get("/a")
        user.check(True, "first")
        await user.get("/b")
        user.check(False, "second")

    assert [sample.outcome for sample in meet(use).recorder.requests.samples] == ["ok", "check: second"]


def test_a_check_behind_a_think_is_refused():
    async def use(user):
        await user.get("/a")
        await user.think()
        with pytest.raises(RuntimeError, match='check "late" does not follow an operation'):
            user.check(False, "late")

    meet(use)


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


def mistakes_of(recorder):
    """How often each error of a journey's code was met."""
    return {
        name.removeprefix(JOURNEY_ERROR): number
        for name, number in recorder.counts.items()
        if name.startswith(JOURNEY_ERROR)
    }


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
        for _ in range(3):
            await following(user, work, is_once=True)

    ((mistake, times),) = mistakes_of(meet(use).recorder).items()
    assert mistake.startswith(
        "the renewal of users (renew_after) itself failed: KeyError: 'token' at tests/test_user.py:"
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
        "at tests/test_user.py:"
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


def test_a_journey_gets_the_arguments_of_the_mix_and_chances_of_its_own():
    seen = []

    @journey("j")
    async def watch(user, topic):
        seen.append((topic, user.random.random(), user.number, user.region, user.run_id, user.tenant))

    meet(lambda user: following(user, watch, is_once=True))
    meet(lambda user: following(user, watch, is_once=True))
    meet(lambda user: following(user, watch, is_once=True), seed=2)
    first, again, other = seen
    assert first == again != other
    assert first[:1] + first[2:] == ("cpu", 3, "eu", "run-7", "")


def test_an_account_that_is_not_there_is_named():
    async def use(user):
        with pytest.raises(ConfigurationError, match="the environment file names none"):
            _ = user.account

    meet(use)


# --- renewing what gets old


async def working_and_renewing(user, path="/renew", journeys=4):
    """A journey of a request and a think, as often as said; the renewal is due after the second."""
    done = 0

    async def renew():
        (await user.post(path)).raise_for_status()
        await asyncio.sleep(0.2)

    @journey("work")
    async def work(user, topic):
        nonlocal done
        if done == journeys:
            raise UserFinished
        await user.get("/work")
        done += 1
        await user.think()

    user.renew_after(1.5, renew)
    with pytest.raises(UserFinished):
        await following(user, work)


def paths(meeting):
    return [path for _, path, _, _, _ in meeting.driver.asked]


def test_what_the_driver_held_back_is_the_generators_time_and_not_the_services():
    (sample,) = meet(lambda user: user.get("/held")).recorder.requests.samples
    assert (sample.intended, sample.sent, sample.end) == (0.0, 0.03, 0.1)
    assert sample.lateness == 0.03


def test_what_gets_old_is_renewed_once_between_two_journeys_and_not_recorded():
    meeting = meet(working_and_renewing, think=Think(0.9, 0.9))
    assert paths(meeting) == ["/work", "/work", "/renew", "/work", "/work"]
    assert [sample.label for sample in meeting.recorder.requests.samples] == ["GET /work"] * 4
    assert meeting.recorder.sent == 4


def test_no_operation_counts_the_time_of_a_renewal():
    meeting = meet(working_and_renewing, think=Think(0.9, 0.9))
    assert all(
        sample.end - sample.intended == pytest.approx(0.1) for sample in meeting.recorder.requests.samples
    )
    assert all(sample.lateness == pytest.approx(0.0) for sample in meeting.recorder.requests.samples)


def test_a_renewal_that_the_service_fails_is_tried_again_after_the_next_journey():
    meeting = meet(lambda user: working_and_renewing(user, "/!reset"), think=Think(0.9, 0.9))
    assert paths(meeting) == ["/work", "/work", "/!reset", "/work", "/!reset", "/work", "/!reset"]
    assert [sample.label for sample in meeting.recorder.requests.samples] == ["GET /work"] * 4


@pytest.mark.parametrize("path", ["/renew", "/broken", "/!reset"])
@pytest.mark.parametrize(
    ("before", "record", "failure"),
    [
        ("/work", True, (False, "")),
        ("/work", False, (False, "")),
        ("/broken", True, (True, "")),
        ("/broken", False, (True, "status 500")),
    ],
)
def test_a_renewal_within_a_journey_leaves_what_had_failed_in_it_as_it_was(path, before, record, failure):
    async def use(user):
        Lifecycle(user, user.meter._pacer)
        meter = user.meter
        await user.get(before, record=record)
        user.renew_after(0.0, lambda: user.post(path))
        await meter.renew_if_due()
        assert (meter.has_failed, meter.unrecorded_failure) == failure
        assert meter.is_recorded
        assert meter.intended == meter.now()

    meeting = meet(use)
    assert paths(meeting) == [before, path]
    assert [sample.label for sample in meeting.recorder.requests.samples] == (
        [f"GET {before}"] if record else []
    )


def test_a_mistake_in_a_renewal_is_the_journeys_also_after_a_failed_operation():
    async def renew():
        raise KeyError("token")

    async def use(user):
        Lifecycle(user, user.meter._pacer)
        await user.get("/broken")
        user.renew_after(0.0, renew)
        await user.meter.renew_if_due()
        assert user.meter.has_failed

    assert list(mistakes_of(meet(use).recorder).values()) == [1]


# --- examples and traces


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


def test_messages_and_rows_of_other_tenants_are_counted_apart():
    async def use(user):
        found = user.checks_tenants("rows")
        assert (user.meter.checks_messages, user.meter.checks_rows) == (False, True)
        found()
        found()
        user.checks_tenants()
        assert user.meter.checks_messages

    counts = meet(use).recorder.counts
    assert (counts[FOREIGN], counts[FOREIGN_ROWS]) == (0, 2)


def test_a_users_choices_follow_from_the_seed_and_its_number_and_cost_nothing_before_the_first():
    async def use(user):
        assert user.meter._random is None
        expected = random.Random("1:3")
        assert [user.random.random() for _ in range(3)] == [expected.random() for _ in range(3)]
        assert user.meter.think_seconds() == pytest.approx(1 + expected.random())

    meet(use, think=Think(1.0, 2.0))
