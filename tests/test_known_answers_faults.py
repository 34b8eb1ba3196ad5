"""Faults of the load generator itself: the service is never blamed for them (method: known answer 6).

The server is fast and the same throughout; a verdict may be invalid, or a pass with a warning where the rest of the run
says so too, and never a fail. Each test also shows that the fault was really there.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import numpy as np
import pytest

from loadkit.criterion import Comparison
from loadkit.engine.run import run
from loadkit.errors import ConfigurationError
from loadkit.target import Target
from loadkit.verdict import Status
from loadkit.workload.workload import MixEntry, Model, Think
from tests.builders import error_rate, judge, response_time, throughput
from tests.known_answers.journeys import FILES
from tests.known_answers.runs import MIX, ROOT, Answer, Case, answer_of, plan_of
from tests.known_answers.servers import Stalling, serving

pytestmark = pytest.mark.load

STEADY = Stalling(service=0.005, stall=0.0, first=0.0)
CORE = max(os.sched_getaffinity(0))


def with_fault(journey: str, share: float) -> tuple[MixEntry, ...]:
    """A share of the users have a journey that is at fault."""
    usual = MixEntry(MIX[0].journey, 1 - share, arguments=MIX[0].arguments)
    return (usual, MixEntry(f"tests.known_answers.journeys:{journey}", share))


def is_excused(verdict) -> bool:
    """Is the service not blamed, and the generator's part said?"""
    return verdict.status is Status.INVALID or (verdict.status is Status.PASS and bool(verdict.warnings))


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.prove)])
def test_a_loop_that_is_blocked_each_second_is_not_the_services_fault(seconds):
    # One of twenty users blocks the worker for 200 ms, and comes back about a second later.
    plan = plan_of(Model.CLOSED, 20, seconds, think=Think(0.5, 1.0), mix=with_fault("blocking", 1 / 20))
    answer = answer_of(Case(STEADY, plan))
    assert answer.response(0.95) > 0.05  # it looks slow, and the server was not
    assert answer.served.max() < 0.05 + answer.log.lags.max()
    for comparison in (Comparison.IS_BELOW, Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS):
        assert is_excused(judge(response_time(0.95, 0.05, comparison), answer.run))
        assert is_excused(judge(response_time(0.99, 0.1, comparison), answer.run))


def test_a_worker_without_files_is_not_the_services_fault():
    # The hoarder's user comes early, so that most of the others find no file for their connection.
    plan = plan_of(Model.CLOSED, 120, 12, ramp=3, think=Think(0.5, 1.0), mix=with_fault("hoarding", 1 / 20))
    answer = answer_of(Case(STEADY, plan))
    assert "no socket" in answer.run.table.outcomes
    for criterion in (
        error_rate(0.01),
        error_rate(0.01, Comparison.STAYS_BELOW),
        response_time(0.95, 0.1),
        throughput(80),
    ):
        assert is_excused(judge(criterion, answer.run)), criterion.sentence


def forbid_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))


def test_a_worker_that_may_not_have_the_files_it_needs_is_refused_before_load():
    context = get_context("spawn")
    with (
        serving(STEADY) as server,
        ProcessPoolExecutor(1, mp_context=context, initializer=forbid_files) as executor,
        pytest.raises(ConfigurationError, match=f"the system allows it {FILES}"),
    ):
        run(plan_of(Model.CLOSED, 100, 5), Target("t", server.base), root=ROOT, executor=executor)


@contextmanager
def core_to_take(processes: int = 4) -> Iterator[Callable[[object], None]]:
    """Processes that do nothing else than keep one core busy, from the first call of what is yielded on."""
    program = f"import os\nos.sched_setaffinity(0, {{{CORE}}})\nwhile True: pass"
    busy: list[subprocess.Popen[bytes]] = []

    def take(_progress: object) -> None:
        if not busy:
            busy.extend(subprocess.Popen([sys.executable, "-c", program]) for _ in range(processes))

    try:
        yield take
    finally:
        for process in busy:
            process.kill()
            process.wait()


def keep_to_core() -> None:
    os.sched_setaffinity(0, {CORE})


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.prove)])
def test_a_core_taken_by_others_is_not_the_services_fault(seconds):
    context = get_context("spawn")
    with (
        serving(STEADY) as server,
        ProcessPoolExecutor(1, mp_context=context, initializer=keep_to_core) as executor,
        core_to_take() as take,
    ):
        plan = plan_of(Model.REQUESTS, 200, seconds)
        done = run(plan, Target("t", server.base), root=ROOT, executor=executor, watch=take)
        answer = Answer(done, server.log())
    assert answer.disturbance(0.99) > 0.002
    # Limits that the service keeps by far, as its own log says; what stands between is the generator's.
    for limit in (0.02, 0.05, 0.2):
        for comparison in (Comparison.IS_BELOW, Comparison.STAYS_BELOW):
            verdict = judge(response_time(0.95, limit, comparison), answer.run)
            assert verdict.status is not Status.FAIL or np.quantile(answer.served, 0.95) > limit, (
                verdict.reason
            )
