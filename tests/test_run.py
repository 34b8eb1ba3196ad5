"""A whole run: real processes, a real service on loopback."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from loadkit.engine import uptime
from loadkit.engine.run import _sent_again_warning, new_id, run
from loadkit.errors import ConfigurationError, UnreachableError
from loadkit.recording import archive
from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending, EndingKind
from loadkit.recording.histogram import quantile_of
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.worker_second import SENT, WHOLE_WORKER, WorkerSecond
from loadkit.target import Account, Secret, Target
from loadkit.workload.plan import Action
from loadkit.workload.workload import MixEntry, Model, Think
from tests.bad_servers import Behaviour, always_says, asked, hangs_up, in_a_thread, never_answers
from tests.suites import all_gone, command_of
from tests.virtual_time import plan_of

ROOT = Path(__file__).parent.parent
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

KEEPS_ANSWERING = always_says(OK)


@contextmanager
def service(behaviour: Behaviour = KEEPS_ANSWERING) -> Iterator[str]:
    """A service in a thread of its own; yields its address."""
    with in_a_thread(behaviour) as server:
        yield server.base


class Nobody:
    """Brings nothing about, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.has_done = threading.Event()

    def do(self, action: Action, _within: float) -> None:
        self.asked.append(f"do {action.name}")
        self.has_done.set()

    def undo(self, action: Action) -> None:
        self.asked.append(f"undo {action.name}")


def short(**rest):
    return plan_of(**{"level": 5, "seconds": 2, "think": Think(0.05, 0.15), "drain": 1.0, **rest})


def totals(done) -> tuple[int, float]:
    """How many operations there were, and the seconds that users waited for them, all together."""
    labels = [name for name in done.table.series if name.startswith("label:")]
    count, seconds, *_ = done.table.totals(labels, 0, 1 << 22)[2].sum(axis=0)
    return int(count), float(seconds)


def attempted(done) -> int:
    return totals(done)[0]


