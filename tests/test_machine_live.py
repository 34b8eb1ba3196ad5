"""A real load beside busy processes is invalid and names them; a service that burns its own processor fails."""

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from loadkit import grammar
from loadkit.engine.progress import Progress
from loadkit.judging.evidence import Evidence
from loadkit.judging.judge import judge
from loadkit.planning.draft import Draft
from loadkit.recording.run import Run
from loadkit.verdict import Status, Verdict
from loadkit.workload.workload import Model, Think
from tests.burner import NAME, burning
from tests.local_environment import LocalEnvironment, environment
from tests.local_load import LocalLoad

__all__ = ["environment"]

pytestmark = [pytest.mark.prove, pytest.mark.timeout(900)]

FIRST, SECOND = -20, -10
"""The niceness of the load generator and of the environment, where root runs this.

So other users of the machine are no part of it, and a busy service does not delay the load generator."""
P95 = "the p95 response time stays below {:.0f} ms"
CPU = "CPU utilization stays below 60% on every instance"


@pytest.fixture(scope="module")
def load(environment: LocalEnvironment) -> LocalLoad:
    return LocalLoad(environment.verb("up", "--owner", str(os.getpid())))


USERS = 250
BURNERS = 4 * (os.cpu_count() or 1)
"""So many that the service cannot get the processor time that these users ask of it."""


def run_of(load: LocalLoad, hold: float) -> Run:
    """Users who pause for 0.2 s."""
    draft = Draft()
    draft.load(Model.CLOSED, USERS)
    draft.arrive(3.0)
    draft.hold_for(hold)
    draft.think_for(Think(0.1, 0.3))
    load.await_calm()
    (supervisor,) = load._target.processes

    def put_all_first() -> None:
        put_first(psutil.Process(), FIRST)
        put_first(psutil.Process(supervisor), SECOND)

    def watch(progress: Progress) -> None:
        # Workers have started since.
        if progress.elapsed < 5:
            put_all_first()

    # Workers that get ready behind the burners would miss the start of the load.
    put_all_first()
    try:
        return load.run(draft, watch=watch)
    finally:
        put_first(psutil.Process(), 0)


def put_first(root: psutil.Process, nice: int) -> None:
    """Let a process and its children go before others, where that is allowed."""
    for process in (root, *root.children(recursive=True)):
        set_priority(process.pid, nice)


def set_priority(pid: int, nice: int) -> None:
    """Set the niceness of a process, and of its session, where the system shares processors among sessions."""
    with suppress(psutil.Error, OSError):
        for thread in psutil.Process(pid).threads():
            os.setpriority(os.PRIO_PROCESS, thread.id, nice)
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def on(run: Run, sentence: str) -> Verdict:
    verdict = judge(grammar.criterion(sentence), Evidence(run))
    print(
        f"{verdict.status.upper()} {sentence}: {verdict.reason} {verdict.warnings} {verdict.details.get('machine')}"
    )
    return verdict


@pytest.fixture(scope="module")
def limit(environment: LocalEnvironment, load: LocalLoad) -> float:
    """Three times the p95 that the service has alone, in milliseconds; at least 60, which the generator measures well."""
    alone = run_of(load, 25)
    measured = on(alone, P95.format(1000)).measured
    assert measured is not None
    limit = max(60.0, 3000 * measured)
    kept = on(alone, P95.format(limit))
    assert kept.status is Status.PASS or "machine" in kept.details, (
        "other users of the machine apart, it is kept"
    )
    return limit


def test_a_limit_that_is_broken_beside_busy_processes_is_invalid_and_they_are_named(load, limit) -> None:
    with burning(BURNERS) as burners:
        for burner in burners:
            set_priority(burner, SECOND)
        run = run_of(load, 30)
    verdict = on(run, P95.format(limit))
    assert verdict.measured is None or verdict.measured > limit / 1000, "the burners did not slow the service"
    assert verdict.status is Status.INVALID
    assert verdict.reason.startswith("Other processes took ")
    assert f"({NAME} " in verdict.reason


def test_a_service_that_burns_its_own_processor_fails(environment, load, limit) -> None:
    environment.verb("fault", "cpu-burn", "on", "--set", "share=1")
    try:
        run = run_of(load, 50)
    finally:
        environment.verb("fault", "cpu-burn", "off")
    on(run, P95.format(limit))
    on(run, "throughput is above 900 requests per second")
    assert on(run, CPU).status is Status.FAIL
    assert on(run, P95.format(limit)).status is Status.FAIL
