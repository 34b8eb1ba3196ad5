"""How a run ended, in a form that programs compare and in words that people read."""

import pytest

from loadkit.recording.ending import COMPLETE, INTERRUPTED, Ending, EndingKind

WORDS = {
    "complete": COMPLETE,
    "interrupted": INTERRUPTED,
    "emergency stop: 6 of 10 operations failed in the last ten seconds": Ending(
        EndingKind.EMERGENCY_STOP, "6 of 10 operations failed in the last ten seconds"
    ),
    "worker 12 died": Ending(EndingKind.WORKER_DIED, "worker 12"),
    "worker 0 failed: ValueError: no: it is\nnone": Ending(
        EndingKind.WORKER_FAILED, "worker 0: ValueError: no: it is\nnone"
    ),
    "the network relay of the regions died: exit code -9": Ending(EndingKind.RELAY_DIED, "exit code -9"),
    'the table "x" has no rows left; expected more of them': Ending(
        EndingKind.ROWS_USED_UP, 'the table "x" has no rows left; expected more of them'
    ),
    'the table "x" changed during the run: expected x.csv to stay': Ending(
        EndingKind.ROWS_CHANGED, 'the table "x" changed during the run: expected x.csv to stay'
    ),
    "the workers did not end": Ending(EndingKind.WORKERS_STUCK),
}


@pytest.mark.parametrize(("words", "ending"), WORDS.items())
def test_an_ending_reads_as_words_and_is_read_back_from_them(words: str, ending: Ending) -> None:
    assert str(ending) == words
    assert Ending.read(words) == ending


def test_each_kind_of_ending_has_its_words() -> None:
    assert {ending.kind for ending in WORDS.values()} == set(EndingKind)


@pytest.mark.parametrize("words", ["", "completely", "it stopped", "worker died"])
def test_words_that_no_ending_has_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match='"interrupted" can be read'):
        Ending.read(words)
