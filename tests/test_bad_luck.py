"""Whatever goes wrong: one clear line, the right exit code, nothing hangs, no process stays, what was seen is judged."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from loadkit.environment import lock
from loadkit.target import Target
from tests.bad_servers import Server, always_says, in_a_thread
from tests.local_environment import eventually
from tests.suites import PROMISES, Suite, all_gone, children, command_of, said

RISING = """
    Given the load follows
      | for        | users |
      | 5 s        | 5     |
      | 10 minutes | 6     |
      | 30 s       | 6     |
    And each user thinks for 0.05 to 0.1 seconds
"""
"""A load that is not steady before ten minutes have passed."""


def answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}".encode()


def can_mount() -> bool:
    mounted = ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/tmp"]
    return shutil.which("unshare") is not None and subprocess.run(mounted, check=False).returncode == 0


@pytest.fixture
def server() -> Iterator[Server]:
    with in_a_thread(always_says(answer("200 OK"))) as server:
        yield server


@pytest.fixture
def suite(tmp_path: Path, server: Server) -> Suite:
    suite = Suite(tmp_path)
    suite.use_service(server.base)
    suite.promise(*PROMISES)
    return suite


@pytest.fixture
def rising(suite: Suite, server: Server) -> Suite:
    """With a load that is still rising whenever something happens to it."""
    suite.use_service(server.base, accounts=6)
    suite.promise(*PROMISES, given=RISING)
    return suite


def is_loaded(server: Server) -> bool:
    return eventually(lambda: len(server.requests) > 60, 60.0)


# --- refused before any load


@pytest.mark.parametrize(
    ("given", "sentence", "told"),
    [
        (
            '    Given 5 concurrent users following the "juggle" journey\n',
            PROMISES[0],
            'no journey "juggle" in tests.sample_journeys.arriving; there are: work',
        ),
        (
            "    Given the tremendous load\n",
            PROMISES[0],
            'no level "tremendous" in environments/local.toml; there are: peak',
        ),
        (
            "    Given 5 concurrent users\n",
            "throughput stays above 100 requests per second",
            "is out of reach, however fast the service is: 5 users who think for 0.8 s between requests make at most 6.25",
        ),
    ],
    ids=["journey", "level", "throughput"],
)
def test_what_the_sentences_ask_for_in_vain_is_told_with_its_line(suite, server, given, sentence, told):
    suite.promise(sentence, given=given)
    ended = suite.run()
    assert ended.code == 2
    assert ended.err.startswith("features/luck.feature:3: ")
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert not server.requests


def test_a_wrong_password_is_found_before_any_load(suite):
    with in_a_thread(always_says(answer("401 Unauthorized"))) as server:
        suite.use_service(server.base)
        ended = suite.run()
    assert ended.code == 2
    assert "the service refuses the account u0 (status 401)" in ended.err
    assert ended.is_plain
    assert "PASSWORD-IN-PLAIN" not in ended.out + ended.err
    assert {status for status, _ in suite.verdicts.values()} == {"not judged"}
    assert not suite.kept_runs


def test_a_mistake_in_a_journey_is_found_before_any_load(suite, server):
    file = suite.root / "environments" / "local.toml"
    text = file.read_text()
    file.write_text(
        text.replace("sample_journeys.arriving", "sample_journeys.misspelt").replace('"work"', '"idle"')
    )
    ended = suite.run()
    assert ended.code == 2
    assert ended.is_plain
    assert ended.err.count("\n") == 1
    assert "(arrive) itself failed: KeyError: 'token' at " in ended.err
    assert {status for status, _ in suite.verdicts.values()} == {"not judged"}
    assert not suite.kept_runs


def test_fewer_accounts_than_users_are_refused(suite, server):
    suite.use_service(server.base, accounts=2)
    ended = suite.run()
    assert ended.code == 2
    assert "5 users need accounts of their own, the environment names 2" in ended.err
    assert ended.is_plain


def test_a_second_suite_on_the_same_environment_is_told_who_is_there(suite, server):
    with lock.hold(Target("local", server.base), "Run A: 5 users"):
        ended = suite.run()
    assert ended.code == 2
    assert f"process {os.getpid()} since " in ended.err
    assert ended.is_plain


@pytest.mark.slow
def test_an_address_that_somebody_else_took_is_not_ready_to_judge(suite):
    with in_a_thread(always_says(answer("404 Not Found"))) as stranger:
        suite.use_service(stranger.base, more='ready = "/readyz"\n')
        ended = suite.run()
    assert ended.code == 2
    assert "not ready to judge: the service: /readyz answered 404, expected 200" in ended.err
    assert ended.is_plain


# --- cut short


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Ctrl-C", "loadkit stop"])
def test_a_run_that_is_told_to_end_is_kept_and_judged_for_what_it_is(rising, server, how):
    with rising.started() as process:
        assert is_loaded(server)
        workers = children(process)
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        else:
            stopped = rising.loadkit("stop")
            assert (stopped.code, stopped.out[:8]) == (0, "stopped ")
        ended = said(process)
    assert ended.code == 3
    assert ended.is_plain
    assert {status for status, _ in rising.verdicts.values()} == {"inconclusive"}
    assert all("interrupted" in reason for _, reason in rising.verdicts.values())
    assert len(rising.kept_runs) == 1
    assert all_gone(workers)


@pytest.mark.slow
def test_a_run_whose_worker_is_killed_is_kept_and_passes_nothing(rising, server):
    with rising.started() as process:
        assert is_loaded(server)
        workers = children(process)
        # The one that has connections to the service.
        (worker,) = (each for each in workers if any(one.raddr for one in each.net_connections("tcp")))
        worker.kill()
        ended = said(process)
    assert ended.code == 3
    assert ended.is_plain
    assert all("worker 0 died" in reason for _, reason in rising.verdicts.values())
    assert len(rising.kept_runs) == 1
    assert all_gone(workers)


@pytest.mark.slow
def test_a_service_that_fails_most_requests_is_spared_the_rest_and_fails(suite):
    with in_a_thread(always_says(answer("500 Oops"))) as server:
        suite.use_service(server.base)
        suite.promise(*PROMISES, hold=60)
        ended = suite.run()
    assert ended.code == 1
    assert suite.verdicts[PROMISES[1]][0] == "fail"
    assert "emergency stop" in ended.out
    assert ended.is_plain


@pytest.mark.slow
def test_a_suite_that_is_killed_leaves_no_worker(suite, server):
    with suite.started() as process:
        assert is_loaded(server)
        workers = children(process)
        assert workers
        process.kill()
        assert all_gone(workers)


# --- nowhere to write to


no_room = pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a small file system")


@pytest.mark.slow
@no_room
def test_without_space_for_the_run_its_verdicts_are_kept(suite):
    suite.promise(*PROMISES, hold=3)
    ended = suite.run(full=suite.reports / "runs")
    assert ended.code in {0, 3, 4}, "of three seconds on a busy machine nothing sure may be said"
    assert "No space left on device" in ended.err
    assert ended.is_plain


@pytest.mark.slow
@no_room
def test_without_space_for_the_results_the_verdicts_are_told_and_it_is_no_pass(suite):
    suite.promise(*PROMISES, hold=3)
    ended = suite.run(full=suite.reports)
    assert ended.code == 2
    told = f"no results: cannot write to {suite.reports}: No space left on device"
    assert "".join(told.split()) in "".join(ended.out.split()), "in lines, which may break within a long path"
    assert PROMISES[1] in ended.out
    assert "gate: not judged (exit 2): the results were not saved" in ended.out
    assert ended.is_plain


def test_a_reports_folder_that_is_none_is_told_before_any_load(suite, server):
    suite.reports.write_text("a file")
    ended = suite.run()
    assert ended.code == 2
    assert ended.err == f"cannot write results to {suite.reports}: File exists\n"
    assert not server.requests


def test_nothing_of_these_tests_is_left():
    assert not [each for each in psutil.Process().children(recursive=True) if "behave" in command_of(each)]
