"""What this machine carries: from the processor time of a small load."""

import math
from dataclasses import replace

import pytest

from loadkit.environment.capacity import Capacity, CpuUsage, capacity_of, cpu_usage, parts_of, rounded
from loadkit.observers.machine import Process, Snapshot, Use
from loadkit.workload.workload import Model
from tests.builders import plan_of

GENERATOR, SUPERVISOR, POSTGRES, BACKEND, SERVICE = 10, 20, 21, 22, 23
ROOTS = {
    GENERATOR: Use.GENERATOR,
    SUPERVISOR: "other parts",
    POSTGRES: "postgres",
    SERVICE: "the service",
}


def process(pid: int, parent: int, own: float, **more: float) -> Process:
    return Process(pid, parent, pid, f"p{pid}", own, **more)


def snapshot(time: float, *processes: Process, busy: float, interrupts: float = 0.0, steal: float = 0.0):
    return Snapshot(time, busy, interrupts, 0.0, steal, {each.pid: each for each in processes}, cores=2)


USERS = plan_of(level=1000, model=Model.CLOSED)


def test_time_goes_to_the_nearest_part_above_a_process_and_the_rest_to_others():
    before = snapshot(
        100,
        process(GENERATOR, 1, 5),
        process(11, GENERATOR, 1),
        process(SUPERVISOR, 1, 1),
        process(POSTGRES, SUPERVISOR, 1),
        process(BACKEND, POSTGRES, 1),
        process(SERVICE, SUPERVISOR, 1),
        Process(2, 0, 2, "kthreadd", 3, is_kernel=True),
        process(30, 1, 9),
        busy=50,
    )
    after = snapshot(
        102,
        process(GENERATOR, 1, 5.1),
        process(11, GENERATOR, 1.3),
        process(SUPERVISOR, 1, 1.02),
        process(POSTGRES, SUPERVISOR, 1.2),
        process(BACKEND, POSTGRES, 1.6),
        process(SERVICE, SUPERVISOR, 1.4),
        Process(2, 0, 2, "kthreadd", 3.1, is_kernel=True),
        process(30, 1, 9.2),
        busy=52,
        interrupts=0.06,
        steal=0.4,
    )
    found = cpu_usage(before, after, ROOTS)
    assert found.by_part == {
        Use.GENERATOR: pytest.approx(0.2),
        "other parts": pytest.approx(0.01),
        "postgres": pytest.approx(0.4),
        "the service": pytest.approx(0.2),
        # The parts took 0.81 of the processors and others 0.14: so is the kernel's time divided.
        Use.KERNEL: pytest.approx(0.08 * 0.81 / 0.95),
    }
    assert found.others == pytest.approx(0.14 + 0.08 * 0.14 / 0.95)
    assert (found.steal, found.cores) == (pytest.approx(0.2), 2)


def test_the_time_of_a_child_that_ended_stays_with_its_part():
    before = snapshot(100, process(POSTGRES, 1, 1), process(BACKEND, POSTGRES, 4), busy=0)
    after = snapshot(101, process(POSTGRES, 1, 1, reaped=4.5), busy=0.5)
    assert cpu_usage(before, after, ROOTS).by_part["postgres"] == pytest.approx(0.5)


def spent(generator: float = 0.0, postgres: float = 0.0, service: float = 0.0, others: float = 0.0):
    by_part = {Use.GENERATOR: generator, "postgres": postgres, "the service": service}
    return CpuUsage(by_part, others, 0.0, 2)


