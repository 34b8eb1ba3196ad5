from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadkit.criterion import Scope, ScopeKind
from loadkit.recording.histogram import FAILED, quantile_of
from loadkit.recording.slices import Kind
from loadkit.recording.traffic import series_of, traffic_of
from loadkit.verdict import Window
from tests.builders import plan_of, run_of, samples_of

WHOLE = Window(0, 60)
EVERYTHING = Scope()


def all_of(run, window=WHOLE, kind=Kind.RESPONSE):
    return traffic_of(run, series_of(EVERYTHING, run), window, kind)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(1e-5, 30), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])
)
def test_a_quantile_is_within_a_thousandth_of_the_exact_one(times, quantile):
    run = run_of(samples_of(np.linspace(0, 59, len(times)), np.array(times)), plan_of())
    exact = np.sort(times)[max(0, int(np.ceil(quantile * len(times) - 1e-9)) - 1)]
    # Moments are kept as start and end, so a time loses its last digits before it is counted.
    assert quantile_of(all_of(run).histogram(), quantile) == pytest.approx(exact, rel=0.001001, abs=1e-12)


def test_a_quantile_among_the_failed_has_no_value():
    outcomes = ["ok"] * 90 + ["status 500"] * 10
    run = run_of(samples_of(np.linspace(0, 59, 100), np.full(100, 0.001), outcome=outcomes), plan_of())
    histogram = all_of(run).histogram()
    assert quantile_of(histogram, 0.5) == pytest.approx(0.001, rel=0.001)
    assert quantile_of(histogram, 0.95) is None
    assert quantile_of(np.zeros(FAILED + 1, np.int64), 0.5) is None


def test_an_operation_belongs_to_the_window_of_its_intended_start():
    run = run_of(samples_of([9.9, 10.0, 19.9, 20.0], np.full(4, 5.0)), plan_of(60))
    traffic = all_of(run, Window(10, 10))
    assert traffic.per_second().tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]


def test_a_success_is_completed_in_the_second_of_its_end():
    run = run_of(samples_of([5.0, 10.0], [5.5, 5.5], outcome=["ok", "timeout"]), plan_of(60))
    assert all_of(run, Window(10, 10)).completed.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("timeout", ["timeout", "connect timeout", "read timeout"])
def test_a_failure_enters_a_mean_with_its_time_and_at_least_with_the_mean_of_the_others(timeout):
    outcomes = ["ok", timeout, "status 500", "status 503"]
    run = run_of(samples_of([0.0, 0.1, 0.2, 0.3], [1.0, 10.0, 0.001, 20.0], outcome=outcomes), plan_of())
    number, spent, longest = all_of(run).timed[0]
    # The mean of the others is (1 + 20) / 2, which is longer than the time limit.
    assert (number, spent, longest) == (
        4,
        pytest.approx(1.0 + 20.0 + 2 * 10.5, rel=0.002),
        pytest.approx(10.0),
    )


def test_a_quick_time_out_does_not_lower_a_mean():
    times = np.full(100, 0.1)
    usual = run_of(samples_of(np.linspace(0, 59, 100), times), plan_of())
    quick = run_of(
        samples_of(np.linspace(0, 59, 100), [*times[1:], 0.001], outcome=["ok"] * 99 + ["timeout"]), plan_of()
    )
    assert all_of(quick).mean == pytest.approx(all_of(usual).mean)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.001, 10.0), st.booleans()),
        min_size=2,
        max_size=12,
    ),
    st.integers(0, 11),
)
def test_a_mean_is_never_lowered_by_an_operation_that_fails(operations, number):
    """Whatever the others took, and however many of them failed."""
    operations[number % len(operations)] = (operations[number % len(operations)][0], False)
    means = []
    for fails in (False, True):
        times = [took for took, _ in operations]
        outcomes = ["503" if failed else "ok" for _, failed in operations]
        outcomes[number % len(operations)] = "503" if fails else "ok"
        means.append(
            all_of(run_of(samples_of(np.arange(len(times)), times, outcome=outcomes), plan_of())).mean
        )
    assert means[1] is None or means[1] >= means[0] * (1 - 0.002)


def test_service_time_counts_from_the_sending():
    run = run_of(samples_of(np.arange(50.0), np.full(50, 0.3), late=0.2), plan_of())
    assert quantile_of(all_of(run).histogram(), 0.5) == pytest.approx(0.3, rel=0.001)
    assert quantile_of(all_of(run, kind=Kind.SERVICE).histogram(), 0.5) == pytest.approx(0.1, rel=0.001)


