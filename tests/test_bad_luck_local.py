"""Bad luck of the local environment's own parts, while load is on it."""

import os
import re
import signal
import threading
from pathlib import Path

import psutil
import pytest

from loadkit.recording import archive
from loadkit.recording.messages import CONNECTIONS, DISCONNECTED, OPENED
from loadkit.recording.run import Run
from loadkit.recording.slices import label_series
from loadkit.recording.timing import CONNECT, LIFETIME, RECONNECT, Timing
from tests.local_environment import LocalEnvironment, environment, eventually, get
from tests.suites import PROMISES, Suite, all_gone, children, said

pytestmark = pytest.mark.environment
__all__ = ["environment"]

POOL = "database connection pool utilization stays below 80%"
CONNECTED = 60
LIVE = f"""
    Given {CONNECTED} WebSocket connections subscribed to live metrics
    And they arrive over 2 seconds
    And the load holds for {{hold}} seconds
    And 300 messages are delivered per second
"""
"""Connections of clients that come back."""
OPEN = f"at least {CONNECTED} connections stay open"
BACK = "95% of the clients are back within 15 seconds"
COMPLETE = ("no message is lost", "no message is delivered twice")


@pytest.fixture
def up(environment: LocalEnvironment):
    """The facts of the environment that is up; started anew if the test before ruined it."""
    return environment.verb("up", "--owner", str(os.getpid()))


def suite_in(folder: Path, environment_directory: Path) -> Suite:
    suite = Suite(folder, {"METRICS_LOCAL_DIR": str(environment_directory)})
    suite.use_local()
    return suite


@pytest.fixture
def suite(tmp_path: Path, environment: LocalEnvironment, up) -> Suite:
    return suite_in(tmp_path, environment.directory)


def worker_of(process) -> psutil.Process | None:
    """The process that puts the load on: it has the users' connections."""
    # Of the suite's own children: the service, which has many connections too, is a grandchild while it starts.
    for each in psutil.Process(process.pid).children():
        try:
            if sum(one.status == psutil.CONN_ESTABLISHED for one in each.net_connections("tcp")) >= 5:
                return each
        except psutil.NoSuchProcess:
            continue
    return None


def is_loaded(process) -> bool:
    return eventually(lambda: worker_of(process) is not None)


@pytest.mark.slow
@pytest.mark.load
def test_a_database_that_goes_away_under_load_is_a_broken_promise(suite, environment, up):
    suite.promise(*PROMISES, hold=60)
    with suite.started() as process:
        assert is_loaded(process)
        psutil.Process(up["parts"]["postgres"]["pid"]).kill()
        ended = said(process)
    assert ended.code == 1
    assert ended.is_plain
    assert suite.verdicts[PROMISES[1]][0] == "fail"
    assert len(suite.kept_runs) == 1


@pytest.mark.slow
@pytest.mark.load
def test_prometheus_that_goes_away_under_load_leaves_gauges_unknown_and_the_rest_judged(suite, up):
    suite.promise(PROMISES[1], POOL, hold=10)
    with suite.started() as process:
        assert is_loaded(process)
        psutil.Process(up["parts"]["prometheus"]["pid"]).kill()
        ended = said(process)
    assert ended.code == 3
    assert ended.is_plain
    status, reason = suite.verdicts[POOL]
    assert status == "inconclusive"
    assert re.search(r"was not observed: Prometheus at \S+ failed to answer", reason)
    assert suite.verdicts[PROMISES[1]][0] in {"pass", "inconclusive"}, "few operations, but they were judged"


def connections_of(facts) -> int:
    """WebSocket connections that the instances of the service hold."""
    texts = [get(f"{each['url']}/metrics").text for each in facts["instances"]]
    lines = [line for text in texts for line in text.splitlines()]
    return sum(int(float(line.split()[1])) for line in lines if line.startswith("ws_connections "))


def outcomes(run: Run, timing: Timing) -> dict[str, int]:
    """How many operations of a run had each outcome."""
    table = run.table
    _, number, sums = table.totals([label_series(name, timing) for name in table.labels(timing)], 0, 1 << 20)
    return {table.outcomes[one]: int(sums[number == one, 0].sum()) for one in set(number)}


@pytest.mark.slow
@pytest.mark.load
def test_clients_of_a_load_balancer_that_restarts_are_counted_come_back_and_leave_no_connection(
    suite, environment, up
):
    suite.promise(OPEN, BACK, *COMPLETE, hold=40, given=LIVE)
    with suite.started() as process:
        assert eventually(lambda: connections_of(up) == CONNECTED)
        threading.Event().wait(10)  # the users are connected before the hold begins, which is judged
        facts = environment.verb("fault", "balancer-restarted", "on")
        ended = said(process)
    assert facts["base"] == up["base"]
    assert facts["parts"]["haproxy"]["pid"] != up["parts"]["haproxy"]["pid"]
    assert facts["incidents"] == up["incidents"]

    assert ended.code == 1
    assert ended.is_plain
    status, reason = suite.verdicts[OPEN]
    assert (status, f"{CONNECTED} ended with closed 1006" in reason) == ("fail", True), reason
    assert {sentence: suite.verdicts[sentence][0] for sentence in (BACK, *COMPLETE)} == dict.fromkeys(
        (BACK, *COMPLETE), "pass"
    )

    (kept,) = suite.kept_runs
    run = archive.load(suite.reports / "runs" / kept)
    seconds = run.worker_seconds
    assert sum(each.count(f"{DISCONNECTED}closed 1006") for each in seconds) == CONNECTED
    assert outcomes(run, RECONNECT) == {"ok": CONNECTED}
    attempts = outcomes(run, CONNECT)
    assert attempts.pop("ok") == sum(each.count(OPENED) for each in seconds) == 2 * CONNECTED
    # While it is away, and, for a moment, while it has no instances yet.
    assert attempts["refused"] > 0
    assert attempts.keys() <= {"refused", "status 503"}
    # Each connection that was opened has ended, on both sides.
    assert sum(outcomes(run, LIFETIME).values()) == 2 * CONNECTED
    assert seconds[-1].gauge(CONNECTIONS) == 0
    assert eventually(lambda: connections_of(environment.verb("status")) == 0)


@pytest.mark.slow
def test_what_an_interrupted_run_wrote_can_be_removed_and_nothing_else(suite, environment):
    sessions = environment.verb("status")["rows"]["sessions"]
    suite.promise(*PROMISES)
    with suite.started() as process:
        assert is_loaded(process)
        assert eventually(lambda: environment.verb("status")["rows"]["sessions"] > sessions)
        os.killpg(process.pid, signal.SIGINT)
        assert said(process).code == 3
    (run,) = suite.kept_runs
    cleaned = suite.loadkit("env", "clean", "local", "--run", run)
    assert cleaned.code == 0, cleaned.err
    assert environment.verb("status")["rows"]["sessions"] == sessions


@pytest.mark.slow
def test_a_suite_that_is_killed_leaves_no_environment_and_no_worker(tmp_path):
    directory = tmp_path / "environment"
    (tmp_path / "suite").mkdir()
    suite = suite_in(tmp_path / "suite", directory)
    suite.promise(*PROMISES)
    local = LocalEnvironment(directory)
    with suite.started() as process:
        assert is_loaded(process)
        processes = [*children(process), *local.processes(local.verb("status"))]
        process.kill()
        assert all_gone(processes)
    assert local.verb("status") == {"up": False}
