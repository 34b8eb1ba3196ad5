"""How long it takes to judge a long run."""

import statistics
import time

import numpy as np

from loadkit import grammar
from loadkit.judging import judge
from loadkit.judging.evidence import Evidence
from loadkit.recording.run import Run
from loadkit.recording.slices import SliceTable
from tests.builders import plan_of, samples_of, worker_seconds_of

__all__ = ["SAMPLES", "SECONDS", "long_run", "seconds_to_judge"]

SAMPLES = 10_000_000
SECONDS = 600
_LABELS = 8
_CRITERIA = (
    "the p95 response time stays below 500 ms",
    "the error rate stays below 1%",
    "throughput stays above 1000 requests per second",
)


def long_run() -> Run:
    """Ten million operations over ten minutes: eight labels, log-normal times about 20 ms."""
    draw = np.random.default_rng(1)
    table = SliceTable()
    each = SAMPLES // SECONDS
    table.add(*(_second(second, each, draw) for second in range(SECONDS)))
    return Run(
        "bench",
        plan_of(SECONDS, level=each),
        1_000_000.0,
        table,
        worker_seconds=tuple(worker_seconds_of(SECONDS, held=0, scheduled=each)),
        ended_at=float(SECONDS),
    )


def _second(second: int, each: int, draw: np.random.Generator) -> SliceTable:
    starts = second + np.sort(draw.random(each))
    labels = [f"GET /{number}" for number in draw.integers(_LABELS, size=each).tolist()]
    table = SliceTable()
    table.record(samples_of(starts, draw.lognormal(np.log(0.02), 0.5, each), labels))
    return table


def seconds_to_judge(run: Run) -> dict[str, float]:
    """Seconds of processor time for each criterion: the median of three."""
    return {sentence: statistics.median(_judged(sentence, run) for _ in range(3)) for sentence in _CRITERIA}


def _judged(sentence: str, run: Run) -> float:
    begun = time.process_time()
    judge.judge(grammar.criterion(sentence), Evidence(run))
    return time.process_time() - begun
