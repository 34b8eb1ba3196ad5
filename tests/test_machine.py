"""Who used the machine: the load generator, the environment, or other processes, by name."""

import dataclasses
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from loadkit.observers import machine, proc
from loadkit.observers.machine import Ledger, Process, Snapshot, Use
from loadkit.observers.observation import Observation
from loadkit.observers.proc import MachineWatcher, command_name, parts_behind, read_machine
from loadkit.recording import archive
from loadkit.target import Target
from tests.builders import plan_of, run_of, samples_of
from tests.burner import NAME, burning
from tests.local_environment import eventually

INIT, ENGINE, SERVICE = 1, 10, 20


def process(pid: int, own: float, parent: int = INIT, name: str = "", **more) -> Process:
    return Process(pid, parent, more.pop("born", pid), name or f"p{pid}", own, **more)


def snapshot(time: float, *processes: Process, busy: float, idle: float = 0.0, **more) -> Snapshot:
    return Snapshot(
        time, busy, 0.0, idle, more.pop("steal", 0.0), {each.pid: each for each in processes}, **more
    )


def ledger_of(*snapshots: Snapshot, roots: dict[int, Use] | None = None) -> Ledger:
    ledger = Ledger(roots or {ENGINE: Use.GENERATOR, SERVICE: Use.ENVIRONMENT})
    for each in snapshots:
        ledger.add(each)
    return ledger


def grown(observation: Observation) -> dict[str, float]:
    """What each series grew by, without those that did not."""
    totals = {each.instance: float(each.values[-1] - each.values[0]) for each in observation.series}
    return {name: pytest.approx(total, abs=1e-9) for name, total in totals.items() if total}


def seen(*snapshots: Snapshot, name: str = machine.PROCESSORS) -> dict[str, float]:
    return grown(ledger_of(*snapshots).observations()[name])


def test_time_goes_to_who_used_it_as_a_share_of_the_machine() -> None:
    before = [process(ENGINE, 5), process(11, 1, ENGINE), process(SERVICE, 9), process(30, 100, name="make")]
    after = [
        process(ENGINE, 5.1),
        process(11, 1.3, ENGINE),
        process(SERVICE, 9.4),
        process(30, 100.6, name="make"),
    ]
    first = snapshot(100, *before, busy=1000, idle=50, steal=7)
    second = snapshot(101, *after, busy=1001.4, idle=50.4, steal=7.2)
    assert seen(first, second) == {
        "load generator": 0.2,
        "environment": 0.2,
        "other processes": 0.3,
        "idle": 0.2,
        "steal": 0.1,
    }
    assert seen(first, second, name=machine.OTHERS) == {"make": 0.3}
    assert seen(first, second, name=machine.PARTS) == {"p20 20": 0.4}


def test_a_process_of_the_environment_stays_one_when_its_parent_has_ended() -> None:
    steps = [
        snapshot(100, process(SERVICE, 1), process(21, 1, SERVICE), busy=0),
        snapshot(101, process(21, 2, INIT), busy=1),
        snapshot(102, process(21, 3, INIT), busy=2),
    ]
    assert seen(*steps) == {"environment": 2.0}


def test_a_new_process_with_an_old_id_is_another_one() -> None:
    steps = [
        snapshot(100, process(30, 50, name="old"), busy=0),
        snapshot(101, process(30, 0.5, name="new", born=99), busy=1, idle=0),
    ]
    assert seen(*steps, name=machine.OTHERS) == {"new": 0.5, "short-lived processes": 0.5}


@pytest.mark.parametrize(("parent", "use"), [(SERVICE, "environment"), (30, "other processes")])
def test_children_that_live_between_two_looks_count_for_their_parent(parent: int, use: str) -> None:
    def at(time: float, reaped: float) -> Snapshot:
        parents = [
            dataclasses.replace(process(pid, 1), reaped=reaped if pid == parent else 0)
            for pid in (SERVICE, 30)
        ]
        return snapshot(time, *parents, busy=time)

    assert seen(at(100, 40), at(101, 41)) == {use: 1.0}


def test_what_a_process_used_before_it_ended_is_counted_once() -> None:
    """Its parent reaps the eight hours that it had used, and the half second since the last look."""
    steps = [
        snapshot(100, process(SERVICE, 1), process(30, 1), process(31, 30_000, 30), busy=0),
        snapshot(
            101, process(30, 1, reaped=30_000.5), process(SERVICE, 1, reaped=0.25), busy=0.75, idle=0.25
        ),
    ]
    assert seen(*steps) == {"other processes": 0.5, "environment": 0.25, "idle": 0.25}


