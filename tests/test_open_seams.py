"""A protocol, a timing and a family of criteria can be added from outside the load kit."""

import asyncio

import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Unit
from loadkit.drivers.registry import drivers_for
from loadkit.engine.worker import Shard, run_users
from loadkit.errors import ConfigurationError
from loadkit.judging import families
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules
from loadkit.judging.finding import Finding
from loadkit.judging.judge import judge
from loadkit.recording.run import Run
from loadkit.recording.slices import label_series
from loadkit.recording.stalls import common
from loadkit.recording.timing import MESSAGE
from loadkit.target import Target
from loadkit.users.pacer import LoopAlarm
from loadkit.verdict import Status
from loadkit.workload.workload import MixEntry, Model, Think
from tests.toy_protocol import ECHO, SECONDS
from tests.virtual_time import ORIGIN, ROOT, Simulation, VirtualLoop, plan_of

TARGET = Target("toy", "http://nowhere")


def played(text: str = "hello", **plan) -> Simulation:
    """Ten users who play for half a minute, in virtual time."""
    plan = plan_of(mix=(MixEntry("tests.toy_protocol:play", 1.0, arguments=(("text", text),)),), **plan)
    simulation, loop = Simulation(), VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(
            run_users(
                plan,
                Shard(0, 1, TARGET, "run-1", ROOT),
                ORIGIN,
                simulation.take,
                clock=loop.clock,
                drivers=drivers_for(["toy"], TARGET),
                alarm_of=LoopAlarm,
            )
        )
    return simulation


def counted(simulation: Simulation, timing, label: str, outcome: int = 0) -> tuple[int, float]:
    """How many samples there are, and their mean time."""
    _, outcomes, sums = simulation.table.totals([label_series(label, timing)], 0, 1 << 22)
    rows = sums[outcomes == outcome]
    return int(rows[:, 0].sum()), float(rows[:, 1].sum() / max(rows[:, 0].sum(), 1))


def run_made_of(simulation: Simulation) -> Run:
    """The run that the simulated worker's reports make."""
    idle = [simulation.idle_intervals.get(0, [])]
    return Run(
        "run-1",
        plan_of(mix=(MixEntry("tests.toy_protocol:play", 1.0),)),
        0.0,
        simulation.table,
        worker_seconds=tuple(simulation.worker_seconds),
        stalls=common(idle),
        ended_at=30.0,
    )


LAUGHTER = Family("laughter")


def find_laughter(case: Case) -> Finding:
    """Judged by the toy's own counter."""
    heard = case.evidence.count("echoes doubled")
    return Finding(
        Status.PASS if heard > case.criterion.limit else Status.FAIL, f"{heard} were heard", float(heard)
    )


families.register(FamilyRules(family=LAUGHTER, basis=Basis.SERVICE, find=find_laughter))


def test_a_run_of_the_toy_protocol_is_judged_by_its_own_timing() -> None:
    evidence = Evidence(run_made_of(played()))
    measure = Measure("echo time", Family.TIME, Unit.SECONDS, 0.95, "p95", timing=ECHO.key)
    for limit, status in ((SECONDS * 1.1, Status.PASS), (SECONDS * 0.9, Status.FAIL)):
        verdict = judge(Criterion("the p95 echo time", measure, Comparison.IS_BELOW, limit), evidence)
        assert (verdict.status, verdict.measured) == (status, pytest.approx(SECONDS, rel=0.01))


def test_a_message_never_enters_the_response_time() -> None:
    measure = Measure("response time", Family.TIME, Unit.SECONDS, 0.95, "p95")
    verdict = judge(Criterion("p95", measure, Comparison.IS_BELOW, 1.0), Evidence(run_made_of(played())))
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.samples == 0


def test_a_family_from_outside_judges_what_a_driver_from_outside_counted() -> None:
    evidence = Evidence(run_made_of(played()))
    measure = Measure("laughter", LAUGHTER, Unit.NUMBER)
    assert judge(Criterion("laughter", measure, Comparison.IS_ABOVE, 10), evidence).status is Status.PASS
    assert judge(Criterion("laughter", measure, Comparison.IS_ABOVE, 1e9), evidence).status is Status.FAIL


def test_a_driver_from_outside_is_paced_and_timed_as_the_built_in_ones() -> None:
    simulation = played(think=Think(0.75, 0.75))
    operations, seconds = counted(simulation, ECHO, "echo hello")
    assert operations == pytest.approx(10 * 30, abs=15)
    assert seconds == pytest.approx(SECONDS)


def test_samples_of_another_timing_are_no_response_times() -> None:
    simulation = played()
    assert simulation.table.labels() == []
    assert simulation.table.labels(ECHO) == ["echo hello"]
    assert simulation.table.labels(MESSAGE) == ["push"]


def test_what_the_service_pushes_is_timed_from_its_creation() -> None:
    messages, seconds = counted(played(), MESSAGE, "push")
    assert messages == counted(played(), ECHO, "echo hello")[0]
    assert seconds == pytest.approx(0.01)


def test_an_operation_that_fails_or_whose_check_fails_is_counted_so() -> None:
    assert played("broken").table.outcomes == ["ok", "broken"]
    assert played("wrong").table.outcomes == ["ok", "check: the echo is right"]


def test_an_open_load_paces_it_too() -> None:
    simulation = played(model=Model.REQUESTS, level=20, seconds=30)
    operations, seconds = counted(simulation, ECHO, "echo hello")
    assert operations == pytest.approx(20 * 30, rel=0.15)
    assert seconds == pytest.approx(SECONDS)


def test_counts_and_gauges_are_reported_by_name_and_second() -> None:
    simulation = played()
    operations, _ = counted(simulation, ECHO, "echo hello")
    assert sum(second.count("echoes doubled") for second in simulation.worker_seconds) == operations
    assert [second.gauge("toys in use", "") for second in simulation.worker_seconds][:3] == [10.0] * 3
    assert simulation.worker_seconds[0].count("sent") > 0


def test_an_unknown_protocol_is_named_with_those_there_are() -> None:
    with pytest.raises(
        ConfigurationError, match='uses "smoke signals", and there is no such driver; there are: db, http'
    ):
        drivers_for(["smoke signals"], TARGET)


def test_a_journey_that_does_not_name_a_protocol_is_told_how() -> None:
    loop = VirtualLoop()
    from tests.user_meeting import Meeting

    async def main() -> None:
        with pytest.raises(AttributeError, match=r'@journey\("…", uses=\("http", "ws"\)\)'):
            _ = Meeting(loop).user.ws

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
