"""The ledger of writes: what was acknowledged, rejected, or has an unknown outcome."""

import asyncio
import math
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields

from loadkit.drivers.http.response import Head, Response
from loadkit.recording import archive
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.writes import NO_WRITES, RECORDS, WriteLedger, Writes
from tests.user_meeting import Meeting
from tests.virtual_time import VirtualLoop, plan_of

A, B, C, D, E, F, G = (uuid.UUID(int=n) for n in range(1, 8))


M1, M2 = (zlib.crc32(name.encode()) for name in ("m-1", "m-2"))
"""The codes of two instances."""


def attempted(ledger: WriteLedger, *ids: uuid.UUID, count=lambda number: None, at=1.5, user=7, tenant="acme"):
    return ledger.attempt((each.bytes for each in ids), count, at=at, user=user, tenant=tenant)


def written(acknowledged=(), rejected=(), unknown=(), instance="m-1", **by_whom) -> Writes:
    """Records by outcome, as a worker reports them."""
    ledger = WriteLedger()
    for ids, is_stored in ((acknowledged, True), (rejected, False)):
        attempt = attempted(ledger, *ids, **by_whom)
        (attempt.acknowledged if is_stored else attempt.rejected)(instance)
    attempted(ledger, *unknown, **by_whom)
    return ledger.drain(is_final=True)


def ids_of(writes: Writes) -> tuple[list[uuid.UUID], ...]:
    return tuple(list(Writes.ids(each)) for each in (writes.acknowledged, writes.rejected, writes.unknown))


def test_a_write_is_reported_once_when_its_outcome_is_known() -> None:
    counted: list[int] = []
    ledger = WriteLedger()
    first, second, _ = (attempted(ledger, *ids, count=counted.append) for ids in ((A, B), (C,), (D,)))
    assert ledger.drain() is NO_WRITES
    first.acknowledged()
    second.rejected()
    assert ids_of(ledger.drain()) == ([A, B], [C], [])
    first.rejected("m-1")  # only the first word counts
    second.acknowledged()
    assert ledger.drain() is NO_WRITES
    last = ledger.drain(is_final=True)
    assert (ids_of(last), last.instances) == (([], [], [D]), {})
    assert counted == [2, 0]


def test_writes_add_up_and_those_of_a_trial_claim_nothing() -> None:
    total = Writes.sum_of([written([A], user=1).as_unknown, written([B], [C], [D])])
    assert (total.number, Writes.sum_of([]), bool(NO_WRITES)) == (4, NO_WRITES, False)
    assert ids_of(total) == ([B], [C], [A, D])
    assert (total.tenants, total.instances) == ({7: "acme"}, {M1: "m-1"})


def test_writes_are_all_only_if_all_parts_are() -> None:
    assert Writes.sum_of([written([A]), NO_WRITES]).are_all
    assert not Writes.sum_of([written([A]), Writes(are_all=False)]).are_all


def test_a_record_tells_when_by_whom_and_where_it_was_written_and_one_of_a_trial_does_not() -> None:
    of_globex = written([B], [C], instance="m-2", at=2.25, user=9, tenant="globex")
    parts = [written([A], at=0.5, user=1).as_unknown, of_globex, written([E], instance="", user=9)]
    total = Writes.sum_of([*parts, written([D, F], unknown=[G], user=8, tenant="")])
    acknowledged, rejected, unknown = (table.tolist() for table in total.tables)
    assert acknowledged == [(0, 2, 2.25, 9, M2), (0, 5, 1.5, 9, 0), (0, 4, 1.5, 8, M1), (0, 6, 1.5, 8, M1)]
    assert rejected == [(0, 3, 2.25, 9, M2)]
    (of_trial, no_answer) = unknown
    assert (of_trial[:2], of_trial[4], no_answer) == ((0, 1), 0, (0, 7, 1.5, 8, 0))
    assert math.isnan(of_trial[2])
    assert (total.tenants, total.instances) == ({9: "acme", 8: ""}, {M1: "m-1", M2: "m-2"})


