"""What a journey can do with its user."""

import asyncio
import math
import random

import pytest

from loadkit.drivers.base import NoResponse
from loadkit.errors import ConfigurationError
from loadkit.journey import journey
from loadkit.recording.messages import FOREIGN
from loadkit.recording.sql import FOREIGN_ROWS
from loadkit.target import Account, Secret
from loadkit.users.lifecycle import Lifecycle
from loadkit.users.meter import UserFinished
from loadkit.workload.workload import Think
from tests.user_meeting import following, lines_of, meet, mistakes_of, only_request


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


@pytest.mark.parametrize("waited", [0.0, 2.0])
def test_what_got_old_while_the_user_was_absent_is_renewed_before_its_first_operation(waited):
    """The time of the renewal does not count, and that for which an arrival waited for the user does."""

    async def come_back(user):
        async def renew():
            (await user.post("/renew")).raise_for_status()

        @journey("work")
        async def work(user, topic):
            await user.get("/work")
            raise UserFinished

        user.renew_after(0.0, renew)
        user.meter.intended -= waited
        with pytest.raises(UserFinished):
            await following(user, work)

    meeting = meet(come_back)
    assert paths(meeting) == ["/renew", "/work"]
    (sample,) = meeting.recorder.requests.samples
    assert (sample.label, sample.lateness) == ("GET /work", 0.0)
    assert sample.end - sample.intended == pytest.approx(0.1 + waited)


def test_a_renewal_before_any_arrival_is_known_is_sent():
    async def use(user):
        async def renew():
            (await user.post("/renew")).raise_for_status()

        Lifecycle(user, user.meter._pacer)
        user.renew_after(0.0, renew)
        user.meter.sends_until = 100.0
        user.meter.intended = math.inf  # as of a user who waits for its first arrival
        await user.meter.renew_if_due()
        assert user.renewal is None

    assert paths(meet(use)) == ["/renew"]


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
