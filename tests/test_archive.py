"""A run that was kept is the run that was."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadkit.errors import ConfigurationError
from loadkit.observers.database import (
    DatabaseFacts,
    IndexUse,
    QueryPlan,
    Scan,
    Statement,
    StoredWrites,
    TableUse,
    Waiting,
    WrittenRecord,
    WrongRecords,
)
from loadkit.observers.observation import Observation, Reading, Series
from loadkit.recording import archive
from loadkit.recording.ending import INTERRUPTED, Ending, EndingKind
from loadkit.recording.run import Event, Run
from loadkit.recording.sample import OK, Sample
from loadkit.recording.slices import SliceTable
from loadkit.recording.stalls import Stall
from loadkit.recording.worker_second import WorkerSecond
from loadkit.recording.writes import Writes
from loadkit.workload.plan import Action, Plan, Scaling
from loadkit.workload.workload import MixEntry, Model, Stage, Workload


def a_run(run_id: str = "20261123-1402-ab12") -> Run:
    table = SliceTable()
    table.record(
        [Sample("GET /a", OK, 0.1, 0.1, 0.2, 300, "acme"), Sample("GET /b", "status 500", 1.1, 1.2, 1.9, 20)]
    )
    times, values = np.array([100.0, 101.0, 102.0]), np.array([0.1, 0.2, 0.3])
    pool = Observation(
        "pool",
        Reading.GAUGE,
        "ratio",
        (Series("metrics-1", times, values),),
        1.0,
        capacity=(Series("metrics-1", times, values + 10),),
        lifespans={"metrics-1": (100.0, 102.0)},
        warnings=("store-2 is unavailable",),
    )
    plan = Plan.of(
        "local",
        Workload(Model.CLOSED, (Stage(1, 5), Stage(30, 5)), (MixEntry("a:b", 1.0, "Europe", (("k", "v"),)),)),
        actions=(Action("kill instance", 10.0),),
        scaling=Scaling(0.5, 0.1, 300),
    )
    return Run(
        run_id,
        plan,
        1000.5,
        table,
        worker_seconds=(
            WorkerSecond(
                0, 0, 0.1, 0.0, 1 << 20, counts={"users": {"sent": 10}}, gauges={"users": {"held": 5.0}}
            ),
        ),
        stalls=(Stall(0.5, 1.5),),
        observations={"pool": pool},
        probes=((0.5, True), (1.5, False)),
        events=(Event(10.0, "instance killed"),),
        workers=2,
        groups={"a": ("* /a",)},
        ended=INTERRUPTED,
        ended_at=12.0,
        warnings=("one",),
        facts={"versions": {"python": "3.11"}},
    )


def test_what_was_saved_is_loaded_as_it_was(tmp_path: Path) -> None:
    run = a_run()
    kept = archive.load(archive.save(run, tmp_path))
    for name in (
        "id",
        "plan",
        "started",
        "worker_seconds",
        "stalls",
        "probes",
        "events",
        "workers",
        "groups",
        "ended",
        "facts",
    ):
        assert getattr(kept, name) == getattr(run, name), name
    assert kept.plan.key == run.plan.key
    assert type(kept.plan.workload.stages[1].level) is float
    assert kept.table.series == run.table.series
    np.testing.assert_array_equal(kept.table.keys, run.table.keys)
    np.testing.assert_array_equal(kept.table.sums, run.table.sums)
    pool, before = kept.observations["pool"], run.observations["pool"]
    np.testing.assert_array_equal(pool.series[0].values, before.series[0].values)
    np.testing.assert_array_equal(pool.capacity[0].values, before.capacity[0].values)
    assert (pool.reading, pool.lifespans, pool.scrape_interval) == (before.reading, before.lifespans, 1.0)
    assert pool.warnings == before.warnings


@pytest.mark.parametrize("has_links", [True, False])
def test_a_run_that_is_stored_again_keeps_the_files_of_its_load(
    tmp_path: Path, monkeypatch, has_links: bool
) -> None:
    run = replace(a_run(), writes=Writes.of_ids(bytes(16), b"", b""))
    folder = archive.save(run, tmp_path)
    loads = {name: (folder / name).stat() for name in ("slices.npz", "writes.npz")}
    if not has_links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (tmp_path / "none").stat())
    again = replace(run, facts={"seen": "later"}, observations={}, table=SliceTable())
    assert archive.save(again, tmp_path, is_same_load=True) == folder
    kept = archive.load(folder)
    assert (kept.facts, kept.observations, kept.writes) == (again.facts, {}, run.writes)
    np.testing.assert_array_equal(kept.table.sums, run.table.sums)
    for name, before in loads.items():
        assert ((folder / name).stat().st_ino == before.st_ino) == has_links
    assert [path.name for path in tmp_path.iterdir()] == [run.id]


def test_a_run_whose_folder_was_removed_is_stored_again_as_a_whole(tmp_path: Path) -> None:
    run = a_run()
    shutil.rmtree(archive.save(run, tmp_path))
    kept = archive.load(archive.save(run, tmp_path, is_same_load=True))
    np.testing.assert_array_equal(kept.table.sums, run.table.sums)


def test_a_run_kept_without_the_warnings_of_its_observations_is_read(tmp_path: Path) -> None:
    folder = archive.save(a_run(), tmp_path)
    data = json.loads((folder / "run.json").read_text())
    del data["observations"]["pool"]["warnings"]
    (folder / "run.json").write_text(json.dumps(data))
    assert archive.load(folder).observations["pool"].warnings == ()


def test_how_a_run_ended_is_kept_in_words_and_by_kind(tmp_path: Path) -> None:
    ending = Ending(EndingKind.WORKER_DIED, "worker 1")
    folder = archive.save(replace(a_run(), ended=ending), tmp_path)
    kept = json.loads((folder / "run.json").read_text())
    assert kept["ended"] == "worker 1 died"
    assert kept["ending"] == {"kind": "worker died", "detail": "worker 1"}
    assert archive.load(folder).ended == ending


def test_of_a_run_of_format_1_the_words_of_its_ending_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "smoke"
    shutil.copytree(Path(__file__).parent / "archived_runs" / "smoke", folder)
    data = json.loads((folder / "run.json").read_text())
    for words, ended in (
        ("interrupted", INTERRUPTED),
        ("worker 1 died", Ending(EndingKind.WORKER_DIED, "worker 1")),
    ):
        (folder / "run.json").write_text(json.dumps({**data, "ended": words}))
        assert archive.load(folder).ended == ended
    (folder / "run.json").write_text(json.dumps({**data, "ended": "in tears"}))
    with pytest.raises(ConfigurationError, match='no run ends with "in tears"'):
        archive.load(folder)


def test_nothing_half_written_has_a_runs_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot keep run"):
        archive.save(a_run(), tmp_path / "file" / "runs")
    archive.save(a_run(), tmp_path / "runs")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["20261123-1402-ab12"]


def test_a_run_is_found_by_path_id_beginning_and_last(tmp_path: Path) -> None:
    first, last = (
        archive.save(a_run(name), tmp_path) for name in ("20261123-1402-ab12", "20261124-0000-cd34")
    )
    assert archive.find(str(first), tmp_path) == first
    assert archive.find("20261123-1402-ab12", tmp_path) == first
    assert archive.find("20261124", tmp_path) == last
    assert archive.find("last", tmp_path) == last


@pytest.mark.parametrize(("name", "said"), [("2026", "may be"), ("1999", "no run"), ("last ", "no run")])
def test_a_run_that_is_not_there_or_not_the_only_one_is_said_so(tmp_path: Path, name: str, said: str) -> None:
    for run_id in ("20261123-1402-ab12", "20261124-0000-cd34"):
        archive.save(a_run(run_id), tmp_path)
    with pytest.raises(ConfigurationError, match=said):
        archive.find(name, tmp_path)


def test_a_folder_of_another_format_or_broken_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = archive.save(a_run(), tmp_path)
    data = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(ConfigurationError, match="format 99"):
        archive.load(folder)
    (folder / "run.json").write_text("{")
    with pytest.raises(ConfigurationError, match="not a run that can be read"):
        archive.load(folder)
    with pytest.raises(ConfigurationError, match="not a run that can be read"):
        archive.load(tmp_path / "nowhere")


def kept_with(tmp_path: Path, change) -> Path:
    """A run that was kept, and its JSON changed afterwards."""
    folder = archive.save(a_run(), tmp_path)
    data = json.loads((folder / "run.json").read_text())
    change(data)
    (folder / "run.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda data: data["plan"].update(sede=1),
            r"run\.json: plan\.sede: unknown key; did you mean seed\?",
        ),
        (
            lambda data: data["plan"]["populations"][0]["workload"].update(model="open"),
            r'plan\.populations\[0\]\.workload\.model = "open": expected "closed", "requests" or "journeys"',
        ),
        (
            lambda data: data["plan"]["populations"][0]["workload"]["stages"][1].update(level="5"),
            r'plan\.populations\[0\]\.workload\.stages\[1\]\.level = "5": expected a number',
        ),
        (lambda data: data["worker_seconds"][0].pop("second"), r"worker_seconds\[0\]\.second: missing"),
        (lambda data: data["stalls"].append([1]), r"stalls\[1\] = \[1\]: expected a table"),
        (
            lambda data: data["observations"]["pool"]["series"].append(["b", "none"]),
            r"observations\.pool\.series\[1\]: cannot be read: KeyError: 'none.times'",
        ),
        (lambda data: data.pop("facts"), "facts: missing"),
    ],
)
def test_what_is_wrong_with_a_run_is_one_line_with_its_key_path(tmp_path: Path, change, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"is not a run that can be read: .*{said}") as caught:
        archive.load(kept_with(tmp_path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["run.json", "slices.npz", "observations.npz"])
@pytest.mark.parametrize("content", [b"", b"[]", b"PK\x03\x04", b"\xff\xfe"])
def test_a_file_that_was_cut_or_replaced_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes
) -> None:
    folder = archive.save(a_run(), tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not a run that can be read") as caught:
        archive.load(folder)
    assert "\n" not in str(caught.value)


def test_what_was_seen_of_a_database_is_kept_and_a_run_of_before_has_none(tmp_path: Path) -> None:
    scan = Scan("events", "Seq Scan", True, filter="(name = 'a')", kept=1, removed=9000, columns=("name",))
    examples = (WrittenRecord("a", 1.5, 7, "acme", "", "m-1"), WrittenRecord("b"))
    facts = DatabaseFacts(
        version="17.2",
        samples=30,
        deadlocks=0,
        statements=(Statement("SELECT 1", 3, 0.2, 3, "one"),),
        tables=(TableUse("events_1", "events", 900, 1 << 23, 10_000, 5, 2, None, 7),),
        indexes=(IndexUse("events_pkey", "events_1", 1 << 20, 4),),
        plans=(QueryPlan("by name", "a test", ("Seq Scan on events",), (scan,), 0.2),),
        waiting=(Waiting(3.5, "UPDATE a", "idle in transaction"),),
        writes=StoredWrites(
            *(3, 1, 1, 3, WrongRecords(2, 1.5, 2.5, {"acme": 1}, examples, by_instance={"m-1": 1})),
            *(WrongRecords(), WrongRecords(), 1),
            instances=2,
        ),
        writes_due=3,
        problems={"statements": "not known"},
    )
    run = replace(a_run(), database=facts)
    assert archive.load(archive.save(run, tmp_path)).database == facts
    folder = archive.save(a_run(), tmp_path)
    stored = json.loads((folder / "run.json").read_text())
    del stored["database"]
    (folder / "run.json").write_text(json.dumps(stored))
    assert archive.load(folder).database is None


def test_of_a_run_of_format_2_the_records_that_were_lost_have_ids_alone(tmp_path: Path) -> None:
    wrong = WrongRecords(2, examples=(WrittenRecord("a"), WrittenRecord("b")))
    facts = DatabaseFacts(writes=StoredWrites(3, 1, 1, 3, wrong, WrongRecords(), WrongRecords(1), 1))
    folder = archive.save(replace(a_run(), database=facts), tmp_path)
    stored = json.loads((folder / "run.json").read_text())
    stored["format"] = 2
    del stored["database"]["writes"]["tenants"]
    stored["database"]["writes"] |= {
        "lost": 2, "lost_examples": ["a", "b"], "doubled": 0, "doubled_examples": [],
        "phantoms": 1, "phantom_examples": [],
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(stored))
    assert archive.load(folder).database == facts


@pytest.mark.parametrize("error", [OSError("no space"), KeyboardInterrupt()])
def test_a_run_that_cannot_be_replaced_stays_as_it_was(tmp_path, monkeypatch, error):
    archive.save(a_run(), tmp_path)
    replace_path = Path.replace

    def fail(self, target):
        if (self / "run.json").exists() and target.name == a_run().id and not target.exists():
            monkeypatch.setattr(Path, "replace", replace_path)
            raise error
        return replace_path(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((ConfigurationError, KeyboardInterrupt)):
        archive.save(replace(a_run(), warnings=("later",)), tmp_path)
    assert archive.load(tmp_path / a_run().id).warnings == a_run().warnings
    assert [each.name for each in tmp_path.iterdir()] == [a_run().id], "nothing else remains"


def test_a_damaged_table_is_one_line(tmp_path):
    folder = archive.save(a_run(), tmp_path)
    file = folder / "slices.npz"
    data = bytearray(file.read_bytes())
    for place in range(60, len(data) // 2):
        data[place] ^= 0x55
    file.write_bytes(data)
    with pytest.raises(ConfigurationError, match="is not a run that can be read"):
        archive.load(folder)
