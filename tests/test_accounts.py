"""Which users have which accounts, and how they arrive, simulated."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from loadkit.drivers.fake import Answer
from loadkit.engine.worker import journeys_of, used_before
from loadkit.recording.slices import Kind
from loadkit.recording.worker_second import (
    SENT,
    journey_errors,
)
from loadkit.target import Account, Secret, Target
from loadkit.users.accounts import AccountKind, accounts_in_use
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model
from tests.virtual_time import ORIGIN, ROOT, accounts, after, open_plan, plan_of, quantile, simulate


def test_users_of_a_role_get_its_accounts_and_each_its_own():
    mix = (MixEntry("tests.sample_journeys:administer", 0.5), MixEntry("loadkit.journey:fetch", 0.5))
    target = Target("fake", "http://fake", accounts=accounts(10) + accounts(10, "admin"))
    seen = set()

    def service(_now, _method, path):
        seen.add(path)
        return Answer(0.1)

    run = simulate(plan_of(level=20, seconds=5, mix=mix), service, target=target, workers=2)
    assert run.operations("as admin") > 0
    assert {path for path in seen if "/admin/" in path} == {f"/admin/admin{number}" for number in range(10)}
    assert set(run.table.names("tenant:")) == {"tenant0", "tenant1", "tenant2"}


ADMINISTER = (MixEntry("tests.sample_journeys:administer", 1.0),)


def sent_by_population(run) -> Counter:
    sent = Counter()
    for each in run.worker_seconds:
        sent.update({name: counts.get(SENT, 0) for name, counts in each.counts.items()})
    return sent


def together(**populations) -> Plan:
    """A plan of several populations, by their names; a tuple has the tenant of the population, too."""
    several = []
    for name, stated in populations.items():
        plan, tenant = stated if isinstance(stated, tuple) else (stated, "")
        several.append(replace(plan.populations[0], name=name, tenant=tenant))
    return replace(plan_of(seconds=5), populations=tuple(several))


def test_open_loads_take_the_accounts_that_closed_loads_leave():
    """However many users an open load may need: more than there are accounts."""
    closed = plan_of(level=2, seconds=5, mix=ADMINISTER)
    arriving = open_plan(level=3, seconds=5, mix=ADMINISTER)
    plan = together(first=closed, arrivals=arriving, last=closed, more=arriving)
    before = [each.accounts[AccountKind("admin")] for each in used_before(plan, journeys_of(plan, ROOT))]
    assert before[:4] == [0, 4, 2, 4]
    used = Counter()

    def service(_now, _method, path):
        used[path] += 1
        return Answer(0.1)

    run = simulate(plan, service, target=Target("fake", "http://fake", accounts=accounts(8, "admin")))
    assert run.operations(outcome="ok") == run.operations() == sum(used.values())
    assert len(used) == 8
    assert min(sent_by_population(run)[name] for name in ("first", "arrivals", "last", "more")) > 0


@pytest.mark.parametrize(
    ("workers", "noisy"), [(1, 1), (2, 2), (2, 3)], ids=["one account", "one a worker", "three for two"]
)
def test_arrivals_of_a_noisy_tenant_with_few_accounts_are_sent(workers, noisy):
    usual = tuple(Account(f"acme{number}", Secret("x"), "acme") for number in range(20))
    # The users of one tenant have half of its accounts.
    loud = tuple(Account(f"globex{number}", Secret("x"), "globex") for number in range(2 * noisy))
    plan = together(requests=open_plan(level=100), globex=(open_plan(level=44), "globex"))
    target = Target("fake", "http://fake", accounts=(*usual, *loud))
    run = simulate(plan, after(0.001), target=target, workers=workers)
    assert sent_by_population(run)["globex"] == pytest.approx(44 * 20, rel=0.15)
    assert run.operations(outcome="ok") == run.operations()


def test_arrivals_that_alone_need_a_role_are_sent_with_one_account_of_it():
    plan = together(requests=open_plan(), admins=open_plan(model=Model.JOURNEYS, level=20, mix=ADMINISTER))
    target = Target("fake", "http://fake", accounts=accounts(20) + accounts(1, "admin"))
    run = simulate(plan, after(0.001), target=target)
    assert run.operations("as admin", "ok") == pytest.approx(20 * 20, rel=0.2)


def test_arrivals_that_alone_need_a_role_have_all_accounts_of_it():
    plan = together(requests=open_plan(), admins=open_plan(mix=ADMINISTER))
    target = Target("fake", "http://fake", accounts=accounts(200) + accounts(7, "admin"))
    (warning,) = accounts_in_use(simulate(plan, after(1.0), target=target).worker_seconds)
    assert warning.startswith("all accounts with the role admin for the admins were in use (7). ")


def test_each_entry_of_a_mix_of_arrivals_has_a_user_before_any_has_more_than_it_needs():
    mix = tuple(
        MixEntry("loadkit.journey:fetch", share, arguments=(("path", f"/{number}"),))
        for number, share in enumerate((0.4, 0.3, 0.2, 0.1))
    )
    plan = open_plan(level=100, mix=mix, seconds=60)
    run = simulate(plan, after(0.01), target=Target("fake", "http://fake", accounts=accounts(10)))
    assert run.operations(outcome="ok") == run.operations() == pytest.approx(6000, rel=0.1)
    assert quantile(run, Kind.RESPONSE, 0.99) < 0.1


def test_each_open_load_has_users_at_the_start_before_any_has_all_accounts():
    """The first load would like 102 users at the start, and can do with ten."""
    plan = together(requests=open_plan(level=1000, seconds=5), inserts=open_plan(level=500, seconds=5))
    target = Target("fake", "http://fake", accounts=accounts(100))
    run = simulate(plan, after(0.01), target=target)
    assert run.operations(outcome="ok") == run.operations()
    assert quantile(run, Kind.RESPONSE, 0.99) < 0.02


def test_users_arrive_unrecorded_before_their_first_operation():
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.arriving")
    logins = []

    def service(now, _method, path):
        if path == "/login":
            logins.append(now)
        return Answer(0.1)

    run = simulate(plan_of("tests.sample_journeys.arriving:work", level=5, seconds=5), service, target=target)
    assert len(logins) == 5
    assert max(logins) < ORIGIN
    assert run.operations(outcome="ok") == run.operations()
    assert len(run.table.names("label:")) == 5


def test_users_of_a_ramp_arrive_shortly_before_they_join():
    target = Target("fake", "http://fake", accounts=accounts(100), journeys="tests.sample_journeys.arriving")
    logins = []

    def service(now, _method, path):
        if path == "/login":
            logins.append(now - ORIGIN)
        return Answer(0.1)

    simulate(
        plan_of("tests.sample_journeys.arriving:work", level=100, ramp=50, seconds=5), service, target=target
    )
    assert len(logins) == 100
    assert max(logins) == pytest.approx(50 - 0.25 - 3, abs=0.1)


def test_a_failing_arrival_is_counted_tried_again_and_the_user_is_held_all_the_same():
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.arriving")

    def service(now, _method, path):
        if path == "/login" and now < ORIGIN + 3:
            return Answer(0.1, status_code=500)
        return Answer(0.1)

    run = simulate(
        plan_of("tests.sample_journeys.arriving:work", level=5, seconds=10), service, target=target
    )
    assert run.operations("(arrival)", "status 500") == 5 * 4
    assert [worker_second.gauge("held") for worker_second in run.worker_seconds][:10] == [5] * 10
    late = quantile(run, Kind.RESPONSE, 1.0)
    assert late == pytest.approx(3.4, abs=0.3), "the first operation should have started when the user joined"


@pytest.mark.parametrize(("status", "is_mistake"), [(200, True), (503, False)])
def test_a_mistake_in_arrive_is_counted_apart_from_operations_unless_the_service_failed(status, is_mistake):
    target = Target("fake", "http://fake", accounts=accounts(5), journeys="tests.sample_journeys.misspelt")
    plan = plan_of("tests.sample_journeys.misspelt:idle", level=5, seconds=10)
    run = simulate(plan, after(0.1, status_code=status), target=target)
    if is_mistake:
        assert run.operations() == 0
        assert re.fullmatch(
            r"the preparation of users \(arrive\) itself failed: KeyError: 'token' at "
            r"tests/sample_journeys/misspelt\.py:\d+, met by 5 of 5 users, \d\d times",
            journey_errors(run.worker_seconds),
        )
    else:
        assert journey_errors(run.worker_seconds) == ""
        assert run.operations("(arrival)", "error: KeyError") == run.operations() > 0
    assert [each.gauge("held") for each in run.worker_seconds][:10] == [5] * 10
