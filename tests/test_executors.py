"""Worker processes of this machine."""

import os
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from loadkit.engine import executors
from loadkit.engine.executors import results_of, worker_processes, workers_for
from loadkit.engine.worker import Parts, check_worker
from loadkit.errors import ConfigurationError
from loadkit.users.accounts import AccountKind
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.virtual_time import plan_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("model", "level", "think", "workers"),
    [
        (Model.REQUESTS, 2_000, Think(), 1),
        (Model.REQUESTS, 5_000, Think(), 2),
        (Model.REQUESTS, 100_000, Think(), 4),  # no more than there are cores
        (Model.CLOSED, 1_000, Think(0.3, 1.3), 1),
        (Model.CLOSED, 8_000, Think(0.3, 1.3), 4),
        (Model.CLOSED, 1_000, Think(0, 0), 1),  # as many operations as the service answers: nobody can know
    ],
)
def test_a_load_gets_the_workers_that_it_needs(model, level, think, workers, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    load = Workload(model, (Stage(0, level), Stage(60, level)), (MixEntry("m:f", 1.0),), think)
    assert workers_for(Plan.of("shop", load)) == workers


def test_users_who_only_pace_their_journeys_get_workers_for_these(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    stages = (Stage(0, 5_000), Stage(60, 5_000))
    load = Workload(Model.CLOSED, stages, (MixEntry("m:f", 1.0),), Think(0, 0), pace=1.0)
    assert workers_for(Plan.of("shop", load)) == 2


def test_populations_get_workers_for_what_they_do_together():
    load = Workload(Model.REQUESTS, (Stage(0, 2_000), Stage(60, 2_000)), (MixEntry("m:f", 1.0),))
    assert workers_for(Plan("shop", (Population("reads", load), Population("writes", load)))) == 2


def test_a_workers_process_imports_nothing_of_what_judges():
    judging = {
        "scipy",
        "pandas",
        "matplotlib",
        "httpx",
        "cattrs",
        "rich",
        "psutil",
        "importlib.metadata",
        "http.client",
        "prometheus_api_client",
        "loadkit.engine.run",
        "loadkit.structuring",
        "loadkit.judging.judge",
        "loadkit.environment.environment",
    }
    with worker_processes(1) as executor:
        ready = executor.submit(check_worker, plan_of(), "", ROOT, 1)
        found = executor.submit(eval, "set(__import__('sys').modules)").result()
        assert ready.result() == Parts(
            account_kinds=((AccountKind(),),), data=(((),),), arrives=False, uses=("http",)
        )
    assert "loadkit.engine.worker" in found
    assert not judging & found


def test_a_worker_that_does_not_answer_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(executors, "_SHUTDOWN", 0.5)
    processes = []

    def ask():
        with worker_processes(1) as pool:
            pool.submit(os.getpid).result()
            processes.extend(pool._processes.values())
            results_of(pool.submit(time.sleep, 600), within=1.0)

    with pytest.raises(ConfigurationError, match="a worker process did not answer for 1 s"):
        ask()
    assert [each.exitcode for each in processes] == [-signal.SIGKILL]


def test_a_time_out_of_a_worker_is_its_own_error():
    late = Future()
    late.set_exception(TimeoutError("the worker was not ready"))
    with pytest.raises(TimeoutError, match="the worker was not ready"):
        results_of(late, within=1.0)
