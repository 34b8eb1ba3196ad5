"""A kind of criterion is one entry: whoever has another one adds it from outside the load kit."""

import pkgutil

import numpy as np
import pytest

from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.errors import PhraseError
from loadkit.grammar import Quantity, limit_criterion
from loadkit.judging import families
from loadkit.judging.evidence import Case, Evidence
from loadkit.judging.families import Basis, FamilyRules, queries_for, register, rules_of, time_limit
from loadkit.judging.finding import Finding
from loadkit.judging.judge import judge
from loadkit.reports import charts
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Scaling
from loadkit.workload.workload import Model
from steps.suite.reading import Reading
from steps.suite.session import share
from tests.builders import plan_of, run_of, samples_of, worker_seconds_of

BYTES = Family("received bytes", (ScopeKind.ALL, ScopeKind.GROUP), "operations", is_amount=True)
"""A family of somebody else's: how many operations succeeded in the window, a hundred bytes each."""


def find_bytes(case: Case) -> Finding:
    received = 100.0 * int(case.traffic.completed.sum())
    is_more = received >= case.criterion.limit
    return Finding(Status.PASS if is_more else Status.FAIL, f"{received:g} bytes came", received)


def chart(evidence: Evidence, window: Window | None, criterion: Criterion) -> bytes:
    return f"<svg>{criterion.sentence}, {evidence.run.id}, {window}</svg>".encode()


def criterion_of(limit, scope=Scope()):  # noqa: B008  a value
    measure = Measure("received bytes", BYTES, Unit.BYTES)
    return Criterion(f"at least {limit} bytes are received", measure, Comparison.IS_AT_LEAST, limit, scope)


@pytest.fixture
def received(monkeypatch):
    monkeypatch.setattr(families, "_RULES", dict(families._RULES))
    rules = FamilyRules(
        family=BYTES,
        basis=Basis.OPERATIONS,
        find=find_bytes,
        queries=lambda measure: (f"sum({measure.name})",),
        chart=f"{__name__}:chart",
    )
    register(rules)
    return rules


def run_with(plan=None, **changes):
    starts = np.arange(0, 60, 0.01)
    return run_of(samples_of(starts, np.full(6000, 0.02)), plan or plan_of(60), **changes)


@pytest.mark.parametrize(("limit", "status"), [(500_000, Status.PASS), (700_000, Status.FAIL)])
def test_a_run_is_judged_by_a_family_from_outside(received, limit, status):
    verdict = judge(criterion_of(limit), Evidence(run_with()))
    # Two operations end after the window.
    assert (verdict.status, verdict.measured, verdict.unit) == (status, 599_800, Unit.BYTES)
    assert verdict.reason == "599800 bytes came."
    assert verdict.window.phase == "hold"


def test_what_speaks_against_a_run_speaks_against_a_family_from_outside(received):
    busy = run_with(worker_seconds=worker_seconds_of(60, cpu_seconds=0.99))
    assert judge(criterion_of(500_000), Evidence(busy)).status is Status.INVALID
    lost = run_with(plan_of(60, model=Model.CLOSED), worker_seconds=worker_seconds_of(60, held=50))
    assert judge(criterion_of(500_000), Evidence(lost)).status is Status.INVALID
    cut = run_with(ended="interrupted", ended_at=30.0)
    assert judge(criterion_of(100), Evidence(cut)).status is Status.INCONCLUSIVE
    nothing = Evidence(run_of([], plan_of(60)))
    assert judge(criterion_of(100), nothing).status is Status.INCONCLUSIVE
    elsewhere = criterion_of(100, Scope(ScopeKind.GROUP, "auth"))
    assert judge(elsewhere, Evidence(run_with())).status is Status.NOT_JUDGED


def test_an_amount_from_outside_is_not_judged_with_fewer_users(received):
    fewer = plan_of(60, stated_level=1000, scaling=Scaling(users=0.1))
    assert judge(criterion_of(100), Evidence(run_with(fewer))).status is Status.NOT_JUDGED


def test_a_family_from_outside_is_drawn_and_asks_observers_in_its_own_way(received):
    evidence = Evidence(run_with())
    assert b"at least 100 bytes are received, run-1" in charts.measure(evidence, None, criterion_of(100))
    assert queries_for(criterion_of(100)) == ("sum(received bytes)",)
    (shared,) = share([Reading((criterion_of(100),), plan_of())]).values()
    assert shared.queries == ("sum(received bytes)",)


def test_a_sentence_may_say_of_a_family_what_the_family_admits(received):
    measure, limit = Measure("received bytes", BYTES, Unit.BYTES), Quantity(100.0, Unit.BYTES, "100 bytes")
    group, instance = Scope(ScopeKind.GROUP, "auth"), Scope(ScopeKind.INSTANCE)
    assert limit_criterion("…", measure, Comparison.IS_AT_LEAST, limit, group).scope == group
    with pytest.raises(PhraseError, match="received bytes applies to operations"):
        limit_criterion("…", measure, Comparison.IS_AT_LEAST, limit, instance)


def test_a_family_that_nobody_registered_says_so():
    with pytest.raises(LookupError, match='the family "received bytes" is not registered'):
        judge(criterion_of(100), Evidence(run_with()))


BUILT_IN = [family for family in vars(Family).values() if isinstance(family, Family)]


@pytest.mark.parametrize("family", BUILT_IN, ids=str)
def test_every_family_has_its_rules_and_a_chart_that_exists(family):
    rules = rules_of(family)
    assert rules.family == family
    assert callable(pkgutil.resolve_name(rules.chart))


@pytest.mark.parametrize(
    ("family", "unit", "limit"),
    [
        (Family.TIME, Unit.SECONDS, 0.25),
        (Family.ERROR_RATE, Unit.RATIO, 1.0),
        (Family.GAUGE, Unit.SECONDS, 1.0),
        (Family.RECOVERY, Unit.SECONDS, 1.0),
    ],
)
def test_the_generator_must_be_fast_enough_for_time_limits_of_operations(family, unit, limit):
    criterion = Criterion("…", Measure("…", family, unit), Comparison.IS_BELOW, 0.25)
    assert time_limit(criterion) == limit
