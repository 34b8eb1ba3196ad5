"""What the users of the service do, on a service of given answers and a clock that leaps."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from loadkit.drivers.fake import Answer
from loadkit.environment.environment import load
from loadkit.journey import User
from loadkit.planning.draft import Draft
from loadkit.planning.plan import plan
from loadkit.recording.deliveries import Deliveries
from loadkit.target import Account, Secret, Target
from loadkit.users.discovery import find, resolve
from loadkit.workload.workload import MixEntry, Model
from steps.journeys import live
from steps.journeys.choices import fresh_key
from tests.virtual_time import Simulation, plan_of, simulate

ROOT = Path(__file__).parent.parent
ENVIRONMENT = load("local", ROOT)
JOURNEYS = find(ENVIRONMENT.settings.journeys, ROOT)

OVER_HTTP = [title for title, path in JOURNEYS.items() if resolve(path, ROOT).uses == ("http",)]

TOKENS = {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
OVERVIEW = {"overview": {"dashboards": [{"widgets": [1, 2, 3]}, {"widgets": [4, 5]}]}}
ANSWERS: tuple[tuple[str, object], ...] = (
    ("POST /api/v1/auth/(login|refresh)", TOKENS),
    ("POST /api/v1/auth/logout", {"logged_out": True}),
    ("GET /api/v1/auth/me", {"username": "ann"}),
    ("POST /api/v1/metrics/sessions", {"id": "s", "ids": ["f"] * 3}),
    ("POST /api/v1/metrics/events", {"ids": ["e"] * 20}),
    (r"GET /api/v1/metrics/events\?name=.*", {"events": [], "next": "c"}),
    ("GET /api/v1/dashboard/overview", OVERVIEW),
    (r"GET /api/v1/dashboard/widgets/[1-5]", {}),
    (r"GET /api/v1/dashboard/analytics\?group_by=(name|day|category|platform|user)", {}),
    ("GET /api/v1/admin/(usage|users|tenants)", {}),
    ("POST /api/v1/admin/tenants", {}),
)


def service(moment: float, method: str, path: str) -> Answer:
    """The service's answers, in its own shapes; what it does not have is 404."""
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


# The name of an account that was just made comes back from the service, and so do the ids of records;
# this one does not know them.
UNKNOWN_TO_THE_FAKE = {
    "administer": ["status 404"],
    "insert metrics": ["check: the records are stored under their ids"],
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


class _Publisher:
    """A user that publishes for two tenants, on a service that numbers the messages of each topic."""

    def __init__(self) -> None:
        self.tenants = [Account("ann", Secret("pw"), "acme"), Account("bob", Secret("pw"), "globex")]
        self.random, self.state, self.ws = Random(1), dict[str, object](), self
        self.published: list[tuple[str, list[str]]] = []
        self.known: list[tuple[str, int, str]] = []

    def popular(self, items: tuple[str, ...], _name: str) -> str:
        return items[0]

    async def post(self, path: str, **given: Any) -> Any:
        if path.endswith("/login"):
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