def test_processes_that_nobody_saw_are_others_but_not_the_rounding_of_clock_ticks() -> None:
    def at(time: float, busy: float) -> Snapshot:
        return snapshot(time, process(SERVICE, time), busy=busy, idle=0)

    assert seen(at(100, 100), at(101, 100.98), at(102, 102)) == {"environment": pytest.approx(2.02, abs=0.02)}
    assert seen(at(100, 100), at(101, 104), name=machine.OTHERS) == {"short-lived processes": 0.75}


def test_what_runs_outside_a_container_is_nobodys() -> None:
    steps = [
        snapshot(time, process(ENGINE, 1), busy=busy, is_container=True)
        for time, busy in ((100, 0), (101, 1))
    ]
    assert seen(*steps) == {"outside this container": 1.0}


def test_pressure_is_missing_where_the_kernel_does_not_measure_it() -> None:
    without = ledger_of(snapshot(100, busy=0), snapshot(101, busy=1)).observations()
    assert machine.PRESSURE not in without
    cpu = [snapshot(time, busy=time, pressure={"cpu": stalled}) for time, stalled in ((100, 5.0), (101, 5.5))]
    assert seen(*cpu, name=machine.PRESSURE) == {"cpu": 0.5}


def test_where_the_environments_processes_are_not_known_they_are_not_told_from_others() -> None:
    ledger = ledger_of(snapshot(100, process(30, 1), busy=0), snapshot(101, process(30, 2), busy=1))
    ledger.problem = "not known"
    found = ledger.observations()
    assert grown(found[machine.PROCESSORS]) == {"processes": 1.0}
    assert found[machine.PROCESSORS].warnings == ("not known",)
    assert machine.OTHERS not in found


def test_one_look_is_no_figure() -> None:
    assert ledger_of(snapshot(100, busy=0)).observations() == {}


# --- this machine


def used(pid: int) -> float:
    return read_machine().processes[pid].own


def test_a_burner_is_seen_among_the_others_by_name_and_the_suites_own_children_are_not(tmp_path) -> None:
    (tmp_path / "worker_of_ours.py").write_text("while True: pass")
    own = subprocess.Popen([sys.executable, str(tmp_path / "worker_of_ours.py")])
    try:
        with burning() as (burner,):
            ledger = Ledger(
                {os.getpid(): Use.GENERATOR}, lambda process: command_name(process.pid, process.name)
            )
            before = (used(own.pid), used(burner))
            ledger.add(read_machine())
            assert eventually(lambda: used(own.pid) > before[0] + 0.3 and used(burner) > before[1] + 0.3, 60)
            ledger.add(read_machine())
    finally:
        own.kill()
        own.wait()
    found = ledger.observations()
    others = {each.instance: float(each.values[-1]) for each in found[machine.OTHERS].series}
    assert others[NAME] > 0
    assert not any("worker_of_ours" in name for name in others)
    uses = {each.instance: each.values for each in found[machine.PROCESSORS].series}
    assert uses[Use.GENERATOR][-1] > 0
    shares = sum(values[-1] - values[0] for values in uses.values())
    times = found[machine.PROCESSORS].series[0].times
    assert shares == pytest.approx(times[-1] - times[0], rel=0.25)


def test_a_watcher_watches_from_its_start_to_its_end() -> None:
    with MachineWatcher(Target("here", "http://127.0.0.1:1")) as watcher:
        assert eventually(lambda: len(watcher._ledger._times) > 0)
    found = watcher.observations()
    assert found[machine.PROCESSORS].warnings, "nothing serves the address, so no part of it is known"
    assert len(found[machine.PROCESSORS].series[0].times) >= 2


def test_processes_that_the_control_command_reports_are_the_environments() -> None:
    part = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        before = used(part.pid)
        with MachineWatcher(Target("here", "http://127.0.0.1:1", processes=(part.pid,))) as watcher:
            assert eventually(lambda: len(watcher._ledger._times) > 0)
            assert eventually(lambda: used(part.pid) > max(before, 0.2) + 0.3, 60)
    finally:
        part.kill()
        part.wait()
    (busiest,) = watcher.observations()[machine.PARTS].series
    assert busiest.instance == f"python -c {part.pid}"
    assert not watcher.observations()[machine.PROCESSORS].warnings


