"""What the users of the service do, on a service of given answers and a clock that leaps."""

import asyncio
import contextlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from loadkit.drivers.fake import Answer
from loadkit.drivers.http.response import Head, Response, StatusError
from loadkit.environment.environment import load
from loadkit.journey import User
from loadkit.planning.draft import Draft
from loadkit.planning.plan import plan
from loadkit.recording.deliveries import Deliveries
from loadkit.target import Account, Secret, Target
from loadkit.users.discovery import find, resolve
from loadkit.workload.workload import MixEntry, Model
from steps.journeys import database, live, metrics, workflow
from steps.journeys.choices import fresh_key
from tests.virtual_time import Simulation, plan_of, simulate

ROOT = Path(__file__).parent.parent
ENVIRONMENT = load("local", ROOT)
JOURNEYS = find(ENVIRONMENT.settings.journeys, ROOT)

OVER_HTTP = [title for title, path in JOURNEYS.items() if resolve(path, ROOT).uses == ("http",)]

TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
OVERVIEW = {
    "overview": {
        "tenant": "acme",
        "events": 3600,
        "users": 30,
        "top_metrics": [{"name": "page.view", "unit": "1", "events": 3600, "mean": 1.0}],
        "latest_sessions": [{"id": "s", "username": "ann", "platform": "web", "events": 3}],
        "dashboards": [
            {"id": 1, "title": "Overview", "widgets": [1, 2, 3]},
            {"id": 2, "title": "Errors", "widgets": [4, 5]},
        ],
    }
}
WIDGET = {
    "widget": {"id": 1, "name": "page.view", "series": [{"day": "2026-11-27", "events": 3, "mean": 1.0}]}
}
GROUPS = {"groups": [{"key": "usage", "sessions": None, "events": 3600, "mean": 1.0}]}
USAGE = {"usage": {"tenant": "acme", "users": 30, "dashboards": 2, "days": []}}
EVENTS = r"GET /api/v1/metrics/events\?name=([^&]*).*"
ANSWERS: tuple[tuple[str, object], ...] = (
    ("POST /api/v1/auth/(login|refresh)", TOKENS),
    ("POST /api/v1/auth/logout", {"logged_out": True}),
    ("GET /api/v1/auth/me", {"username": "ann"}),
    ("POST /api/v1/metrics/sessions", {"id": "s", "ids": ["f"] * 3}),
    ("POST /api/v1/metrics/events", {"ids": ["e"] * 20}),
    ("GET /api/v1/dashboard/overview", OVERVIEW),
    (r"GET /api/v1/dashboard/widgets/[1-5]", WIDGET),
    (r"GET /api/v1/dashboard/analytics\?group_by=(name|day|category|platform|user)", GROUPS),
    ("GET /api/v1/admin/usage", USAGE),
    ("GET /api/v1/admin/users", {"users": [{"id": 1, "username": "ann", "role": "admin"}], "next": None}),
    ("GET /api/v1/admin/tenants", {"tenants": [{"id": 1, "name": "acme"}]}),
    ("POST /api/v1/admin/tenants", {"id": 2, "name": "new"}),
)


def service(moment: float, method: str, path: str) -> Answer:
    """The service's answers, in its own shapes; what it does not have is 404."""
    if listed := re.fullmatch(EVENTS, f"{method} {path}"):
        page = {"events": [{"id": "e", "name": listed[1], "value": 1.0}], "next": "c"}
        return Answer(0.005, body=json.dumps(page).encode())
    for pattern, body in ANSWERS:
        if re.fullmatch(pattern, f"{method} {path}"):
            return Answer(0.005, body=json.dumps(body).encode())
    return Answer(0.005, 404)


def failing(users: int) -> Callable[[float, str, str], Answer]:
    """A service on which as many users log in once, and nothing works from then on."""
    logins = iter(range(users))

    def answer(moment: float, method: str, path: str) -> Answer:
        if path.endswith("/login") and next(logins, None) is not None:
            return service(moment, method, path)
        return Answer(0.005, 500)

    return answer


def target(tenant: str = "acme") -> Target:
    accounts = tuple(Account("ann", Secret("pw"), tenant, "admin") for _ in range(300))
    return Target(
        "fake",
        "http://fake",
        accounts=accounts,
        shares_accounts=True,
        groups=ENVIRONMENT.settings.groups,
        journeys="steps.journeys",
    )


def go_through(
    title: str, answers: Callable[[float, str, str], Answer] = service, seconds: float = 60
) -> Simulation:
    """Five users on one journey."""
    return simulate(plan_of(JOURNEYS[title], level=5, seconds=seconds), answers, target=target(), root=ROOT)


