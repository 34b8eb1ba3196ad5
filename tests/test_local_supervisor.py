"""The environment's life: it starts, scales, misbehaves when told to, and leaves no process behind."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait

import httpx
import pytest

from environments.local import binaries
from environments.local.faults import FAULTS
from tests.local_environment import (
    PROJECT,
    LocalEnvironment,
    client_of,
    environment,
    eventually,
    fault,
    get,
    up,
)
from tests.suites import all_gone

pytestmark = pytest.mark.environment
__all__ = ["environment", "fault", "up"]


@pytest.fixture
def client(environment, up):
    with environment.client(up) as client:
        yield client


def served_by(client, count=40):
    answers = [client.get("/api/v1/auth/me").headers["X-Instance"] for _ in range(count)]
    return {name: answers.count(name) for name in set(answers)}


def metric(url, name):
    lines = get(f"{url}/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def each_metric(facts, name):
    return [metric(each["url"], name) for each in facts["instances"]]


@pytest.mark.slow
def test_up_when_it_is_up_prints_the_same_facts_and_starts_nothing(environment, up):
    again = environment.verb("up")
    for name in ("base", "database", "database_observer", "prometheus", "supervisor", "instances"):
        assert again[name] == up[name]


def test_status_tells_each_part_and_its_health(environment, up):
    parts = environment.verb("status")["parts"]
    assert set(parts) == {"postgres", "valkey", "haproxy", "prometheus"}
    assert all(part["healthy"] and part["state"] == "running" for part in parts.values())


def test_two_at_once_start_one_environment(environment, up):
    environment.verb("down")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: environment.verb("up", "--owner", str(os.getpid())), range(2))
    assert first["supervisor"] == second["supervisor"]


def test_a_program_that_two_environments_need_at_once_is_fetched_once(tmp_path, monkeypatch):
    on_path = {"apt-get": "/usr/bin/apt-get", "dpkg-deb": "/usr/bin/dpkg-deb"}
    monkeypatch.setattr(shutil, "which", lambda name, path=None: on_path.get(name))
    told, others = [], []

    def fetch(package, draft):
        if not others:
            others.append(pool.submit(binaries.prometheus, tmp_path, told.append))
            wait(others, timeout=0.5)  # it comes while the first is fetched
        file = draft / "root" / "usr" / "bin" / package
        file.parent.mkdir(parents=True)
        file.touch()

    monkeypatch.setattr(binaries, "_fetch", fetch)
    with ThreadPoolExecutor(1) as pool:
        first = binaries.prometheus(tmp_path, told.append)
        assert [other.result() for other in others] == [first]
    assert first.exists()
    assert told == ["fetching Prometheus (Debian package, once)"]


def test_the_data_stay_when_it_goes_down_and_comes_up(environment, client, up):
    headers = {**environment.log_in(client), "X-Run-Id": "kept"}
    client.post("/api/v1/metrics/events", headers=headers, json={"events": [{"name": "kept", "value": 1}]})
    assert environment.verb("down") == {"up": False}
    assert environment.verb("status") == {"up": False}
    environment.verb("up", "--owner", str(os.getpid()))
    assert environment.verb("clean", "--run", "kept")["removed"]["metric_events"] == 1


def test_down_leaves_no_process(environment, up):
    processes = environment.processes(up)
    assert len(processes) > 10
    environment.verb("down")
    assert all_gone(processes)


def test_killing_the_supervisor_leaves_no_process(environment, up):
    processes = environment.processes(up)
    os.kill(up["supervisor"], signal.SIGKILL)
    assert all_gone(processes)
    assert environment.verb("status") == {"up": False}


def test_killing_the_supervisor_of_a_frozen_service_leaves_no_process(environment, up):
    environment.verb("fault", "freeze", "on")
    processes = environment.processes(up)
    os.kill(up["supervisor"], signal.SIGKILL)
    assert all_gone(processes)


def test_killing_the_owner_leaves_no_process(environment, up):
    environment.verb("down")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        processes = environment.processes(environment.verb("up", "--owner", str(owner.pid)))
        owner.kill()
    assert all_gone(processes)


def test_an_owner_that_is_not_there_is_an_error_of_one_line(environment, up):
    environment.verb("down")
    done = environment.run("up", "--owner", "4194304")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the owner, process 4194304, does not exist\n"


@pytest.mark.slow
def test_an_instance_that_dies_unasked_is_told_of_and_gets_no_requests(environment, client, up):
    os.kill(up["instances"][1]["pid"], signal.SIGKILL)
    assert eventually(lambda: environment.verb("status")["instances"][1]["balancer"] == "DOWN")
    facts = environment.verb("status")
    assert facts["instances"][1]["state"] == "dead"
    assert [(each["part"], each["what"]) for each in facts["incidents"]] == [
        ("metrics-2", "died unexpectedly (signal 9)")
    ]
    assert set(served_by(client)) == {"metrics-1"}


@pytest.mark.slow
def test_up_replaces_an_environment_that_is_half_dead(environment, up):
    os.kill(up["parts"]["valkey"]["pid"], signal.SIGKILL)
    assert eventually(lambda: environment.verb("status")["parts"]["valkey"]["state"] == "dead")
    fresh = environment.verb("up", "--owner", str(os.getpid()))
    assert fresh["supervisor"] != up["supervisor"]
    assert fresh["parts"]["valkey"]["healthy"]


@pytest.mark.slow
def test_up_replaces_a_supervisor_that_hangs(environment, up):
    os.kill(up["supervisor"], signal.SIGSTOP)
    processes = environment.processes(up)
    fresh = environment.verb("up", "--owner", str(os.getpid()))
    assert fresh["supervisor"] != up["supervisor"]
    assert all_gone(processes)


def test_scaling_out_and_in_loses_no_request(environment, client, up):
    seen, failed = set(), []

    def ask():
        with environment.client(up) as asking:
            while not done:
                answer = asking.get("/healthz")
                seen.add(answer.headers.get("X-Instance"))
                if answer.status_code != 200:
                    failed.append(answer.status_code)

    done = False
    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            names = [each["name"] for each in environment.verb("scale", "3")["instances"]]
            assert eventually(lambda: "metrics-3" in seen)
            remaining = [each["name"] for each in environment.verb("scale", "1")["instances"]]
        finally:
            done = True
        for each in asking:
            each.result()
    assert names == ["metrics-1", "metrics-2", "metrics-3"]
    assert remaining == ["metrics-1"]
    assert failed == []
    assert set(served_by(client)) == {"metrics-1"}
    environment.verb("scale", "2")


@pytest.mark.slow
def test_seeding_makes_exactly_so_many_events_and_a_second_time_nothing(environment, up):
    first = environment.verb("seed", "--events", "30k", "--seed", "5")
    assert (first["seeded"], first["rows"]["metric_events"]) == (True, 30_000)
    assert environment.verb("seed", "--events", "30000", "--seed", "5")["seeded"] is False
    with environment.client(up) as client:
        environment.log_in(client)


@pytest.mark.slow
def test_an_interrupted_seeding_leaves_the_data_of_before_and_can_be_repeated(environment, up):
    before = environment.verb("status")["rows"]
    with subprocess.Popen(
        [sys.executable, "-m", "environments.local", "seed", "--events", "3M", "--seed", "6"],
        cwd=PROJECT,
        env={**os.environ, "METRICS_LOCAL_DIR": str(environment.directory)},
        stderr=subprocess.PIPE,
        text=True,
    ) as seeding:
        assert "seeding: [" in seeding.stderr.readline()
        seeding.send_signal(signal.SIGINT)
        lines = seeding.stderr.read().splitlines()
    assert seeding.returncode == 130
    assert lines[-1] == "interrupted"
    assert not [line for line in lines[:-1] if not line.startswith("seeding: ")]
    assert environment.verb("status")["rows"] == before
    assert environment.verb("seed", "--events", "20k", "--seed", "6")["seeded"] is True
    assert environment.verb("status")["rows"]["metric_events"] == 20_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fault", "gremlins", "on"), "there is no fault 'gremlins'"),
        (("fault", "errors", "on", "--set", "chance=1"), "errors has no parameter 'chance'; it has: share"),
        (("fault", "errors", "on", "--set", "share=some"), "share=some: expected a number"),
        (("fault", "errors", "on", "--set", "share"), "expected key=value"),
        (("scale", "17"), "1 to 16 instances, not 17"),
        (("logs", "gremlins"), "there is no log of 'gremlins'"),
        (("seed", "--events", "0"), "expected at least 1"),
    ],
)
def test_a_mistake_is_exit_2_and_one_line(environment, up, arguments, words):
    done = environment.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_faults_lists_every_fault_with_its_parameters(environment):
    listed = environment.verb("faults")["faults"]
    assert set(listed) == set(FAULTS)
    assert listed["slow-share"]["parameters"] == {"share": 0.1, "delay": 1.0}


def test_status_shows_the_faults_that_are_on(environment, up, fault):
    assert fault("errors", "on", share=0.2)["faults"] == {"errors": {"share": 0.2}}
    assert fault("errors", "off")["faults"] == {}


def test_status_tells_cpu_and_memory_of_each_part(environment, up):
    usage = environment.verb("status")["usage"]
    parts = {"postgres", "valkey", "haproxy", "prometheus", "metrics-1", "metrics-2", "supervisor"}
    assert set(usage) == parts | {"total"}
    assert all(usage[part]["memory_mb"] > 1 and usage[part]["cpu_cores"] >= 0 for part in parts)
    assert usage["postgres"]["processes"] > usage["metrics-1"]["processes"] == 1
    memory = sum(usage[part]["memory_mb"] for part in parts)
    assert usage["total"]["memory_mb"] == pytest.approx(memory, abs=0.1)


def test_slow_share_delays_requests_and_off_ends_it(client, up, fault):
    def seconds():
        began = time.perf_counter()
        client.get("/api/v1/auth/me")
        return time.perf_counter() - began

    fault("slow-share", "on", share=1, delay=0.3)
    assert seconds() >= 0.3
    fault("slow-share", "off")
    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("name", "parameters", "status"), [("errors", {"share": 1}, 500), ("refuse-all", {}, 503)]
)
def test_a_failing_service_fails_and_recovers(client, up, fault, name, parameters, status):
    fault(name, "on", **parameters)
    assert {client.get("/api/v1/auth/me").status_code for _ in range(4)} == {status}
    fault(name, "off")
    assert {client.get("/api/v1/auth/me").status_code for _ in range(4)} == {401}


def test_error_bursts_come_in_a_row(up, fault):
    fault("error-bursts", "on", share=0.2, burst=10)
    with client_of(up["instances"][0]["url"]) as one:
        codes = "".join("x" if one.get("/api/v1/auth/me").status_code == 500 else "." for _ in range(600))
    bursts = [len(burst) for burst in codes.strip("x").split(".") if burst]
    assert bursts
    assert all(length % 10 == 0 for length in bursts)


def test_a_fault_meets_instances_that_are_started_later(environment, client, up, fault):
    fault("refuse-all", "on")
    facts = environment.verb("scale", "3")
    assert get(f"{facts['instances'][2]['url']}/api/v1/auth/me").status_code == 503
    environment.verb("scale", "2")


def test_a_stall_holds_every_request(up, fault):
    fault("periodic-stall", "on", period=1, length=0.5)
    with client_of(up["instances"][0]["url"]) as one:

        def longest():
            began = time.perf_counter()
            one.get("/healthz")
            return time.perf_counter() - began

        assert eventually(lambda: longest() > 0.2)


def is_well(facts):
    return facts["faults"] == {} and {each["balancer"] for each in facts["instances"]} == {"UP"}


def test_a_frozen_service_answers_what_waited_when_it_goes_on(environment, client, up, fault):
    facts = fault("freeze", "on", seconds=600)
    assert {each["state"] for each in facts["instances"]} == {"frozen"}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.get, "/healthz")
        assert wait([asked], timeout=0.5).not_done
        fault("freeze", "off")
        assert asked.result().status_code == 200
    assert eventually(lambda: is_well(environment.verb("status")))


def test_a_freeze_ends_after_its_time(environment, client, up, fault):
    fault("freeze", "on", seconds=1)
    assert client.get("/healthz").status_code == 200
    assert eventually(lambda: is_well(environment.verb("status")))


def test_cpu_burn_uses_a_share_of_a_core(up, fault):
    fault("cpu-burn", "on", share=0.3)
    url = up["instances"][0]["url"]
    before = metric(url, "process_cpu_seconds_total")
    assert eventually(lambda: metric(url, "process_cpu_seconds_total") > before + 0.3, 20.0)


def test_a_memory_leak_grows_and_is_freed(up, fault):
    before = each_metric(up, "process_resident_memory_bytes")[0]
    fault("memory-leak", "on", rate=100e6, limit=50e6)
    assert eventually(lambda: each_metric(up, "process_resident_memory_bytes")[0] > before + 40e6)
    fault("memory-leak", "off")
    assert eventually(lambda: each_metric(up, "process_resident_memory_bytes")[0] < before + 20e6)


def test_a_pool_too_small_makes_requests_wait(environment, client, up, fault):
    token, usual = environment.log_in(client), each_metric(up, "db_pool_size")
    fault("pool-too-small", "on", size=1)
    assert each_metric(up, "db_pool_size") == [1, 1]
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda _: client.get("/api/v1/admin/usage", headers=token).status_code, range(200))
        assert set(answers) == {200}
    assert sum(each_metric(up, "db_pool_waited_total")) > 0
    fault("pool-too-small", "off")
    assert each_metric(up, "db_pool_size") == usual


def test_a_leaking_pool_runs_dry_and_is_full_again(environment, up, fault):
    all_of_it = each_metric(up, "db_pool_size")
    fault("pool-leak", "on", every=0.02)
    assert eventually(lambda: each_metric(up, "db_pool_used") == all_of_it)
    fault("pool-leak", "off")
    assert eventually(lambda: each_metric(up, "db_pool_used") == [0, 0])


def test_without_the_cache_everything_is_a_miss(environment, client, up, fault):
    token = environment.log_in(client)
    fault("cache-off", "on")
    hits, misses = sum(each_metric(up, "cache_hits_total")), sum(each_metric(up, "cache_misses_total"))
    for _ in range(4):
        assert client.get("/api/v1/dashboard/overview", headers=token).status_code == 200
    assert sum(each_metric(up, "cache_hits_total")) == hits
    assert sum(each_metric(up, "cache_misses_total")) == misses + 4


def test_a_favoured_instance_gets_so_many_times_the_requests(client, up, fault):
    fault("favour-instance", "on", times=4)
    assert 75 <= served_by(client, 100)["metrics-1"] <= 85
    fault("favour-instance", "off")
    assert 45 <= served_by(client, 100)["metrics-1"] <= 55


@pytest.mark.slow
def test_a_killed_instance_is_expected_and_comes_back(environment, client, up, fault):
    fault("instance-killed", "on")
    assert eventually(lambda: environment.verb("status")["instances"][1]["balancer"] == "DOWN")
    assert environment.verb("status")["incidents"] == []
    assert set(served_by(client)) == {"metrics-1"}
    facts = fault("instance-killed", "off")
    assert facts["instances"][1]["state"] == "running"
    assert set(served_by(client)) == {"metrics-1", "metrics-2"}


@pytest.mark.slow
def test_a_load_balancer_that_restarts_has_its_address_and_its_instances_again(
    environment, client, up, fault
):
    fault("favour-instance", "on", times=4)
    seen = []

    def is_away():
        seen.append(environment.verb("status"))
        return seen[-1]["parts"]["haproxy"]["state"] == "dead"

    with ThreadPoolExecutor(1) as pool:
        restarting = pool.submit(fault, "balancer-restarted", "on", seconds=8)
        assert eventually(is_away)
        with pytest.raises(httpx.TransportError):
            get(f"{up['base']}/healthz")
        assert list(seen[-1]["faults"]) == ["favour-instance", "balancer-restarted"]
        # It is known to be away, so "up" starts nothing.
        assert environment.verb("up")["supervisor"] == up["supervisor"]
        facts = restarting.result()
    assert facts["base"] == up["base"]
    assert facts["parts"]["haproxy"]["state"] == "running"
    assert facts["parts"]["haproxy"]["pid"] != up["parts"]["haproxy"]["pid"]
    assert list(facts["faults"]) == ["favour-instance"]
    assert facts["incidents"] == up["incidents"]
    assert 75 <= served_by(client, 100)["metrics-1"] <= 85
    assert eventually(
        lambda: {each["balancer"] for each in environment.verb("status")["instances"]} == {"UP"}
    )


def test_prometheus_stops_and_comes_back_with_what_it_knew(environment, up, fault):
    def known():
        query = {"query": "count_over_time(up{instance='haproxy'}[1h])"}
        rows = get(f"{up['prometheus']}/api/v1/query", params=query).json()["data"]["result"]
        return int(rows[0]["value"][1]) if rows else 0

    assert eventually(lambda: known() > 2)
    before = known()
    fault("prometheus-stopped", "on")
    with pytest.raises(httpx.ConnectError):
        known()
    fault("prometheus-stopped", "off")
    assert eventually(lambda: known() >= before, 20.0)


def test_a_broken_alert_rule_watches_what_does_not_exist(environment, up, fault):
    def watched():
        groups = get(f"{up['prometheus']}/api/v1/rules").json()["data"]["groups"]
        return next(rule["query"] for rule in groups[0]["rules"] if rule["name"] == "HighLatency")

    fault("alert-rule-broken", "on")
    assert eventually(lambda: "duration_second_bucket" in watched())
    fault("alert-rule-broken", "off")
    assert eventually(lambda: "duration_seconds_bucket" in watched())


@pytest.mark.slow
def test_high_latency_fires_when_requests_are_slow(client, up, fault):
    def firing():
        alerts = get(f"{up['prometheus']}/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    fault("slow-share", "on", share=1, delay=0.7)

    def slow_until_firing():
        client.get("/api/v1/auth/me")
        return "HighLatency" in firing()

    assert eventually(slow_until_firing)


def test_counters_start_again_at_zero(client, up, fault):
    client.get("/api/v1/auth/me")
    fault("counter-reset", "on")
    totals = [
        line
        for each in up["instances"]
        for line in get(f"{each['url']}/metrics").text.splitlines()
        if line.startswith("http_requests_total")
    ]
    assert totals == []


def test_an_environment_that_is_still_starting_says_so(tmp_path):
    half_up = LocalEnvironment(tmp_path)
    with (tmp_path / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as a supervisor has it before it takes orders
        asked = half_up.run("status")
    assert asked.returncode == 2
    assert asked.stderr == "error: the environment is starting or stopping: try again in a moment\n"
    assert half_up.verb("status") == {"up": False}
