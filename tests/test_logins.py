"""Log-ins of a load, simulated: who waits for whom."""

import asyncio

import pytest

from loadkit.drivers.fake import Answer
from loadkit.target import Target
from loadkit.users.lifecycle import Lifecycle
from loadkit.workload.workload import Lognormal
from tests.user_meeting import Meeting
from tests.virtual_time import VirtualLoop, accounts, plan_of, simulate


def operations(users: int) -> int:
    """Operations of users with sessions of two seconds, each of which begins with a log-in of one second."""
    plan = plan_of(
        "tests.sample_journeys.arriving:work", level=users, seconds=60, session=Lognormal(2.0, 2.0)
    )
    target = Target(
        "fake", "http://fake", accounts=accounts(2 * users), journeys="tests.sample_journeys.arriving"
    )
    done = simulate(
        plan, lambda _now, _method, path: Answer(1.0 if path == "/login" else 0.01), target=target
    )
    return done.operations()


def test_users_who_replace_others_do_not_wait_for_the_log_ins_of_others() -> None:
    assert operations(100) == pytest.approx(10 * operations(10), rel=0.1)


def test_a_user_whose_log_in_is_refused_keeps_out_nobody_while_it_pauses() -> None:
    loop = VirtualLoop()
    logged_in: list[float] = []

    async def main() -> None:
        slots, ended = asyncio.Semaphore(1), asyncio.Event()
        refused, welcome = Meeting(loop).user, Meeting(loop).user

        async def arrive(user) -> None:
            answer = await user.post(
                "/broken" if user is refused and not ended.is_set() else "/login", record=False
            )
            answer.raise_for_status()
            logged_in.append(loop.clock.now())

        first = asyncio.create_task(Lifecycle(refused, refused.meter._pacer).arrive(arrive, slots))
        await asyncio.sleep(0.05)
        await Lifecycle(welcome, welcome.meter._pacer).arrive(arrive, slots)
        ended.set()
        await first

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert logged_in == pytest.approx([0.2, 1.2])
