"""Bad luck of the local environment's own parts, while load is on it."""

import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.local_environment import LocalEnvironment, environment, eventually
from tests.suites import PROMISES, Suite, all_gone, children, said

pytestmark = pytest.mark.environment
__all__ = ["environment"]

POOL = "database connection pool utilization stays below 80%"


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
