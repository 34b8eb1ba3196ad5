"""Real runs against servers of known answers: what is put on, and what both sides saw of it."""

import copy
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadkit.criterion import Scope
from loadkit.engine.run import run
from loadkit.judging.health import health
from loadkit.judging.machine import contention
from loadkit.judging.omission import correct_omission
from loadkit.judging.window import window as steady_window
from loadkit.recording.histogram import quantile_of
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, worker_series
from loadkit.recording.traffic import Traffic, series_of, traffic_of
from loadkit.target import Target
from loadkit.verdict import Window
from loadkit.workload.plan import Plan
from loadkit.workload.schedule import arrivals
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload
from tests.known_answers.servers import (
    WORK,
    Behaviour,
    Floats,
    Log,
    Mixture,
    Queue,
    Refusing,
    Stalling,
    serving,
)

_USUAL = Think()
ROOT = Path(__file__).parent.parent.parent

MIX = (MixEntry("loadkit.journey:fetch", 1.0, arguments=(("path", WORK),)),)
_AT_ONCE = 6
"""Runs beside each other: each is small, and a known answer takes its time."""
_TIMES_RARER = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A server and a load on it."""

    behaviour: Behaviour
    plan: Plan


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run measured, and what its server says of itself."""

    run: Run
    log: Log

    @property
    def window(self) -> Window:
        """The steady one."""
        window = steady_window(self.run)
        assert window is not None
        return window

    @property
    def traffic(self) -> Traffic:
        """All operations of the window, as they came: nothing filled."""
        return self._traffic(Kind.RESPONSE)

    def response(self, quantile: float) -> float:
        """A quantile of the response time, in seconds."""
        return _value(quantile_of(self.traffic.histogram(), quantile))

    def corrected(self, quantile: float) -> float:
        """A quantile of the response time with the arrivals that stalls kept away from a closed load, in seconds."""
        corrected = correct_omission(self.traffic, self.run.stalls, self.window.start, 0.0)
        return _value(quantile_of(corrected.histogram(), quantile))

    def service(self, quantile: float) -> float:
        """A quantile of the service time, in seconds."""
        return _value(quantile_of(self._traffic(Kind.SERVICE).histogram(), quantile))

    @property
    def served(self) -> Floats:
        """How long the server says that it took for those that came to it in the window, in seconds; shape (n,)."""
        since = self.log.arrivals - self.run.started
        return self.log.durations[(self.window.start <= since) & (since < self.window.end)]

    def disturbance(self, quantile: float) -> float:
        """How much later than true a quantile may be for what else this machine did, in seconds.

        The generator woke its users late, the server saw a request late, the generator saw the answer late: nothing
        but these can stand between a request's true time and what was measured, and each process knows its own. Of
        each, what is exceeded five times more seldom than the quantile.
        """
        rare = 1 - (1 - quantile) / _TIMES_RARER
        late, lag = (
            sum(self.run.table.histograms(kind, self._workers, self.window.start, self.window.end).values())
            for kind in (Kind.LATENESS, Kind.LAG)
        )
        own = [_value(quantile_of(np.asarray(histogram), rare)) for histogram in (late, lag)]
        return sum(own) + float(np.quantile(self.log.lags, rare))

    def is_well(self, limit: float) -> bool:
        """Was the generator in order, for a criterion with a limit of so many seconds, and the machine not busy?"""
        is_undisturbed = contention(self.run, self.window) is None
        return is_undisturbed and health(self.run, self.window, limit).status == "ok"

    @property
    def _workers(self) -> list[str]:
        return [worker_series(worker) for worker in range(self.run.workers)]

    def _traffic(self, kind: Kind) -> Traffic:
        return traffic_of(self.run, series_of(Scope(), self.run), self.window, kind)


def answer_of(case: Case, workers: int = 1) -> Answer:
    """Put a case's load on a case's server."""
    with serving(case.behaviour) as server:
        done = run(case.plan, Target("known answers", server.base), root=ROOT, workers=workers)
        return Answer(done, server.log())


@contextmanager
def answers_of(cases: Mapping[str, Case]) -> Iterator[Mapping[str, "Future[Answer]"]]:
    """All of them, the longest first, several at a time."""
    rising = sorted(cases, key=lambda name: -cases[name].plan.workload.seconds)
    threads = ThreadPoolExecutor(_AT_ONCE)
    try:
        yield {name: threads.submit(answer_of, cases[name]) for name in rising}
    finally:
        threads.shutdown(cancel_futures=True)


def ideal(case: Case, window: Window) -> Floats:
    """The response times of an open load's schedule, in seconds, had nothing been late; those that start in a window."""
    starts = np.array([arrival.at for arrival in arrivals(case.plan.workload, case.plan.seed)])
    behaviour = copy.deepcopy(case.behaviour)  # its virtual time moves on as it is asked
    ends = np.array([behaviour.leaving(start - starts[0]) for start in starts], np.float64)
    return (ends - (starts - starts[0]))[(window.start <= starts) & (starts < window.end)]


def cases(*, full: bool) -> dict[str, Case]:
    """The known answers that take real time: as long as the method has them, or as short as they still say something."""
    stall = Stalling(0.01, 1.0, 5.0, 10.0) if full else Stalling(0.01, 0.5, 2.5, 5.0)
    seconds = 300 if full else 40
    middle = 140 if full else 28
    return {
        "stalls, open": Case(stall, plan_of(Model.REQUESTS, 100, seconds, is_poisson=False)),
        "stalls, one user": Case(stall, plan_of(Model.CLOSED, 1, seconds, think=Think(0, 0))),
        "half used": Case(Queue(0.01), plan_of(Model.REQUESTS, 50, 300 if full else 30)),
        "well used": Case(Queue(0.01), plan_of(Model.REQUESTS, 80, 1200 if full else 40)),
        **{
            f"{users} users": Case(
                Queue(0.01),
                plan_of(
                    Model.CLOSED, users, seconds, ramp=10 if full else 5, think=Think(1, 1, "exponential")
                ),
            )
            for users in (50, 100, 150)
        },
        **{
            f"{share:.0%} slow": Case(
                Mixture(share, 0.02, 0.4), plan_of(Model.REQUESTS, 200, 300 if full else 30)
            )
            for share in (0.04, 0.08)
        },
        "freezes": Case(
            Stalling(0.01, 20 if full else 4, middle), plan_of(Model.CLOSED, 20, 300 if full else 60)
        ),
        "refuses": Case(Refusing(0.01, 150 if full else 15), plan_of(Model.CLOSED, 20, 300 if full else 30)),
    }


def plan_of(
    model: Model,
    level: float,
    seconds: float,
    *,
    ramp: float = 0,
    think: Think = _USUAL,
    is_poisson: bool = True,
    mix: tuple[MixEntry, ...] = MIX,
) -> Plan:
    """A load that rises and holds, patient enough for every stall here."""
    workload = Workload(model, (Stage(ramp, level), Stage(seconds, level)), mix, think, is_poisson=is_poisson)
    return Plan.of("known answers", workload, timeout=30.0, cache="as it is")


def _value(quantile: float | None) -> float:
    assert quantile is not None
    return quantile