def workers_here() -> list[psutil.Process]:
    """The processes that were started as workers of this one."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(command_of(child))]


def is_calm(done) -> bool:
    """Was no worker halted for so long that it may have missed the end of a second?"""
    names = [worker_series(index) for index in range(done.workers)]
    lags = done.table.histograms(Kind.LAG, names, 0, 1 << 22).values()
    return all((quantile_of(of_one, 1.0) or 0.0) < 0.5 for of_one in lags)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_through_its_plan(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(uptime, "_TIMEOUT", 30.0)  # a busy machine answers late
    told, seen = [], set()

    def watch(progress):
        told.append(progress)
        seen.update(workers_here())

    with service() as base:
        done = run(
            short(drain=30.0),
            Target("t", base, ready="/ready"),
            root=ROOT,
            workers=workers,
            watch=watch,
        )
    assert done.ended == COMPLETE
    assert done.ended_at == 2.0
    assert done.workers == workers
    assert len(seen) == workers
    requests, waited = totals(done)
    assert requests * 0.15 + waited > 9.0, "five users either think or wait, for two seconds"
    assert done.table.outcomes == ["ok"]
    assert [(worker_second.second, worker_second.worker) for worker_second in done.worker_seconds][
        :workers
    ] == [(0, index) for index in range(workers)]
    if is_calm(done):
        held = [each.gauge("held") for each in done.worker_seconds if each.second == 1]
        assert sum(held) == 5
    assert sum(worker_second.count("sent") for worker_second in done.worker_seconds) == requests
    assert len(done.table.select(Kind.LAG, ["worker:0"], 0, 10)[0])
    assert done.probes
    assert all(answered for _, answered in done.probes)
    assert told[0].phase == ("hold" if told[0].elapsed < 2.0 else "drain")
    assert all_gone(seen)
    assert archive.load(archive.save(done, tmp_path)).table.counts.sum() == done.table.counts.sum()


def test_an_open_run_goes_through_its_plan():
    with service() as base:
        done = run(short(model=Model.REQUESTS, level=50, drain=30.0), Target("t", base), root=ROOT)
    assert done.ended == COMPLETE
    assert attempted(done) == sum(worker_second.count("scheduled") for worker_second in done.worker_seconds)


@pytest.mark.slow
def test_a_run_can_be_carried_by_any_executor():
    processes = []
    with service() as base, ThreadPoolExecutor(1) as executor:
        # A thread is no worker of its own (one collector, one memory), but it shows that nothing else is asked for.
        done = run(
            short(),
            Target("t", base),
            root=ROOT,
            executor=executor,
            watch=lambda _: processes.append(workers_here()),
        )
    assert done.ended == COMPLETE, [each.second for each in done.worker_seconds]
    assert processes
    assert not any(processes)


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_keeps_what_it_did():
    stop = threading.Event()

    def watch(progress):
        if progress.elapsed > 1.5:
            stop.set()

    with service() as base:
        begun = time.monotonic()
        done = run(short(seconds=60), Target("t", base), root=ROOT, watch=watch, stop=stop)
    assert time.monotonic() - begun < 30
    assert done.ended == INTERRUPTED
    assert 1.0 < done.ended_at < 20
    assert attempted(done) > 0
    assert not done.is_complete


def test_a_run_whose_worker_dies_says_so_and_keeps_the_rest():
    victims: list[psutil.Process] = []

    def watch(progress):
        if progress.elapsed > 1.5 and not victims:
            victims.extend(workers_here())
            victims[0].kill()

    with service() as base:
        done = run(short(seconds=60), Target("t", base), root=ROOT, workers=2, watch=watch)
    assert done.ended in [Ending(EndingKind.WORKER_DIED, f"worker {number}") for number in range(2)]
    assert not done.writes.are_all
    assert done.ended_at < 20
    assert attempted(done) > 0
    assert all_gone(victims)


def answers_first(rest: Behaviour) -> Behaviour:
    """Answers the first connections, those of the checks before the load; treats later ones as `rest` does."""

    async def behaviour(server, reader, writer):
        await (always_says(OK) if server.connections <= 2 else rest)(server, reader, writer)

    return behaviour


def test_a_service_that_fails_for_ten_seconds_stops_the_run():
    with service(answers_first(hangs_up)) as base:
        done = run(short(seconds=60), Target("t", base), root=ROOT)
    assert done.ended.kind is EndingKind.EMERGENCY_STOP
    assert done.ended.detail.endswith("operations failed in the last ten seconds")
    assert 9 < done.ended_at < 30
    assert "closed" in done.table.outcomes


@pytest.mark.slow
def test_a_service_that_the_plan_disturbs_is_not_given_up():
    with service(answers_first(hangs_up)) as base:
        plan = short(seconds=12, actions=(Action("kill instance"),))
        done = run(plan, Target("t", base), root=ROOT, actor=Nobody())
    assert done.ended == COMPLETE


@pytest.mark.slow
def test_what_is_unanswered_at_the_end_of_the_drain_is_counted():
    with service(answers_first(never_answers)) as base:
        done = run(short(seconds=1), Target("t", base), root=ROOT)
    assert done.table.outcomes == ["ok", "unfinished"]
    assert attempted(done) == 5


def test_a_run_on_a_service_that_is_not_there_is_refused_in_one_line():
    with service() as base:
        pass
    with pytest.raises(UnreachableError, match=rf"{base} does not answer"):
        run(short(), Target("t", base), root=ROOT)


def test_a_service_that_says_it_is_not_ready_is_refused():
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    with service(always_says(busy)) as base, pytest.raises(UnreachableError, match="/ready returned 503"):
        run(short(), Target("t", base, ready="/ready"), root=ROOT)


def test_a_journey_that_cannot_be_imported_is_refused_before_load():
    with service() as base, pytest.raises(ConfigurationError, match="cannot import the journeys in nowhere"):
        run(short(journey="nowhere:nothing"), Target("t", base), root=ROOT)


def test_fewer_accounts_than_users_are_refused_unless_they_are_shared():
    accounts = (Account("a", Secret("x")), Account("b", Secret("x")))
    with service() as base:
        with pytest.raises(
            ConfigurationError, match="5 users need accounts of their own, the environment names 2"
        ):
            run(short(), Target("t", base, accounts=accounts), root=ROOT)
        done = run(short(seconds=1), Target("t", base, accounts=accounts, shares_accounts=True), root=ROOT)
    assert done.ended == COMPLETE


def test_a_role_that_no_account_has_is_refused():
    accounts = tuple(Account(f"u{number}", Secret("x")) for number in range(9))
    mix = (MixEntry("tests.sample_journeys:administer", 1.0),)
    with service() as base, pytest.raises(ConfigurationError, match="accounts with the role admin"):
        run(short(mix=mix), Target("t", base, accounts=accounts), root=ROOT)


@pytest.mark.slow
def test_each_worker_of_an_open_load_needs_an_account_of_each_role():
    accounts = (
        *(Account(f"u{number}", Secret("x")) for number in range(9)),
        Account("a", Secret("x"), role="admin"),
    )
    mix = (MixEntry("tests.sample_journeys:administer", 0.5), MixEntry("loadkit.journey:fetch", 0.5))
    plan = short(mix=mix, model=Model.REQUESTS, level=50)
    with service() as base:
        target = Target("t", base, accounts=accounts)
        with pytest.raises(ConfigurationError, match="2 users need accounts with the role admin"):
            run(plan, target, root=ROOT, workers=2)
        assert run(plan, target, root=ROOT, workers=1).ended == COMPLETE


def arriving(base: str) -> tuple[Target, tuple[MixEntry, ...]]:
    accounts = tuple(Account(f"u{number}", Secret("recognisable")) for number in range(9))
    target = Target("shop", base, accounts=accounts, journeys="tests.sample_journeys.arriving")
    return target, (MixEntry("tests.sample_journeys.arriving:work", 1.0),)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_an_account_that_the_service_refuses_is_found_before_any_load(status):
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with service(always_says(refusal)) as base:
        target, mix = arriving(base)
        with pytest.raises(ConfigurationError) as caught:
            run(short(mix=mix), target, root=ROOT)
    assert str(caught.value) == (
        f"the service refuses the account u0 (status {status[:3]}): check the accounts of environment shop"
    )


@pytest.mark.slow
def test_a_service_that_fails_at_the_login_is_loaded_and_blamed():
    failure = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    with service(always_says(failure)) as base:
        target, mix = arriving(base)
        done = run(short(mix=mix, seconds=1), target, root=ROOT)
    assert done.ended == COMPLETE
    assert attempted(done) > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_of_a_journey_ends_the_run_before_any_load_with_one_line(workers):
    with in_a_thread(KEEPS_ANSWERING) as server:
        with pytest.raises(ConfigurationError) as caught:
            run(
                short(journey="tests.sample_journeys:mistake"),
                Target("t", server.base),
                root=ROOT,
                workers=workers,
            )
        paths = [request.split()[1] for request in server.requests]
    assert re.fullmatch(
        r"the journey \"a mistake\" itself failed: TypeError: the author's at "
        r"tests/sample_journeys/__init__\.py:\d+ \(found in one trial before the load\)",
        str(caught.value),
    )
    assert paths.count(b"/before") == 1


def test_a_login_that_is_answered_with_a_page_is_found_before_any_load():
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n<html>Log in</html>\r\n\r\n"
    accounts = tuple(Account(f"u{number}", Secret("x")) for number in range(9))
    with service(always_says(page)) as base:
        target = Target("shop", base, accounts=accounts, journeys="tests.sample_journeys.misspelt")
        with pytest.raises(ConfigurationError) as caught:
            run(short(journey="tests.sample_journeys.misspelt:idle"), target, root=ROOT)
    assert str(caught.value) == (
        f'POST /login at {base} answered with status 200 and a body that is not JSON: "<html>Log in</html>"; '
        "check the address of environment shop"
    )


STARTER = """
import signal, sys
from pathlib import Path
from loadkit.engine.run import run
from loadkit.target import Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import *

