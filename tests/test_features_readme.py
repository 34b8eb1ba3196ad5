"""What features/README.md says of its examples is what the suite says of them."""

import re
from pathlib import Path

import numpy as np
import pytest

from loadkit import grammar
from loadkit.recording.run import Run
from tests.builders import judge, plan_of, run_of, samples_of

README = (Path(__file__).parent.parent / "features" / "README.md").read_text()


def ten_minutes_with_a_bad_one() -> Run:
    """A hundred requests per second of 50 to 200 ms; from minute five to six they take two seconds."""
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 600, 60_000))
    times = 0.05 + random.exponential(0.05, len(starts))
    times[(starts > 300) & (starts < 360)] += 1.9
    return run_of(samples_of(starts, times), plan_of(600))


SAID = re.findall(r"^\| `(p\d+ [^`]*)` \| (\w+) \|", README, re.MULTILINE)


def test_the_page_shows_the_three_words() -> None:
    assert {sentence.split()[1] for sentence, _ in SAID} == {"is", "stays", "never"}


@pytest.mark.parametrize(("sentence", "verdict"), SAID)
def test_the_verdicts_of_the_traps_are_those_that_the_page_says(sentence: str, verdict: str) -> None:
    assert judge(grammar.criterion(sentence), ten_minutes_with_a_bad_one()).status == verdict
