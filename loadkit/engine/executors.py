"""Worker processes of this machine: their number, their start and their results."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

from loadkit.engine.worker import init_worker
from loadkit.errors import ConfigurationError, LoadkitError
from loadkit.units import format_seconds
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model, Workload

__all__ = ["interrupts_blocked", "results_of", "worker_processes", "workers_for"]

_SHUTDOWN = 15.0
"""Seconds after which worker processes that should have ended are killed."""
_OPERATIONS_PER_WORKER = 3_000.0
"""Operations per second that a worker executes with half a core.

This is the rate with think times and random arrivals.

Measured: 36 % of a core at 2,000 a second and 70 % at 4,000, on a virtual machine where each
wake-up from idle alone costs 45 µs. Without pauses, a worker executes ten times as many. Then the
number of workers does not depend on a rate.
"""


def workers_for(plan: Plan) -> int:
    """The number of workers that all populations of a plan need; at most one per core."""
    rate = sum(_operations_per_second(population.workload) for population in plan.populations)
    return max(1, min(math.ceil(rate / _OPERATIONS_PER_WORKER), os.cpu_count() or 1))


def _operations_per_second(workload: Workload) -> float:
    if workload.model is not Model.CLOSED:
        return workload.peak
    pause = workload.think.mean or workload.pace
    # The rate of users without pauses depends on the service: one worker, unless more are
    # requested.
    return workload.peak / pause if pause else 0.0


@contextmanager
def worker_processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Worker processes of this machine; they end when this process ends for any reason."""
    context = get_context("spawn")
    initial = (os.getpid(), context.Barrier(workers))
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker, initargs=initial)
    try:
        yield executor
    finally:
        # A worker whose journey blocks it does not end by itself.
        processes = list(executor._processes.values())  # noqa: SLF001  `kill_workers` exists since 3.14
        end = threading.Timer(_SHUTDOWN, _kill, [processes])
        end.daemon = True
        end.start()
        executor.shutdown(cancel_futures=True)
        end.cancel()


def _kill(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.kill()


@contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Block Ctrl-C in processes that start in this context. Their parent process handles it.

    They inherit the signal mask.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def results_of(*futures: "Future[Any]", within: float | None = None) -> list[Any]:
    """The workers' results. Errors are raised without worker tracebacks, which add no information.

    Args:
        futures: the results.
        within: seconds until all results must be there; None for no limit.

    Raises:
        ConfigurationError: the worker processes did not start, or did not answer in time.

    """
    end = math.inf if within is None else time.monotonic() + within
    try:
        return [
            future.result(None if within is None else max(0.0, end - time.monotonic())) for future in futures
        ]
    except TimeoutError:
        if within is None or all(future.done() for future in futures):
            raise
        raise ConfigurationError(
            f"a worker process did not answer for {format_seconds(within)}: does a journey block it, as by time.sleep, "
            "or ignore its cancellation?"
        ) from None
    except LoadkitError as error:
        error.__cause__ = None
        raise
    except BrokenExecutor:
        raise ConfigurationError("the worker processes could not be started, or ended immediately") from None