@pytest.mark.parametrize(
    ("at_rest", "loaded", "operations", "level", "most", "parts"),
    [
        # 100 operations/s take 0.2 processors: 2 ms each; 1.9 processors are full at 950/s.
        (spent(), spent(0.02, 0.1, 0.08), (0, 100), 80, 760, ("postgres", "the service")),
        # What is taken without load is no part of an operation, but it is gone.
        (spent(postgres=0.1), spent(0.02, 0.2, 0.08), (0, 100), 80, 720, ("postgres", "the service")),
        # So is what other processes take.
        (spent(), spent(0.02, 0.1, 0.08, others=0.95), (0, 100), 80, 380, ("postgres", "the service")),
        # The first measurement may have a few operations, too.
        (spent(0.002, 0.01, 0.008), spent(0.02, 0.1, 0.08), (10, 100), 80, 760, ("postgres", "the service")),
        (spent(), spent(0.02, 0.16, 0.02), (0, 100), 80, 760, ("postgres",)),
        (spent(), spent(0.02, 0.1, 0.08, others=1.95), (0, 100), 80, 0, ("postgres", "the service")),
    ],
)
def test_the_machine_is_full_when_the_free_time_is_used_up(at_rest, loaded, operations, level, most, parts):
    found = capacity_of(at_rest, loaded, operations, level)
    assert found.largest_level == pytest.approx(most)
    assert found.largest_parts == parts


def test_without_more_operations_there_is_no_capacity():
    with pytest.raises(ValueError, match="expected more operations with the load than without: 5 and 5"):
        capacity_of(spent(), spent(0.1), (5, 5), 80)


def test_a_load_that_takes_no_time_is_carried_at_any_level():
    found = capacity_of(spent(), spent(), (0, 100), 80)
    assert found.largest_level == math.inf
    assert rounded(found.largest_level) == "any number of"


def carrying(*costs: float, cores: int = 2) -> Capacity:
    names = ("postgres", "the service", Use.GENERATOR)
    return Capacity(dict(zip(names, costs, strict=False)), 0.0, 0.0, cores, level=80, rate=100)


@pytest.mark.parametrize(
    ("capacity", "said"),
    [
        (carrying(1.1e-3, 0.7e-3, 0.3e-3), "about 720 users (620 to 1600) before this machine is full; postgres and the service take most of it"),
        (carrying(2e-3, 0.1e-3), "about 720 users (620 to 1600) before this machine is full; postgres takes most of it"),
        (carrying(1e-3, 1e-3, 1e-3), "about 510 users (430 to 1000) before this machine is full; postgres and the service take most of it"),
        (carrying(2e-3, cores=0), "this machine is full without load"),
    ],
)  # fmt: skip
def test_the_capacity_is_said_with_two_digits_and_who_takes_most(capacity, said):
    assert capacity.in_words(USERS) == said


def test_a_result_reaches_further_up_the_more_the_small_load_was_below_it():
    near, far = (replace(carrying(1.9e-3), rate=rate, level=0.8 * rate) for rate in (1000, 100))
    assert near.largest_level == far.largest_level == pytest.approx(800)
    assert near.range == (pytest.approx(0.85 * 800), pytest.approx(1.15 * 800))
    assert far.range == (pytest.approx(0.85 * 800), pytest.approx(1.15 * 10**0.3 * 800))


def test_populations_keep_their_proportions():
    (users,) = USERS.populations
    admins = replace(users, name="admin users", workload=plan_of(level=50, model=Model.CLOSED).workload)
    plan = replace(USERS, populations=(users, admins))
    assert carrying(1.9e-3).level_in_words(plan) == "760 users (650 to 1700) + 38 admin users (32 to 87)"


def test_what_others_take_is_said_if_it_matters():
    capacity = carrying(1e-3)
    assert "others" not in replace(capacity, others=0.2).in_words(USERS)
    assert replace(capacity, others=0.5).in_words(USERS).endswith("; others take 25 % of it now")


@pytest.mark.parametrize(
    ("number", "said"), [(743.0, "740"), (1260.0, "1300"), (99.6, "100"), (7.4, "7"), (0.0, "0")]
)
def test_a_number_has_two_digits(number, said):
    assert rounded(number) == said


def test_parts_are_named_by_the_control_command_and_instances_are_the_service():
    facts = {
        "parts": {"postgres": {"pid": POSTGRES}, "cache": {"state": "dead", "pid": None}},
        "instances": [{"name": "a", "pid": SERVICE}, {"name": "b", "pid": 24}, "c"],
    }
    assert parts_of(facts) == {POSTGRES: "postgres", SERVICE: "the service", 24: "the service"}
    assert parts_of({"instances": 2, "parts": "none"}) == {}
