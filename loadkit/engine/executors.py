"""Worker processes of this machine: how many a load needs, how they are started, and how they are asked."""

import math
import os
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from loadkit.engine.worker import init_worker
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = ["interrupts_held_back", "results_of", "worker_processes", "workers_for"]

_OPERATIONS_PER_WORKER = 3_000.0
"""Operations per second that a worker manages at half a core, where users pause and arrivals are random: 36 % of one at
2,000 a second and 70 % at 4,000, on a virtual machine on which each waking from idleness alone costs 45 µs. Without any
pause a worker does ten times as many; but then nobody asks how many workers are needed."""


def workers_for(plan: Plan) -> int:
    """How many workers the populations of a plan need together; at most one for each core."""
    rate = sum(_operations_per_second(population.workload) for population in plan.populations)
    return max(1, min(math.ceil(rate / _OPERATIONS_PER_WORKER), os.cpu_count() or 1))


def _operations_per_second(workload: Workload) -> float:
    if workload.model is not Model.CLOSED:
        return workload.peak
    # Users who never pause make as many as the service answers: one worker, unless somebody asks for more.
    return workload.peak / workload.think.mean if workload.think.mean else 0.0


@contextmanager
def worker_processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of this machine that end when this one does, however it ends."""
    context = get_context("spawn")
    initial = (os.getpid(), context.Barrier(workers))
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker, initargs=initial)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes that are started meanwhile never see Ctrl-C: they inherit that it is blocked. Their parent decides."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def results_of(*futures: "Future[Any]") -> list[Any]:
    """What workers answer; their errors without their own traces, which say nothing that the sentence does not.

    Raises:
        ConfigurationError: there are no workers.

    """
    try:
        return [future.result() for future in futures]
    except LoadkitError as error:
        error.__cause__ = None
        raise
    except BrokenExecutor:
        raise ConfigurationError("the worker processes could not be started, or ended at once") from None