def failures(run: Simulation) -> list[str]:
    """Every outcome but success, labels that the engine gives to trouble included."""
    engine = [name for name in run.table.names("label:") if name.startswith("(")]
    return [outcome for outcome in run.table.outcomes if outcome != "ok"] + engine


def without(path: str, body: object) -> Callable[[float, str, str], Answer]:
    """The service, and the answers to GET requests below a path have this body."""

    def answer(moment: float, method: str, asked: str) -> Answer:
        if method == "GET" and asked.startswith(path):
            return Answer(0.005, body=json.dumps(body).encode())
        return service(moment, method, asked)

    return answer


# The name of an account that was just made comes back from the service, and so do the ids of records;
# this one does not know them, and stores what it is sent.
UNKNOWN_TO_THE_FAKE = {
    "administer": ["status 404"],
    "ingest events": ["check: the events are stored under their ids"],
    "insert metrics": ["check: the records are stored under their ids"],
    "insert invalid metrics": ["check: a batch with an invalid record is rejected"],
}


@pytest.mark.parametrize("title", OVER_HTTP)
def test_a_journey_asks_for_nothing_that_the_service_does_not_have(title: str) -> None:
    run = go_through(title)
    assert failures(run) == UNKNOWN_TO_THE_FAKE.get(title, [])
    assert run.operations() > 100


def test_every_stored_session_and_batch_is_a_write_that_dashboards_wait_for(monkeypatch) -> None:
    acknowledged: Counter[object] = Counter()
    monkeypatch.setattr(Deliveries, "acknowledged", lambda _, key, *rest: acknowledged.update([key]))
    run = go_through("ingest events")
    assert acknowledged == {
        "f": run.operations("POST /api/v1/metrics/sessions"),
        "e": run.operations("POST /api/v1/metrics/events"),
    }


@pytest.mark.parametrize("title", OVER_HTTP)
def test_every_operation_of_a_journey_is_in_an_endpoint_group(title: str) -> None:
    patterns = [pattern for group in ENVIRONMENT.settings.groups.values() for pattern in group]
    for label in go_through(title).table.names("label:"):
        assert any(fnmatchcase(label, pattern) for pattern in patterns), label


@pytest.mark.parametrize("title", OVER_HTTP)
def test_a_service_that_fails_is_counted_once_for_each_operation(title: str) -> None:
    run = go_through(title, failing(users=5))
    assert failures(run) == ["status 500"]
    assert run.operations(outcome="status 500") == run.operations() > 50


_EMPTY = {"events": 0, "users": 0, "top_metrics": [], "latest_sessions": [], "dashboards": []}


@pytest.mark.parametrize(
    ("title", "path", "body", "failure"),
    [
        (
            "explore events",
            "/api/v1/metrics/events",
            {"events": [], "next": None},
            "a busy metric has events",
        ),
        (
            "watch a dashboard",
            "/api/v1/dashboard/overview",
            {"overview": _EMPTY},
            "the overview has dashboards",
        ),
        ("watch a dashboard", "/api/v1/dashboard/analytics", {"groups": []}, "the analysis has groups"),
        ("administer", "/api/v1/admin/users", {"users": [], "next": None}, "the list of users is not empty"),
        ("administer", "/api/v1/admin/tenants", {"tenants": []}, "the list of tenants is not empty"),
    ],
)
def test_an_answer_without_the_data_of_the_tenant_is_a_failure(
    title: str, path: str, body: object, failure: str
) -> None:
    assert f"check: {failure}" in failures(go_through(title, without(path, body)))


def test_a_tenant_without_recent_events_and_sessions_fails_nothing() -> None:
    old = {"overview": {**OVERVIEW["overview"], "events": 0, "top_metrics": [], "latest_sessions": []}}

    def answer(moment: float, method: str, path: str) -> Answer:
        for beginning, body in (
            ("/api/v1/dashboard/overview", old),
            ("/api/v1/dashboard/analytics", {"groups": []}),
            ("/api/v1/metrics/events?", {"events": [], "next": None}),
        ):
            if path.startswith(beginning):
                return without(beginning, body)(moment, method, path)
        return service(moment, method, path)

    for title in ("watch a dashboard", "explore events"):
        assert failures(go_through(title, answer)) == []


def test_later_pages_and_rare_metrics_may_be_empty() -> None:
    def answer(moment: float, method: str, path: str) -> Answer:
        if "cursor" in path or ("/metrics/events?" in path and "name=page.view" not in path):
            return without("/api/v1/metrics/events", {"events": [], "next": None})(moment, method, path)
        return service(moment, method, path)

    assert failures(go_through("explore events", answer)) == []


