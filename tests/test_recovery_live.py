"""Recovery as it is measured on a service that is really disturbed, against how long the disturbance lasted."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from loadkit import grammar
from loadkit.engine.progress import Progress
from loadkit.planning.draft import Draft
from loadkit.recording.run import Run
from loadkit.verdict import Status
from loadkit.workload.plan import Action
from loadkit.workload.workload import Model, Think
from tests.builders import judge
from tests.local_environment import LocalEnvironment, environment
from tests.local_load import LocalLoad

__all__ = ["environment"]

pytestmark = pytest.mark.prove

SLOWNESS = ("slow-share", "share=1", "delay=1")
"""That every request takes this long, whatever the machine: beside it, others who want its cores do not matter."""
LASTS = 17.0
"""Seconds that a disturbance lasts."""
RISES, BEFORE, AFTER = 3.0, 40.0, 65.0
"""Seconds of load until all users are there, then until the disturbance, then to the end."""
THINK = Think(0.1, 0.3)
LATER = grammar.recovery_within("the service recovers within 30 seconds", 30.0)
SOONER = grammar.recovery_within("the service recovers within 10 seconds", 10.0)


@pytest.fixture
def slow(environment: LocalEnvironment) -> Iterator[LocalEnvironment]:
    """The environment, with a response time of its own."""
    with switched(environment, *SLOWNESS):
        yield environment


def switch_on(local: LocalEnvironment, fault: str, *settings: str) -> None:
    local.verb("fault", fault, "on", *(part for setting in settings for part in ("--set", setting)))


@contextmanager
def switched(local: LocalEnvironment, fault: str, *settings: str) -> Iterator[None]:
    switch_on(local, fault, *settings)
    try:
        yield
    finally:
        local.verb("fault", fault, "off")


@dataclass
class Trouble:
    """A fault as a plan's action: for a while, of which it knows when it was over, or until the run is."""

    local: LocalEnvironment
    fault: tuple[str, ...]
    lasts: float | None = None
    ended: float = 0.0
    """Unix seconds."""

    def do(self, action: Action, _within: float) -> None:
        if self.lasts is None:
            switch_on(self.local, *self.fault)
        else:
            with switched(self.local, *self.fault):
                time.sleep(self.lasts)
            self.ended = time.time()

    def undo(self, action: Action) -> None:
        if self.lasts is None:
            self.local.verb("fault", self.fault[0], "off")


def disturbed(local: LocalEnvironment, trouble: Trouble, instances: int = 2) -> Run:
    """Forty users, and trouble in the middle."""
    draft = Draft()
    draft.load(Model.CLOSED, 40)
    draft.think_for(THINK)
    draft.arrive(RISES)
    draft.hold_for(BEFORE + AFTER)
    draft.happens("an instance is killed", BEFORE)
    return LocalLoad(local.verb("scale", str(instances))).run(draft, actor=trouble)


def shows(run: Run, ended: float) -> None:
    """Recovery took as long as the trouble did, in windows of five seconds; one limit is kept, the other broken.

    `ended`: seconds after the disturbance at which it was surely over, as it takes a while to switch it on and off.
    """
    later, sooner = judge(LATER, run), judge(SOONER, run)
    assert later.measured is not None, later.reason
    assert LASTS - 1.0 <= later.measured <= ended + 6.0, later.reason
    assert later.status is Status.PASS, later.reason
    assert (sooner.status, sooner.measured) == (Status.FAIL, later.measured), sooner.reason


def test_the_only_instance_is_killed_and_starts_again_after_a_while(slow):
    trouble = Trouble(slow, ("instance-killed",), LASTS)
    try:
        run = disturbed(slow, trouble, instances=1)
    finally:
        slow.verb("scale", "2")
    shows(run, trouble.ended - run.started - run.events[0].at)


def test_connections_and_messages_recover_with_requests_and_queries_are_not_touched(slow):
    """The only instance is killed for a while: users and connections are gone, the database is not."""
    before = 75.0  # a third of it may be warm-up, and thirty seconds must remain to compare with
    draft = Draft()
    draft.load(Model.CLOSED, 60, mix="live metrics", called="connections", connects=True)
    draft.arrive(RISES)
    draft.hold_for(before + AFTER)
    draft.deliver(300)
    draft.load(Model.CLOSED, 20)
    draft.think_for(THINK)
    draft.load(Model.CLOSED, 5, mix="analysts", called="analysts")
    draft.happens("an instance is killed", before)
    trouble = Trouble(slow, ("instance-killed",), LASTS)
    try:
        run = LocalLoad(slow.verb("scale", "1")).run(draft, actor=trouble)
    finally:
        slow.verb("scale", "2")
    verdict = judge(grammar.recovery_within("the service recovers within 50 seconds", 50.0), run)
    assert verdict.status is Status.PASS, verdict.reason
    kinds = verdict.details["kinds"]
    assert set(kinds) == {"requests", "queries", "messages", "connections"}
    after = {name: kind["recovered_after"] for name, kind in kinds.items()}
    assert min(after["requests"], after["messages"], after["connections"]) >= LASTS - 2.0, after
    assert after["queries"] <= 5.0, after
    assert verdict.measured == max(after.values())
    assert judge(SOONER, run).status is Status.FAIL


def test_the_service_stands_still_for_a_while(slow):
    trouble = Trouble(slow, ("freeze", "seconds=60"), LASTS)
    run = disturbed(slow, trouble)
    shows(run, trouble.ended - run.started - run.events[0].at)


def test_a_service_that_stays_worse_does_not_recover(slow):
    verdict = judge(LATER, disturbed(slow, Trouble(slow, ("errors", "share=0.05"))))
    assert (verdict.status, verdict.measured) == (Status.FAIL, None), verdict.reason
    assert "failed, and 1 % is allowed" in verdict.reason


def test_a_peak_that_the_service_gets_over_only_after_a_while(slow):
    draft = Draft()
    draft.think_for(THINK)
    draft.follow(
        ["for", "users"],
        [("3 s", "20"), ("40 s", "20"), ("3 s", "80"), ("15 s", "80"), ("3 s", "20"), ("65 s", "20")],
    )
    peak, after = 46.0, 64.0
    trouble = Trouble(slow, ("errors", "share=0.2"), after - peak + LASTS)
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[None]] = []

        def watch(progress: Progress) -> None:
            if progress.elapsed >= peak and not begun:
                begun.append(pool.submit(trouble.do, Action("the peak is too much")))

        run = LocalLoad(slow.verb("status")).run(draft, watch=watch)
        begun[0].result()
    verdict = judge(LATER, run)
    assert verdict.window is not None
    assert (verdict.window.start, verdict.window.phase) == (after, "after the load falls back")
    shows(run, trouble.ended - run.started - after)