def test_the_longest_service_time_counts_from_the_sending_and_only_of_what_has_a_time():
    outcomes = ["ok", "timeout", "status 500"]
    run = run_of(samples_of([0.0, 0.1, 1.0], [0.3, 0.5, 0.9], outcome=outcomes, late=0.2), plan_of())
    assert all_of(run).timed[:2, 2] == pytest.approx([0.5, 0.0])
    assert all_of(run, kind=Kind.SERVICE).timed[:2, 2] == pytest.approx([0.3, 0.0], rel=0.001)
    successes = traffic_of(run, series_of(EVERYTHING, run), WHOLE, Kind.SERVICE, successes_only=True)
    assert successes.timed[0, 2] == pytest.approx(0.1, rel=0.001)


def test_scopes_cover_their_series():
    samples = [
        *samples_of([1.0], [0.1], "POST /auth/login", tenant="acme"),
        *samples_of([2.0], [0.1], "GET /metrics", region="Europe"),
    ]
    run = run_of(samples, plan_of(), groups={"auth": ("* /auth/*",), "admin": ("* /admin/*",)})

    def covered(kind, name=""):
        return series_of(Scope(kind, name), run)

    assert covered(ScopeKind.ALL) == ("label:GET /metrics", "label:POST /auth/login")
    assert covered(ScopeKind.GROUP, "auth") == ("label:POST /auth/login",)
    assert covered(ScopeKind.GROUP, "admin") == covered(ScopeKind.GROUP, "none") == ()
    assert covered(ScopeKind.LABEL, "GET /metrics") == ("label:GET /metrics",)
    assert covered(ScopeKind.TENANT, "acme") == ("tenant:acme",)
    assert covered(ScopeKind.REGION, "Europe") == ("region:Europe",)
    assert covered(ScopeKind.INSTANCE) == covered(ScopeKind.TENANT, "other") == ()


def test_one_of_several_populations_has_a_series_of_its_own_and_a_single_one_has_all():
    samples = [*samples_of([1.0], [0.1], tenant="analysts"), *samples_of([2.0], [0.1])]
    alone = run_of(samples, plan_of())
    (requests,) = alone.plan.populations
    assert series_of(Scope(ScopeKind.POPULATION, "requests"), alone) == series_of(EVERYTHING, alone)
    assert series_of(Scope(ScopeKind.POPULATION, "analysts"), alone) == ()

    analysts = replace(requests, name="analysts")
    run = run_of(samples, replace(alone.plan, populations=(requests, analysts)))
    run.table.series = [name.replace("tenant:", "population:") for name in run.table.series]
    assert series_of(Scope(ScopeKind.POPULATION, "analysts"), run) == ("population:analysts",)
    assert series_of(Scope(ScopeKind.POPULATION, "requests"), run) == ()


def test_leaving_out_seconds_closes_the_window_up():
    run = run_of(samples_of(np.arange(60.0) + 0.5, np.full(60, 0.1)), plan_of())
    kept = np.ones(60, np.bool_)
    kept[10:20] = False
    rest = all_of(run).only(kept)
    assert (rest.seconds, rest.size) == (50, 50)
    assert rest.per_second().tolist() == [1] * 50


def test_batches_and_seconds_count_the_same_operations():
    random = np.random.default_rng(1)
    outcomes = np.where(random.uniform(size=5000) < 0.1, "timeout", "ok").tolist()
    run = run_of(
        samples_of(random.uniform(0, 60, 5000), random.exponential(0.1, 5000), outcome=outcomes), plan_of()
    )
    traffic = all_of(run)
    used, counts = traffic.by_batch(np.array([0, 7, 60]))
    assert counts.sum(axis=1).tolist() == [traffic.per_second()[:7].sum(), traffic.per_second()[7:].sum()]
    assert used[-1] == FAILED
    assert counts[:, -1].sum() == traffic.failed == outcomes.count("timeout")


def test_successes_alone_have_no_time_of_what_failed():
    outcomes = ["ok", "timeout", "status 500"]
    run = run_of(
        samples_of(np.array([1.0, 2.0, 3.0]), np.array([0.1, 5.0, 9.0]), outcome=outcomes), plan_of()
    )
    good = traffic_of(run, series_of(EVERYTHING, run), WHOLE, successes_only=True)
    assert (good.size, good.failed) == (1, 0)
    assert good.mean == pytest.approx(0.1)
    assert good.timed[:, 2].max() == pytest.approx(0.1)