def test_users_who_were_shown_no_dashboards_read_them_as_soon_as_there_are_some() -> None:
    def answer(moment: float, method: str, path: str) -> Answer:
        early = without("/api/v1/dashboard/overview", {"overview": _EMPTY})
        return (early if moment < 20 else service)(moment, method, path)

    run = go_through("watch a dashboard", answer)
    assert run.operations("GET /api/v1/dashboard/widgets/{id}") > 20


class _Writer:
    """A user whose writes are answered with a status."""

    def __init__(self, status: int) -> None:
        self.random, self.writes, self.status = Random(1), self, status
        self.outcome, self.failed = "unknown", list[str]()
        self.ids: tuple[str, ...] = ()
        self.http = SimpleNamespace(instance_of=lambda _answer: "m-1")
        self.sent: list[dict[str, Any]] = []

    def attempt(self, *ids: str) -> Any:
        self.ids = ids
        return SimpleNamespace(rejected=lambda instance: setattr(self, "outcome", f"rejected by {instance}"))

    async def post(self, _path: str, json: dict[str, Any], expect: tuple[int, ...]) -> Any:
        self.sent = json["events"]
        if self.status >= 400 and self.status not in expect:
            self.failed.append(f"status {self.status}")
        return SimpleNamespace(status_code=self.status, is_success=self.status < 300)

    def popular(self, items: tuple[str, ...], _name: str) -> str:
        return items[0]

    def check(self, holds: bool, what: str) -> None:
        self.failed += [] if holds else [what]

    async def think(self) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "outcome", "failed"),
    [
        (422, "rejected by m-1", []),
        (400, "rejected by m-1", []),
        (201, "unknown", ["a batch with an invalid record is rejected"]),
        (503, "unknown", ["status 503"]),
        (401, "rejected by m-1", ["status 401"]),
    ],
)
def test_a_batch_whose_last_record_is_invalid_is_rejected_as_a_whole_and_that_is_no_failure(
    status: int, outcome: str, failed: list[str]
) -> None:
    user = _Writer(status)
    asyncio.run(database.insert_invalid(cast("User", user)))
    assert (user.outcome, user.failed) == (outcome, failed)
    assert [event["id"] for event in user.sent] == list(user.ids)
    assert [event["value"] is None for event in user.sent] == [False] * (len(user.ids) - 1) + [True]
    assert len(user.ids) > 1


class _Ingester(_Writer):
    """A user that ingests events, on a service that stores them under their ids, or all but the last."""

    def __init__(self, status: int, *, loses: int = 0) -> None:
        super().__init__(status)
        self.number, self.run_id, self.loses = 7, "run", loses
        self.written: dict[tuple[str, ...], str] = {}

    def attempt(self, *ids: str) -> Any:
        self.written[ids] = "unknown"

        def note(outcome: str, instance: str) -> None:
            self.written[ids] = f"{outcome} by {instance}"

        return SimpleNamespace(**{each: partial(note, each) for each in ("acknowledged", "rejected")})

    async def post(self, _path: str, json: dict[str, Any], **_: Any) -> Any:
        self.sent += json["events"]
        ids = [event["id"] for event in json["events"]]
        answer = orjson.dumps({"id": "s", "ids": ids[: len(ids) - self.loses]})
        return Response(Head(self.status, b"HTTP/1.1"), answer, 0.0, len(answer))

    def acknowledged(self, _key: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "loses", "outcomes", "failed"),
    [
        (201, 0, ["acknowledged by m-1"] * 4, []),
        (201, 1, ["unknown"] * 4, ["the events are stored under their ids"] * 4),
        (422, 0, ["rejected by m-1"], []),
        (503, 0, ["unknown"], []),
    ],
)
def test_each_ingested_event_has_an_id_of_its_own_and_each_request_is_one_write(
    status: int, loses: int, outcomes: list[str], failed: list[str]
) -> None:
    user = _Ingester(status, loses=loses)
    with contextlib.suppress(StatusError):
        asyncio.run(metrics.ingest(cast("User", user)))
    assert (list(user.written.values()), user.failed) == (outcomes, failed)
    written = [each for ids in user.written for each in ids]
    assert written == [event["id"] for event in user.sent]
    assert len(set(written)) == len(written) == {4: 63, 1: 3}[len(outcomes)]
    assert [str(uuid.UUID(each)) for each in written] == written


