"""Ready to judge? What would make every verdict worthless is found before the load."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from loadkit.environment import environment, preflight
from loadkit.environment.capacity import Capacity
from loadkit.environment.preflight import Check, NotReadyError
from loadkit.observers import machine
from loadkit.observers.fake import FakeObserver
from loadkit.observers.machine import Use
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.burner import burning

PLAN = Plan.of("here", Workload(Model.CLOSED, (Stage(1, 100), Stage(30, 100)), (MixEntry("a:b", 1.0),)))

OBSERVER = """
[observer]
url = "http://127.0.0.1:1"
measures."requests" = { counter = "http_requests_total" }
measures."disk usage" = { gauge = "disk_used", per = "device" }
"""


class Service(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        body = b'{"version": "7.1"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def target() -> Iterator[Target]:
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Target("here", f"http://127.0.0.1:{server.server_port}", ready="/readyz")
        server.shutdown()
        thread.join()


def here(tmp_path: Path, text: str = "") -> environment.Environment:
    (tmp_path / "environments").mkdir(exist_ok=True)
    (tmp_path / "environments" / "here.toml").write_text(
        f'base = "http://x"\ntraffic = "requests"\n{text}\n{OBSERVER}'
    )
    return environment.load("here", tmp_path)


def scraped(values: list[float], *, every: float = 1.0, instances: int = 2, problem: str = "") -> Observation:
    times = 1000.0 + every * np.arange(len(values))
    series = tuple(Series(f"i{number}", times, np.array(values)) for number in range(instances))
    return Observation("requests", Reading.COUNTER, "", () if problem else series, 1.0, problem=problem)


def checks(
    tmp_path: Path,
    target: Target,
    *,
    text: str = "",
    observation: Observation | None = None,
    plan: Plan = PLAN,
    now: float | None = None,
) -> dict[str, Check]:
    observer = FakeObserver({"requests": observation}) if observation else None
    clock = {} if now is None else {"now": lambda: now}
    testbed = replace(here(tmp_path, text).resolved({"rows": {"events": 1000}}), target=target)
    found = preflight.look(plan, testbed, observer, **clock)
    return {check.name: check for check in found}


def test_a_service_as_it_should_be_holds_every_check(tmp_path: Path, target: Target) -> None:
    found = checks(tmp_path, target, text='version = "7.1"\ninstances = 2', observation=scraped([5.0] * 10))
    assert all(check.holds for check in found.values() if check.is_needed), found
    assert found["its version"].found == "7.1"
    assert found["instances watched"].found == "2"
    assert found["scraped every"].found == "1 s"
    assert found["traffic of others"].found.startswith("0 ")


def test_a_service_that_does_not_answer_or_is_not_ready_is_not_judged(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Service, "status", 503)
    assert not checks(tmp_path, target)["the service"].holds
    gone = replace(target, base="http://127.0.0.1:1")
    assert "does not answer" in checks(tmp_path, gone)["the service"].found


def test_another_version_than_the_candidate_is_not_judged(tmp_path: Path, target: Target) -> None:
    check = checks(tmp_path, target, text='version = "8.0"')["its version"]
    assert not check.holds
    assert str(check) == "its version: 7.1, expected 8.0"


def test_a_clock_that_differs_is_not_judged(tmp_path: Path, target: Target) -> None:
    assert checks(tmp_path, target)["its clock"].holds
    assert not checks(tmp_path, target, now=1000.0)["its clock"].holds


def test_how_much_the_database_holds_is_told(tmp_path: Path, target: Target) -> None:
    assert str(checks(tmp_path, target)["rows of events"]) == "rows of events: 1,000"


def test_machines_are_no_instances_and_an_unknown_figure_of_them_is_a_warning(
    tmp_path: Path, target: Target
) -> None:
    name = f"{machine.HOSTS}idle"
    seen = {
        "requests": scraped([5.0] * 10),
        name: replace(scraped([0.5] * 10, instances=5, every=9), name=name),
    }
    testbed = replace(here(tmp_path, "instances = 2").resolved({}), target=target)
    found = {check.name: check for check in preflight.look(PLAN, testbed, FakeObserver(seen))}
    assert found["instances watched"].holds
    assert found["scraped every"].holds
    seen[name] = replace(seen[name], series=(), problem="no samples")
    found = {check.name: check for check in preflight.look(PLAN, testbed, FakeObserver(seen))}
    assert str(found[name]) == "other machines: idle: no samples, expected an answer"
    assert not found[name].is_needed


@pytest.mark.parametrize("name", ["sum by (path) (rate(http_requests_total[10s]))", "disk usage"])
def test_series_of_a_query_or_of_a_measure_per_something_else_are_no_instances(
    tmp_path: Path, target: Target, name: str
) -> None:
    testbed = replace(here(tmp_path, "instances = 3").resolved({}), target=target)
    seen = {
        "requests": scraped([5.0] * 10),
        name: replace(scraped([0.5] * 10, instances=3), name=name),
    }
    found = {check.name: check for check in preflight.look(PLAN, testbed, FakeObserver(seen))}
    assert str(found["instances watched"]) == "instances watched: 2, expected 3"


def test_the_step_of_a_query_is_no_scrape_interval(tmp_path: Path, target: Target) -> None:
    testbed = replace(here(tmp_path).resolved({}), target=target)
    query = "sum by (path) (rate(http_requests_total[10s]))"
    seen = {
        "requests": scraped([5.0] * 10, every=15),
        query: replace(scraped([0.5] * 10, instances=7), name=query),
    }
    found = {check.name: check for check in preflight.look(PLAN, testbed, FakeObserver(seen))}
    assert str(found["scraped every"]) == "scraped every: 15 s, expected 1 s as in the environment file"


def test_a_missing_instance_is_not_judged(tmp_path: Path, target: Target) -> None:
    found = checks(tmp_path, target, text="instances = 3", observation=scraped([5.0] * 10))
    assert not found["instances watched"].holds


def test_another_scrape_interval_than_stated_is_not_judged(tmp_path: Path, target: Target) -> None:
    assert not checks(tmp_path, target, observation=scraped([5.0] * 10, every=15))["scraped every"].holds


def test_traffic_of_others_is_not_judged_but_what_was_before_is_forgotten(
    tmp_path: Path, target: Target
) -> None:
    busy = [100.0 * second for second in range(10)]
    assert not checks(tmp_path, target, observation=scraped(busy))["traffic of others"].holds
    assert checks(tmp_path, target, observation=scraped([*busy, *[900.0] * 4]))["traffic of others"].holds


def test_traffic_of_others_that_was_not_measured_is_not_told_as_none(tmp_path: Path, target: Target) -> None:
    check = checks(tmp_path, target, observation=scraped([0.0, 9000.0]))["traffic of others"]
    assert str(check) == (
        "traffic of others: not known, because there were fewer than three scrapes, expected three scrapes"
    )
    assert not check.is_needed


def test_traffic_of_others_is_weighed_against_what_all_populations_make(
    tmp_path: Path, target: Target
) -> None:
    busy = PLAN.with_workloads(lambda load: replace(load, stages=(Stage(30, 800),)))
    (users,) = busy.populations
    more = replace(users, name="admin users")
    found = [
        checks(tmp_path, target, plan=plan, observation=scraped([1.0] * 10))["traffic of others"]
        for plan in (busy, replace(busy, populations=(users, more)))
    ]
    # 800 users who pause 0.8 s make 1000 requests per second at most; others may make 2 % of that.
    assert [check.expected for check in found] == ["at most 20", "at most 40"]


def test_an_observer_that_is_gone_is_a_warning_since_clients_can_be_judged_without(
    tmp_path: Path, target: Target
) -> None:
    check = checks(tmp_path, target, observation=scraped([], problem="Prometheus is gone"))["the observer"]
    assert not check.holds
    assert not check.is_needed


def machine_was(use: dict[str, float], others: dict[str, float]) -> dict[str, Observation]:
    times = np.array([1000.0, 1002.0])
    return {
        name: Observation(
            name,
            Reading.COUNTER,
            "ratio",
            tuple(Series(str(who), times, np.array([7.0, 7.0 + 2 * share])) for who, share in shares.items()),
            1.0,
        )
        for name, shares in ((machine.PROCESSORS, use), (machine.OTHERS, others))
    }


@pytest.mark.parametrize(
    ("use", "others", "holds", "found"),
    [
        ({Use.IDLE: 0.95, Use.OTHERS: 0.03}, {}, True, "5 % in use, 3 % by other processes"),
        (
            {Use.IDLE: 0.4, Use.OTHERS: 0.58},
            {"make": 0.08, "python burner.py": 0.5, "sshd": 0.001},
            False,
            "60 % in use, 58 % by other processes (python burner.py 50 %, make 8 %)",
        ),
        (
            {Use.IDLE: 0.85, Use.OTHERS: 0.12},
            {"gcc": 0.12},
            False,
            "15 % in use, 12 % by other processes (gcc 12 %)",
        ),
        (
            {Use.IDLE: 0.4, Use.ENVIRONMENT: 0.6, Use.OTHERS: 0.0},
            {},
            False,
            "60 % in use, 0 % by other processes",
        ),
        (
            {Use.IDLE: 0.6, Use.STEAL: 0.3, Use.OTHERS: 0.0},
            {},
            False,
            "40 % in use, 0 % by other processes, 30 % by the host of this virtual machine (steal)",
        ),
        ({Use.IDLE: 0.8, "processes": 0.2}, {}, True, "20 % in use"),
    ],
)
def test_who_is_busy_on_this_machine_before_the_load_is_told_by_name_and_stops_nothing(
    use, others, holds, found
) -> None:
    (check,) = preflight.machine_checks(machine_was(use, others))
    assert (check.holds, check.found, check.is_needed) == (holds, found, False)
    assert ", expected at most 50 %, and at most 10 % by others" in str(check) or holds


def test_a_machine_without_figures_is_not_checked() -> None:
    assert preflight.machine_checks({}) == []


CAPACITY = Capacity({"postgres": 1e-3, "the service": 0.9e-3}, 0.0, 0.0, 2, level=80, rate=100)


@pytest.mark.parametrize(("users", "holds"), [(700, True), (799, True), (801, False), (1000, False)])
def test_a_plan_above_the_capacity_of_this_machine_is_a_warning(users: int, holds: bool) -> None:
    plan = PLAN.with_workloads(lambda load: replace(load, stages=(Stage(30, users),)))
    check = preflight.check_capacity(CAPACITY, plan)
    assert (check.holds, check.is_needed) == (holds, False)
    said = (
        "about 800 users (680 to 1800) before this machine is full; postgres and the service take most of it"
    )
    assert str(check).removesuffix(f", expected at least {users} users, as planned") == (
        f"the capacity of this machine: {said}"
    )


@pytest.mark.parametrize(
    ("changes", "is_large"),
    [
        ({"stages": (Stage(30, 79),)}, False),
        ({"stages": (Stage(30, 80),)}, True),
        ({"stages": (Stage(30, 1000),), "think": Think(0, 0)}, False),  # they fill every machine
        ({"stages": (Stage(30, 1000),), "think": Think(0, 0), "pace": 1.0}, True),
        ({"stages": (Stage(30, 100),), "model": Model.REQUESTS}, True),
        ({"stages": (Stage(30, 99),), "model": Model.REQUESTS}, False),
    ],
)
def test_only_a_plan_that_could_take_a_fifth_of_a_processor_may_fill_a_machine(changes, is_large) -> None:
    plan = PLAN.with_workloads(lambda load: replace(load, **changes))
    assert preflight.may_fill_machine(plan) is is_large


def test_burners_are_seen_before_the_load(tmp_path: Path, target: Target) -> None:
    with burning(2):
        check = checks(tmp_path, target)["this machine's processors"]
    assert not check.holds
    assert "% in use" in check.found
    assert not check.is_needed


def test_what_may_pass_is_looked_at_again_and_what_does_not_is_told_in_one_line() -> None:
    bad = Check("traffic of others", "90 requests per second", "at most 5", holds=False, may_pass=True)
    looks = iter([(bad,), (replace(bad, holds=True),)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tenacity.nap.time.sleep", lambda _: None)
        assert preflight.ready(lambda: next(looks))[0].holds
    with pytest.raises(NotReadyError, match="not ready to judge: traffic of others: 90 requests per second"):
        preflight.ready(lambda: (bad,), patience=0)
    warning = replace(bad, is_needed=False)
    assert preflight.ready(lambda: (warning,), patience=0) == (warning,)