def test_each_report_names_the_instances_of_its_own_records() -> None:
    ledger = WriteLedger()
    for each, instance in ((A, "m-1"), (B, "m-2"), (C, "m-2")):
        attempted(ledger, each).acknowledged(instance)
        assert ledger.drain().instances == {zlib.crc32(instance.encode()): instance}


def test_a_run_is_kept_with_its_writes_and_one_without_has_none(tmp_path: Path) -> None:
    for number, writes in enumerate((written([A, B], [], [C]), NO_WRITES)):
        run = Run(f"run-{number}", plan_of(), 0.0, SliceTable(), writes=writes)
        assert archive.load(archive.save(run, tmp_path)).writes == writes


def test_the_writes_of_a_run_of_before_name_no_instance(tmp_path: Path) -> None:
    writes = written([A, B], [C], [D])
    folder = archive.save(Run("a", plan_of(), 0.0, SliceTable(), writes=writes), tmp_path)
    with np.load(folder / "writes.npz") as arrays:
        stored = {name: arrays[name] for name in arrays if name not in {"codes", "instances"}}
    for name in ("acknowledged", "rejected", "unknown"):
        stored[name] = repack_fields(stored[name][["high", "low", "at", "user"]])
        assert stored[name].itemsize == 24
    np.savez(folder / "writes.npz", **stored)
    kept = archive.load(folder).writes
    assert ids_of(kept) == ids_of(writes)
    assert [table.tolist() for table in kept.tables] == [
        [(*each[:4], 0) for each in table.tolist()] for table in writes.tables
    ]
    assert (kept.tenants, kept.instances) == (writes.tenants, {})


def test_the_writes_of_a_run_of_before_have_ids_alone(tmp_path: Path) -> None:
    folder = archive.save(Run("a", plan_of(), 0.0, SliceTable(), writes=written([A])), tmp_path)
    columns = {"acknowledged": A.bytes + B.bytes, "rejected": b"", "unknown": C.bytes}
    np.savez(folder / "writes.npz", **{name: np.frombuffer(ids, np.uint8) for name, ids in columns.items()})
    kept = archive.load(folder).writes
    assert ids_of(kept) == ([A, B], [], [C])
    assert np.isnan(kept.tables[0]["at"]).all()
    assert not kept.tenants


def test_records_are_counted_when_they_are_acknowledged() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        meeting = Meeting(loop)
        attempt = meeting.user.writes.attempt(A, str(B))
        assert meeting.recorder.counts[RECORDS] == 0
        attempt.acknowledged()
        assert meeting.recorder.counts[RECORDS] == 2
        meeting.user.writes.attempt(C).rejected()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_a_client_tells_which_instance_answered() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        meeting = Meeting(loop)
        client = meeting.user.http
        named, nameless = (
            Head(201, b"HTTP/1.1 201 Created" + more) for more in (b"\r\nx-instance: m-2", b"")
        )
        assert [client.instance_of(Response(head, b"", 0.0, 0)) for head in (named, nameless)] == ["m-2", ""]
        meeting.driver.instance_header = ""
        assert client.instance_of(Response(named, b"", 0.0, 0)) == ""

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


def test_ids_are_taken_as_objects_and_as_texts_of_any_form() -> None:
    loop = VirtualLoop()
    one, other = (uuid.uuid4() for _ in range(2))

    async def main() -> None:
        meeting = Meeting(loop)
        for ids in (
            (str(one), str(other)),
            (one, str(other)),
            (str(one).upper(), other.hex),
            (other.urn, one),
        ):
            meeting.user.writes.attempt(*ids).rejected()
        for wrong in ("", "5b", "g" * 36, f"{one}"[:-1] + " "):
            with pytest.raises(ValueError, match=r"."):
                meeting.user.writes.attempt(wrong)
        noted = meeting.user.writes._ledger.drain().rejected
        assert list(Writes.ids(noted)) == [one, other, one, other, one, other, other, one]

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