class _Analyst:
    """A user on a database whose queries find no rows."""

    def __init__(self, query: str, *, has_sessions: bool) -> None:
        self.random, self.state, self.db = Random(1), dict[str, object](), self
        self.account, self.tenant = Account("ann", Secret("pw"), "acme"), ""
        self.query, self.has_sessions = query, has_sessions
        self.checks: list[bool] = []

    def popular(self, items: tuple[Any, ...], name: str) -> Any:
        return self.query if name == "key queries" else items[0]

    def checks_tenants(self, _of: str) -> Callable[[], None]:
        return lambda: None

    async def fetchval(self, _sql: str, *_arguments: object, label: str, record: bool) -> object:
        return 7 if label == "tenant" else self.has_sessions

    async def fetch(self, sql: str, *_arguments: object, label: str = "", record: bool = True) -> list[Any]:
        return [{"id": 1}] if label == "widgets" else []

    def check(self, holds: bool, _what: str) -> None:
        self.checks.append(holds)

    async def think(self) -> None:
        pass


@pytest.mark.parametrize(
    ("query", "has_sessions", "may_be_empty"),
    [
        ("widget series", False, False),
        ("latest sessions", True, False),
        ("latest sessions", False, True),
        ("tenant overview", True, True),  # its events are those of thirty days
        ("recent events", True, True),
    ],
)
def test_a_key_query_without_rows_fails_where_the_tenant_has_some_whatever_their_age(
    query: str, has_sessions: bool, may_be_empty: bool
) -> None:
    user = _Analyst(query, has_sessions=has_sessions)
    asyncio.run(database.query(cast("User", user)))
    assert user.checks == [may_be_empty]


def test_tokens_are_renewed_before_they_expire_and_nobody_counts_it() -> None:
    renewed: list[float] = []

    def short_lived(moment: float, method: str, path: str) -> Answer:
        if "/auth/" not in path:
            return service(moment, method, path)
        if path.endswith("/refresh"):
            renewed.append(moment)
        return Answer(0.005, body=json.dumps({**TOKENS, "expires_in": 20}).encode())

    run = go_through("watch a dashboard", short_lived)
    assert len(renewed) == 5 * 3, "sixty seconds, sixteen each time, and what is left of a journey"
    assert failures(run) == []
    assert all("/dashboard/" in label for label in run.table.names("label:"))


def test_ids_in_paths_share_a_label() -> None:
    labels = go_through("watch a dashboard").table.names("label:")
    assert "GET /api/v1/dashboard/widgets/{id}" in labels
    assert not [label for label in labels if re.search(r"\d+$", label)]


def test_every_mix_names_journeys_that_exist() -> None:
    for mix in ENVIRONMENT.mixes.values():
        assert {entry.journey for entry in mix} <= set(JOURNEYS)


def test_users_of_the_dashboard_only_look_at_dashboards() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 10, mix="dashboard")
    made = plan(draft, ENVIRONMENT, JOURNEYS)
    run = simulate(plan_of(mix=made.workload.mix, level=10, seconds=30), service, target=target(), root=ROOT)
    assert all("/dashboard/" in label for label in run.table.names("label:"))


@pytest.mark.slow
def test_the_default_mix_reaches_every_group_and_logs_in_often_enough() -> None:
    mix = tuple(
        MixEntry(JOURNEYS[entry.journey], entry.share, entry.region) for entry in ENVIRONMENT.default_mix
    )
    run = simulate(plan_of(mix=mix, level=100, seconds=120), service, target=target(), root=ROOT)
    counts = Counter[str]()
    for label in run.table.names("label:"):
        for group, patterns in ENVIRONMENT.settings.groups.items():
            if any(fnmatchcase(label, pattern) for pattern in patterns):
                counts[group] += run.operations(label)
    shares = {group: count / counts.total() for group, count in counts.items()}
    assert set(shares) == set(ENVIRONMENT.settings.groups) - {"stream"}
    assert shares["auth"] >= 0.10
    assert min(shares.values()) >= 0.08
    assert 0.4 <= run.operations("GET /api/v1/metrics/events") / counts["metrics"] <= 0.6


def test_the_messages_of_the_service_are_read() -> None:
    message = (
        '{"stream":"metrics.1","sequence":17,"created":1790000000.123456,"tenant_key":"tk-a","type":"metric"}'
    )
    assert live.reader(message) == ("metrics.1", 17, 1790000000.123456)
    assert live.reader('{"type":"gap","stream":"a","from":17,"resumed":1200}') is None