def watch(progress):
    if "twice" in sys.argv:
        sys.argv.remove("twice")
        interrupt_twice()
    print("going", progress.elapsed, flush=True)

def interrupt_twice():
    note = signal.getsignal(signal.SIGINT)

    def note_and_repeat(*details):
        note(*details)
        signal.signal(signal.SIGINT, note)
        signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, note_and_repeat)

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
    load = Workload(Model.CLOSED, (Stage(0, 5), Stage(600, 5)), (MixEntry("loadkit.journey:fetch", 1.0),))
    done = run(Plan.of("t", load, drain=1.0), Target("t", sys.argv[1]), root=Path.cwd(), workers=2,
               watch=watch)
    print(done.facts.get("stop requested"), done.ended, flush=True)

if __name__ == "__main__":
    main()
"""


@contextmanager
def started(
    base: str, folder: Path, *more: str
) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """A process that puts on a long run, once the load is on; with its workers."""
    script = folder / "starter.py"
    script.write_text(STARTER)
    process = subprocess.Popen(
        [sys.executable, str(script), base, *more],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("going"):
            break
    try:
        yield process, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_the_load_and_the_run_says_so(tmp_path):
    with service() as base, started(base, tmp_path) as (process, children):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        output, _ = process.communicate(timeout=120)
        assert output.splitlines()[-1] == f"True {INTERRUPTED}"
        assert "Traceback" not in output
        assert all_gone(children)


@pytest.mark.slow
def test_a_second_ctrl_c_ends_the_call_and_the_workers_too(tmp_path):
    with service() as base, started(base, tmp_path, "twice") as (process, children):
        # The second comes when the first has been heard: two at once are one.
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=120)  # the load would go on for longer
        assert output.splitlines()[-1] == "KeyboardInterrupt"
        assert all_gone(children)


def test_killed_with_its_workers_left_nothing_stays(tmp_path):
    with service() as base, started(base, tmp_path) as (process, children):
        assert len(children) >= 2
        process.kill()
        assert all_gone(children)


def stamp() -> str:
    return time.strftime("%Y%m%d-%H%M", time.gmtime())


def test_run_ids_are_fresh_and_sort_by_time():
    assert new_id() != new_id()
    before, made, after = stamp(), new_id(), stamp()
    assert before <= made[:13] <= after


def test_workers_that_do_not_start_are_said_to_have_not(tmp_path):
    (tmp_path / "fatal.py").write_text("import os\nos._exit(3)\n")
    with service() as base, pytest.raises(ConfigurationError, match="worker processes could not be started"):
        run(short(journey="fatal:nothing"), Target("t", base), root=tmp_path)


def test_what_happens_meanwhile_is_brought_about_noted_and_undone():
    actor = Nobody()
    with service() as base:
        plan = short(seconds=60, actions=(Action("kill instance", at=0.5),))
        done = run(plan, Target("t", base), root=ROOT, actor=actor, stop=actor.has_done)
    assert done.ended == INTERRUPTED
    assert actor.asked == ["do kill instance", "undo kill instance"]
    assert [event.what for event in done.events] == ["kill instance"]
    assert done.events[0].at >= 0.5


def test_an_action_that_nobody_can_bring_about_is_refused_before_load():
    with service() as base, pytest.raises(ConfigurationError, match="no actor can execute the action"):
        run(short(actions=(Action("kill instance"),)), Target("t", base), root=ROOT)


async def ends_each_connection_under_its_second_request(server, reader, writer) -> None:
    await asked(server, reader)
    writer.write(OK)
    await writer.drain()
    await asked(server, reader)


@pytest.mark.slow
def test_requests_that_were_sent_again_are_a_warning_of_the_run() -> None:
    with service(ends_each_connection_under_its_second_request) as base:
        done = run(short(), Target("t", base), root=ROOT)
    assert any("requests were sent again" in warning for warning in done.warnings)


@pytest.mark.parametrize(("again", "is_told"), [(0, False), (2, False), (3, True)])
def test_a_thousandth_of_the_requests_may_be_sent_again_without_a_warning(again: int, is_told: bool) -> None:
    quiet = WorkerSecond(0, 0, 0.1, 0.0, 0, counts={"users": {SENT: 1500}})
    busy = WorkerSecond(
        1, 0, 0.1, 0.0, 0,
        counts={"users": {SENT: 500}}, gauges={WHOLE_WORKER: {"requests sent again": float(again)}},
    )  # fmt: skip
    warnings = _sent_again_warning([quiet, busy])
    assert bool(warnings) == is_told
    assert all(warning.startswith("3 of 2,000 requests were sent again") for warning in warnings)
