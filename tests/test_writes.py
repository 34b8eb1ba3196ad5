"""The ledger of writes: what was acknowledged, rejected, or has an unknown outcome."""

import asyncio
import uuid
from pathlib import Path

from loadkit.recording import archive
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from loadkit.recording.writes import NO_WRITES, RECORDS, WriteLedger, Writes
from tests.test_user import Meeting
from tests.virtual_time import VirtualLoop, plan_of

A, B, C, D = (uuid.UUID(int=n) for n in range(1, 5))


def bytes_of(*ids: uuid.UUID) -> bytes:
    return b"".join(each.bytes for each in ids)


def test_a_write_is_reported_once_when_its_outcome_is_known() -> None:
    counted: list[int] = []
    ledger = WriteLedger()
    first, second, _ = (ledger.attempt(bytes_of(*ids), counted.append) for ids in ((A, B), (C,), (D,)))
    assert ledger.drain() is NO_WRITES
    first.acknowledged()
    second.rejected()
    assert ledger.drain() == Writes(bytes_of(A, B), bytes_of(C))
    first.rejected()  # only the first word counts
    second.acknowledged()
    assert ledger.drain() is NO_WRITES
    assert ledger.drain(is_final=True) == Writes(unknown=bytes_of(D))
    assert counted == [2, 0]


def test_writes_add_up_and_those_of_a_trial_claim_nothing() -> None:
    trial, run = Writes(acknowledged=bytes_of(A)), Writes(bytes_of(B), bytes_of(C), bytes_of(D))
    total = Writes.sum_of([trial.as_unknown, run])
    assert (total.number, Writes.sum_of([]), bool(NO_WRITES)) == (4, NO_WRITES, False)
    assert list(Writes.ids(total.unknown)) == [A, D]
    assert list(Writes.ids(total.acknowledged)) == [B]


def test_a_run_is_kept_with_its_writes_and_one_without_has_none(tmp_path: Path) -> None:
    for number, writes in enumerate((Writes(bytes_of(A, B), b"", bytes_of(C)), NO_WRITES)):
        run = Run(f"run-{number}", plan_of(), 0.0, SliceTable(), writes=writes)
        assert archive.load(archive.save(run, tmp_path)).writes == writes


def test_records_are_counted_when_they_are_acknowledged() -> None:
    loop = VirtualLoop()

    async def main() -> None:
        meeting = Meeting(loop)
        attempt = meeting.user.writes.attempt(A, str(B))
        assert meeting.recorder.counts[RECORDS] == 0
        attempt.acknowledged()
        assert meeting.recorder.counts[RECORDS] == 2

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