@pytest.mark.parametrize(
    "message",
    [
        "5",
        "null",
        "[]",
        '"text"',
        "<html>",
        '{"sequence":17,"created":1.0}',
        '{"stream":"a","sequence":17}',
        '{"stream":"a","sequence":17,"created":"noon"}',
        '{"stream":"a","sequence":"17","created":1.0}',
        '{"stream":["a"],"sequence":17,"created":1.0}',
        b"\xff",
    ],
)
def test_a_message_without_what_the_service_promises_is_unreadable(message: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  any: parsers of JSON raise their own
        live.reader(message)


class _Publisher:
    """A user that publishes for two tenants, on a service that numbers the messages of each topic."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        """The path that the service fails for the first tenant."""
        self.meter = SimpleNamespace(unrecorded_failure="")
        self.tenants = [Account("ann", Secret("pw"), "acme"), Account("bob", Secret("pw"), "globex")]
        self.random, self.state, self.ws = Random(1), dict[str, object](), self
        self.published: list[tuple[str, list[str]]] = []
        self.known: list[tuple[str, int, str]] = []

    def popular(self, items: tuple[str, ...], _name: str) -> str:
        return items[0]

    async def post(self, path: str, **given: Any) -> Any:
        is_login = path.endswith("/login")
        is_first = "ann" in (given["json"]["username"] if is_login else given["headers"]["Authorization"])
        is_refused = is_first and path == self.failing
        # As the client of HTTP notes it.
        self.meter.unrecorded_failure = "status 401" if is_login and is_refused else ""
        if is_refused:
            raise StatusError(401)
        if is_login:
            body: object = {"access_token": given["json"]["username"], "expires_in": 3600}
        else:
            topics = [message["topic"] for message in given["json"]["messages"]]
            self.published.append((given["headers"]["Authorization"], topics))
            body = {"sequences": [10 * len(self.published) + number for number in range(len(topics))]}
        return SimpleNamespace(raise_for_status=lambda: SimpleNamespace(json=lambda: body))

    def knows(self, topic: str, number: int, tenant: str) -> None:
        self.known.append((topic, number, tenant))


def test_a_publication_is_one_request_of_each_tenant_and_its_numbers_are_known() -> None:
    user = _Publisher()
    asyncio.run(live.publish(cast("User", user)))
    assert [token for token, _ in user.published] == ["Bearer ann", "Bearer bob"]
    (topics,) = {tuple(topics) for _, topics in user.published}  # the same for both
    assert user.known == [
        (topic, first + number, tenant)
        for first, tenant in ((10, "acme"), (20, "globex"))
        for number, topic in enumerate(topics)
    ]


@pytest.mark.parametrize(
    ("failing", "counted"),
    [("/api/v1/auth/login", "status 401"), ("/api/v1/stream/publish", "")],
    ids=["a login, which only the journey's end counts", "a publication, which is recorded"],
)
def test_a_tenant_whose_publication_fails_does_not_silence_the_others(failing: str, counted: str) -> None:
    user = _Publisher(failing)
    with pytest.raises(StatusError):
        asyncio.run(live.publish(cast("User", user)))
    assert [token for token, _ in user.published] == ["Bearer bob"]
    assert {tenant for _, _, tenant in user.known} == {"globex"}
    assert user.meter.unrecorded_failure == counted


def test_a_publication_reaches_the_share_of_the_connections_that_the_environment_states(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed: list[str] = []

    async def note(_user: User, topic: str) -> None:
        followed.append(topic)

    monkeypatch.setattr(live, "_follow", note)
    for number in range(1000):
        asyncio.run(live.follow(cast("User", SimpleNamespace(number=number))))
    user = _Publisher()
    for _ in range(100):
        asyncio.run(live.publish(cast("User", user)))
    assert ENVIRONMENT.settings.messages is not None
    for _, topics in user.published:
        assert len(set(topics)) == len(topics)
        assert sum(topic in topics for topic in followed) == 1000 * ENVIRONMENT.settings.messages.reach
    assert {topic for _, topics in user.published for topic in topics} == set(followed)


def test_keys_are_fresh_in_every_run_and_for_every_user_although_the_seed_is_fixed() -> None:
    keys = [fresh_key(run, number, Random(1)) for run in ("a", "b") for number in range(3)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("write", [partial(database.insert, batch="2"), workflow._post_event])
@pytest.mark.parametrize(
    ("status", "outcome"), [(201, "acknowledged by m-1"), (422, "rejected by m-1"), (503, "unknown")]
)
def test_a_write_is_noted_with_the_instance_that_answered(write: Any, status: int, outcome: str) -> None:
    user = _Ingester(status)
    with contextlib.suppress(StatusError):
        asyncio.run(write(cast("User", user)))
    assert list(user.written.values()) == [outcome]