def test_what_listens_behind_the_targets_address_is_the_environment() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        assert os.getpid() in parts_behind(f"http://localhost:{server.server_port}")
        address = f"http://127.0.0.1:{server.server_port}"
    assert parts_behind(address) == set()
    assert parts_behind("http://192.0.2.1") is None


class FakeMachine:
    """A /proc of its own, and a service on it that consists of some of its processes."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.parts: set[int] = set()
        self.looked_up: list[int] = []
        """The numbers of the snapshots at which the service's processes were looked up."""
        self.snapshots = 0
        (root / "stat").write_text("cpu 0 0 0 0 0 0 0 0\n")
        self.begin(INIT)
        read = proc.read_machine
        monkeypatch.setattr(proc, "read_machine", lambda: read(root))
        monkeypatch.setattr(proc, "parts_behind", self._parts_behind)
        self._watcher = MachineWatcher(Target("here", "http://127.0.0.1:1"))

    def _parts_behind(self, _base: str) -> set[int]:
        self.looked_up.append(self.snapshots)
        return set(self.parts)

    def begin(self, pid: int, born: int = 1, *, is_kernel: bool = False) -> None:
        (self.root / str(pid)).mkdir(exist_ok=True)
        # Fields 3 to 22 of proc_pid_stat(5); the ninth has the flags, the last one is when it was born.
        fields = ["S", "1", *["0"] * 17, str(born)]
        fields[6] = str(0x00200000 * is_kernel)
        (self.root / str(pid) / "stat").write_text(f"{pid} (p) {' '.join(fields)}\n")
        if not is_kernel:
            (self.root / str(pid) / "statm").write_text("9 5 1 0 0 0 0\n")

    def end(self, pid: int) -> None:
        shutil.rmtree(self.root / str(pid))

    def watch(self, snapshots: int) -> list[int]:
        """Watch for so many more snapshots; the numbers of those with a look-up."""
        self.looked_up.clear()
        for _ in range(snapshots):
            self._watcher._take_snapshot()
            self.snapshots += 1
        return list(self.looked_up)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine with a service of two processes."""
    made = FakeMachine(tmp_path, monkeypatch)
    made.parts = {SERVICE, 21}
    for pid in (ENGINE, *made.parts):
        made.begin(pid)
    return made


def test_a_name_that_the_kernel_cuts_within_a_letter_hides_no_process_of_a_container(tmp_path) -> None:
    for pid, own in ((7, "7 1"), (8, "8"), (9, "9 2")):
        (tmp_path / str(pid)).mkdir()
        name = "Datenbankprüfüng".encode()[:15]  # the kernel's limit
        (tmp_path / str(pid) / "status").write_bytes(b"Name:\t%b\nNSpid:\t%b\n" % (name, own.encode()))
    (tmp_path / "10").mkdir()  # it has ended
    assert sorted(proc._contained(tmp_path)) == [7, 9]


def test_an_error_of_one_snapshot_costs_that_snapshot_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "_INTERVAL", 0.01)
    read, looks = proc.read_machine, []

    def fails_at_times() -> Snapshot:
        looks.append(1)
        if len(looks) in (2, 4):  # the first look is whether there is a /proc
            raise (OSError if len(looks) == 2 else ValueError)("gone")
        return read()

    monkeypatch.setattr(proc, "read_machine", fails_at_times)
    with MachineWatcher(Target("here", "http://192.0.2.1")) as watcher:
        assert eventually(lambda: len(watcher._ledger._times) >= 2)
    assert len(watcher.observations()[machine.PROCESSORS].series[0].times) >= 2


def test_a_look_up_that_fails_leaves_the_figures_and_says_that_no_part_is_known(
    fake: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_base: str) -> set[int]:
        raise ValueError("a byte that is no letter")

    monkeypatch.setattr(proc, "parts_behind", fails)
    fake.watch(2)
    found = fake._watcher.observations()[machine.PROCESSORS]
    assert len(found.series[0].times) == 2
    assert found.warnings == (proc._UNKNOWN,)


def test_a_machine_without_a_proc_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Snapshot:
        raise FileNotFoundError("/proc/stat")

    monkeypatch.setattr(proc, "read_machine", fails)
    with MachineWatcher(Target("here", "http://192.0.2.1")) as watcher:
        watcher._thread.join(60)
        assert not watcher._thread.is_alive()
    assert watcher.observations() == {}


def test_the_parts_of_a_service_are_looked_up_ever_less_often_while_they_are_the_same(fake) -> None:
    assert fake.watch(400) == [0, 10, 30, 70, 150, 230, 310, 390]


def test_a_part_that_is_gone_is_looked_up_at_once_and_soon_again(fake) -> None:
    fake.watch(100)
    fake.end(21)
    fake.parts = {SERVICE}
    assert fake.watch(60) == [100, 110, 130]


def test_a_part_whose_pid_belongs_to_another_process_is_gone(fake) -> None:
    fake.watch(100)
    fake.begin(21, born=7)
    assert fake.watch(1) == [100]


def test_a_new_part_makes_look_ups_frequent_again(fake) -> None:
    fake.watch(100)
    fake.begin(22)
    fake.parts.add(22)
    assert fake.watch(100) == [150, 160, 180]


def test_another_process_that_ends_causes_no_look_up(fake) -> None:
    fake.watch(100)
    fake.end(ENGINE)
    assert fake.watch(50) == []


def test_parts_that_come_and_go_all_the_time_are_not_looked_up_all_the_time(fake) -> None:
    looked_up = []
    for second in range(100):
        pid = 1000 + second
        fake.begin(pid)
        fake.parts = {SERVICE, pid}
        looked_up += fake.watch(1)
        fake.end(pid)
    assert len(looked_up) <= 11


def test_a_service_of_which_no_part_is_known_is_looked_for_at_the_first_interval(fake) -> None:
    fake.parts = set()
    assert fake.watch(35) == [0, 10, 20, 30]
    fake.parts = {SERVICE}
    assert fake.watch(10) == [40]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["python3", "-m", "pytest", "--password=x"], "python3 -m pytest"),
        (["python3", "-u", "/srv/worker.py", "secret"], "python3 worker.py"),
        (["python3", "-c", "password = 1"], "python3 -c"),
        (["java", "-Xmx1g", "-jar", "/opt/app.jar"], "java -jar app.jar"),
        (["java", "-server", "-jar", "/opt/app.jar"], "java -jar app.jar"),
        (["bash", "-lc", "export TOKEN=hunter2"], "bash -lc"),
        (["bash", "-euxc", "hunter2"], "bash -e"),
        (["bash", "-x", "-ce", "hunter2"], "bash -c"),
        (["python3", "-chunter2"], "python3 -c"),
        (["python3", "-Ic", "hunter2"], "python3 -Ic"),
        (["perl", "-0777pe", "hunter2"], "perl -0777p"),
        (["perl", "-E", "hunter2"], "perl -E"),
        (["node", "--eval", "hunter2"], "node --eval"),
        (["php", "-r", "hunter2"], "php -r"),
        (["sh", "TOKEN=hunter2"], "sh"),
        (["node", "https://hunter2@host/app.js"], "node"),
        (["ruby", "-w", "puts 'hunter2'"], "ruby"),
        (["python3", "-m", "hunter2 = 1"], "python3 -m"),
    ],
)
def test_an_interpreter_is_named_with_its_program_and_nothing_that_could_be_secret(
    tmp_path: Path, arguments: list[str], name: str
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cmdline").write_text("\0".join(arguments) + "\0")
    assert command_name(7, arguments[0], tmp_path) == name
    assert command_name(8, "postgres", tmp_path) == "postgres"


def test_a_run_is_stored_with_its_machines_figures_and_read_back(tmp_path: Path) -> None:
    found = ledger_of(
        snapshot(100, process(30, 1), busy=0, pressure={"cpu": 0.0}),
        snapshot(101, process(30, 2), busy=1, pressure={"cpu": 0.5}),
    ).observations()
    run = run_of(
        samples_of(np.arange(60.0), np.full(60, 0.01)), plan_of(60), observations=tuple(found.values())
    )
    kept = archive.load(archive.save(run, tmp_path)).observations
    assert kept.keys() == found.keys()
    assert grown(kept[machine.OTHERS]) == {"p30": 1.0}
    assert grown(kept[machine.PRESSURE]) == {"cpu": 0.5}


def test_a_kernel_thread_is_a_process_without_memory_whose_memory_is_not_read(fake: FakeMachine) -> None:
    fake.begin(2, is_kernel=True)
    snapshot = proc.read_machine()
    assert snapshot.processes[2].is_kernel
    assert snapshot.processes[2].resident == 0
    assert snapshot.processes[SERVICE].resident > 0
    assert not snapshot.is_container
