"""Skewed think times, sessions and choices: drawn as stated, and shown beside what was stated."""

import dataclasses
import itertools
import math
import random
import statistics
from collections import defaultdict

import numpy as np
import pytest

from loadkit.drivers.fake import Answer
from loadkit.engine import run as engine
from loadkit.errors import PhraseError
from loadkit.judging.evidence import Evidence
from loadkit.planning.draft import Draft
from loadkit.recording.distributions import (
    TENANT_ACCOUNTS,
    distribution_warnings,
    distributions,
    is_realistic,
    tenant_sizes,
)
from loadkit.recording.draws import Popularity, sessions_of, think_times_of
from loadkit.recording.run import Run
from loadkit.recording.slices import Kind, SliceTable
from loadkit.reports import distributions as report
from loadkit.target import Account, Secret, Target
from loadkit.users.popularity import place, ranks_of
from loadkit.workload.workload import Lognormal, Model, Stage, Think
from steps.suite.criteria_json import document
from steps.suite.outcome import Outcome
from tests.bad_servers import always_says, in_a_thread
from tests.builders import plan_of as built_plan
from tests.builders import run_of, samples_of
from tests.virtual_time import ROOT, plan_of, simulate

SKEWED = Think(0.6, 2.0, "lognormal")
QUICK = Answer(0.01, body=b"{}")


def quick(_moment: float, _method: str, _path: str) -> Answer:
    return QUICK


def run_like(plan, simulation):
    return run_of(simulation.table, plan, worker_seconds=simulation.worker_seconds)


# --- the distributions


def test_a_lognormal_has_its_median_p95_and_mean() -> None:
    spread = Lognormal(0.6, 2.0)
    drawn = sorted(spread.draw(choices) for choices in [random.Random(1)] for _ in range(40_000))
    assert statistics.median(drawn) == pytest.approx(0.6, rel=0.02)
    assert drawn[int(0.95 * len(drawn))] == pytest.approx(2.0, rel=0.03)
    assert statistics.fmean(drawn) == pytest.approx(spread.mean, rel=0.02)
    assert Think(0.6, 2.0, "lognormal").mean == spread.mean


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.5])
def test_the_nth_thing_has_a_weight_of_one_to_a_power_of_n(exponent: float) -> None:
    choices, count, draws = random.Random(1), 10, 40_000
    found = np.bincount([place(choices, count, exponent) for _ in range(draws)], minlength=count)
    weights = np.arange(1, count + 1.0) ** -exponent
    expected = draws * weights / weights.sum()
    # Of nine degrees of freedom, 27.9 is exceeded once in a thousand times.
    assert float(((found - expected) ** 2 / expected).sum()) < 27.9


@pytest.mark.parametrize("count", [1, 2])
def test_even_the_last_of_few_things_is_one_of_them(count: int) -> None:
    assert {place(random.Random(seed), count, 1.0) for seed in range(50)} == set(range(count))


# --- what users draw


def test_think_times_are_drawn_as_stated_whatever_the_number_of_workers() -> None:
    plan = plan_of("tests.realistic_journeys:choose", level=40, seconds=60, think=SKEWED)
    one, three = (simulate(plan, quick, workers=workers) for workers in (1, 3))
    drawn = [_counted(each.table, think_times_of("users")) for each in (one, three)]
    assert drawn[0] == drawn[1]
    (think_times, things) = distributions(run_like(plan, one))
    assert think_times.what == "think times of the users"
    assert think_times.asked == "lognormal, median 600 ms, p95 2 s"
    assert not think_times.differs
    assert things.what == "popularity of the things"
    assert things.asked == "Zipf, exponent 1, 8 of them: the first 36.8 %"
    assert not things.differs
    assert think_times.number == things.number == pytest.approx(40 * 60 / 0.79, rel=0.1)


def _counted(table: SliceTable, series: str) -> dict[int, int]:
    _, _, bucket, count = table.select(Kind.DRAWN, [series], 0, 1 << 22)
    return dict(zip(bucket.tolist(), count.tolist(), strict=True))


@pytest.mark.parametrize("median", [0.66, 0.54])
def test_think_times_that_are_not_as_stated_are_told(median: float) -> None:
    plan = plan_of("tests.realistic_journeys:choose", level=40, seconds=60, think=SKEWED)
    drawn = dataclasses.replace(plan.workload, think=Think(median, 2.0 * median / 0.6, "lognormal"))
    simulation = simulate(
        dataclasses.replace(plan, populations=(dataclasses.replace(plan.populations[0], workload=drawn),)),
        quick,
    )
    (think_times, _) = distributions(run_like(plan, simulation))
    assert think_times.differs
    text = "\n".join(report.lines(run_like(plan, simulation)))
    assert "below 0.1 %: does not match the request" in text


def run_that_drew(think: Think, seconds: np.ndarray) -> Run:
    """A run whose users state a think time, and drew these."""
    plan = plan_of(think=think)
    table = SliceTable()
    table.count(Kind.DRAWN, think_times_of("users"), np.zeros(len(seconds)), seconds)
    return run_of(table, plan)


def draws(think: Think, count: int, seed: int) -> np.ndarray:
    """Correct draws, by a generator that the load kit does not use."""
    random = np.random.default_rng(seed)
    if think.distribution == "uniform":
        return random.uniform(think.low, think.high, count)
    if think.distribution == "exponential":
        return random.exponential(think.mean, count)
    return think.low * np.exp(think.lognormal.sigma * random.standard_normal(count))


STATED = [Think(), Think(1.0, 1.1), SKEWED, Think(60, 300, "lognormal"), Think(0.5, 1.5, "exponential")]


@pytest.mark.parametrize("think", STATED, ids=str)
@pytest.mark.parametrize("count", [50, 1000])
def test_correct_draws_are_warned_of_in_a_thousandth_of_the_runs(think: Think, count: int) -> None:
    warned = sum(
        bool(distribution_warnings(run_that_drew(think, draws(think, count, n)))) for n in range(1000)
    )
    # Of a thousandth, more than 5 of 1000 occur once in 1600 times.
    assert warned <= 5


@pytest.mark.parametrize("think", STATED, ids=str)
@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_a_scale_that_is_wrong_by_a_fifth_is_found_in_a_thousand_draws(think: Think, scale: float) -> None:
    found = sum(
        bool(distribution_warnings(run_that_drew(think, scale * draws(think, 1000, n)))) for n in range(100)
    )
    assert found >= 93


def test_a_spread_that_is_wrong_by_a_fifth_is_found_where_the_median_is_right() -> None:
    wider = Think(0.6, 0.6 * (2.0 / 0.6) ** 1.2, "lognormal")
    found = sum(bool(distribution_warnings(run_that_drew(SKEWED, draws(wider, 1000, n)))) for n in range(100))
    assert found >= 95


def test_one_value_that_the_distribution_does_not_have_is_found() -> None:
    seconds = draws(Think(), 1000, 1)
    assert not distribution_warnings(run_that_drew(Think(), seconds))
    assert distribution_warnings(run_that_drew(Think(), np.append(seconds, 1.31)))


def test_a_constant_time_is_as_stated() -> None:
    constant = Lognormal(20.0, 20.0)
    plan, simulation, _ = visits(session=constant)
    assert not distribution_warnings(run_like(plan, simulation))


def test_short_sessions_are_as_stated_although_a_load_has_more_of_them() -> None:
    # Each user draws until its time is over: the number of draws depends on what was drawn.
    session, random = Lognormal(20.0, 60.0), np.random.default_rng(1)
    plan = plan_of(session=session)
    warned = 0
    for _ in range(500):
        drawn = session.median * np.exp(session.sigma * random.standard_normal((300, 60)))
        begins = np.cumsum(drawn, axis=1) - drawn
        table = SliceTable()
        lengths = drawn[begins < 60.0]
        table.count(Kind.DRAWN, sessions_of("users"), np.zeros(len(lengths)), lengths)
        warned += bool(distribution_warnings(run_of(table, plan)))
    assert warned <= 4


def choices_of(exponent: float, count: int, seed: int) -> Run:
    weights = np.arange(1, 51.0) ** -exponent
    ranks = np.random.default_rng(seed).choice(50, count, p=weights / weights.sum()) + 1.0
    table = SliceTable()
    table.count(Kind.DRAWN, Popularity("things", 50).series, np.zeros(count), ranks)
    return run_of(table)


def test_an_exponent_that_is_wrong_by_a_fifth_is_found_in_a_thousand_choices_and_a_right_one_is_not() -> None:
    assert sum(bool(distribution_warnings(choices_of(1.0, 1000, n))) for n in range(1000)) <= 5
    assert sum(bool(distribution_warnings(choices_of(1.0, 100, n))) for n in range(1000)) <= 5
    for exponent in (0.8, 1.2):
        assert sum(bool(distribution_warnings(choices_of(exponent, 1000, n))) for n in range(100)) >= 95


def test_the_warning_names_the_distribution_what_was_asked_for_and_what_was_drawn() -> None:
    (warning,) = distribution_warnings(run_that_drew(SKEWED, np.full(1000, 1.0)))
    assert warning == (
        "the think times of the users do not match the plan: requested lognormal, median 600 ms, p95 2 s; "
        "actual median 1 s, p95 1 s (1,000 draws). By chance, this happens in less than one of 1,000 runs"
    )


def test_a_run_has_the_warnings_of_what_its_users_drew(monkeypatch) -> None:
    # The workers draw what the plan states; the comparison is told that other times were stated.
    monkeypatch.setattr(
        engine, "distribution_warnings", lambda run: distribution_warnings(_as_if_slower(run))
    )
    plan = plan_of(level=10, seconds=2, think=Think(0.05, 0.1), drain=1.0)
    with in_a_thread(always_says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")) as server:
        done = engine.run(plan, Target("t", server.base, accounts=ACCOUNTS), root=ROOT, workers=1)
    assert done.facts[TENANT_ACCOUNTS] == {"tenant-0": 9, "tenant-1": 8, "tenant-2": 8}
    assert [each[:29] for each in done.warnings] == ["the think times of the users "]


def _as_if_slower(run: Run) -> Run:
    (population,) = run.plan.populations
    workload = dataclasses.replace(population.workload, think=Think(0.06, 0.12))
    plan = dataclasses.replace(run.plan, populations=(dataclasses.replace(population, workload=workload),))
    return dataclasses.replace(run, plan=plan)


def test_choices_that_are_not_as_stated_are_told() -> None:
    table = SliceTable()
    table.count(Kind.DRAWN, Popularity("things", 8).series, np.zeros(800), np.tile(np.arange(1.0, 9.0), 100))
    (things,) = distributions(run_of(table))
    assert things.differs


@pytest.mark.parametrize("name", ["pages", "pages: shop", "https://shop.example/pages", ":", "a:7:1"])
def test_the_name_of_things_may_have_colons(name: str) -> None:
    things = Popularity(name, 8, 0.7)
    assert Popularity.read([things.series, think_times_of("users")]) == [things]
    table = SliceTable()
    table.count(Kind.DRAWN, ranks_of(name, 8, 0.7), np.zeros(8), np.arange(1.0, 9.0))
    (found,) = distributions(run_of(table))
    assert found.what == f"popularity of the {name}"


def test_users_who_choose_among_different_numbers_of_things_are_put_together() -> None:
    table = SliceTable()
    choices = random.Random(3)
    for count in (2, 30):
        ranks = np.array([place(choices, count, 1.0) + 1.0 for _ in range(3000)])
        table.count(Kind.DRAWN, Popularity("things", count).series, np.zeros(len(ranks)), ranks)
    (things,) = distributions(run_of(table))
    assert (things.number, len(things.values)) == (6000, 30)
    assert not things.differs


# --- sessions


ACCOUNTS = tuple(Account(f"user-{number}", Secret(""), f"tenant-{number % 3}") for number in range(25))


def visits(workers: int = 1, *, users: int = 10, seconds: float = 300.0, accounts=ACCOUNTS, **how):
    """When each account was used by which user: seconds since the start by account and number."""
    found: dict[tuple[str, int], list[float]] = defaultdict(list)

    def service(moment: float, _method: str, path: str) -> Answer:
        _, account, number = path.split("/")
        found[account, int(number)].append(moment)
        return QUICK

    plan = plan_of("tests.realistic_journeys:tell", level=users, seconds=seconds, **how)
    target = Target("fake", "http://fake", accounts=accounts)
    return plan, simulate(plan, service, workers=workers, target=target), found


def test_without_sessions_users_stay_to_the_end() -> None:
    _, _, found = visits()
    assert len(found) == 10


def test_a_user_leaves_after_its_session_and_another_one_comes() -> None:
    session = Lognormal(20.0, 60.0)
    plan, simulation, found = visits(session=session)
    lengths = [times[-1] - times[0] for times in found.values() if times[-1] < 290]
    assert len(found) == pytest.approx(10 * 300 / session.mean, rel=0.25)
    assert statistics.median(lengths) == pytest.approx(20.0, rel=0.25)
    made = next(
        each for each in distributions(run_like(plan, simulation)) if each.what == "sessions of the users"
    )
    assert made.asked == "lognormal, median 20 s, p95 60 s"
    assert not made.differs


def test_the_stated_users_are_held_while_they_come_and_go() -> None:
    _, simulation, _ = visits(session=Lognormal(20.0, 60.0))
    held = [each.gauge("held") for each in simulation.worker_seconds if each.second < 300]
    assert set(held) == {10.0}
    # A user who takes a place does not wait for a think time.
    assert simulation.operations() == pytest.approx(10 * 300 / 0.81, rel=0.05)


def test_nobody_has_an_account_twice_at_a_time_and_all_accounts_are_used() -> None:
    _, _, found = visits(session=Lognormal(10.0, 30.0))
    by_account: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for (account, _), times in found.items():
        by_account[account].append((times[0], times[-1]))
    assert len(by_account) == len(ACCOUNTS)
    for spans in by_account.values():
        ordered = sorted(spans)
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(ordered))


def test_with_an_account_for_each_user_the_same_one_logs_in_again() -> None:
    _, _, found = visits(session=Lognormal(10.0, 30.0), accounts=ACCOUNTS[:10])
    users_of: dict[str, set[int]] = defaultdict(set)
    for account, number in found:
        users_of[account].add(number)
    assert len(users_of) == 10
    assert all(len(numbers) > 3 for numbers in users_of.values())


@pytest.mark.slow
def test_sessions_and_accounts_do_not_depend_on_the_number_of_workers() -> None:
    firsts = [
        {user: times[0] for user, times in visits(workers, session=Lognormal(20.0, 60.0))[2].items()}
        for workers in (1, 3)
    ]
    assert firsts[0] == pytest.approx(firsts[1])


def test_a_session_that_is_longer_than_the_load_ends_with_it() -> None:
    _, _, found = visits(session=Lognormal(5000.0, 6000.0), seconds=30)
    assert len(found) == 10


def test_users_who_leave_with_the_load_do_not_come_again() -> None:
    stages = (Stage(0, 10), Stage(60, 10), Stage(0, 2), Stage(60, 2))
    _, simulation, _ = visits(session=Lognormal(10.0, 30.0), stages=stages)
    held = {each.second: each.gauge("held") for each in simulation.worker_seconds}
    assert (held[30], held[90]) == (10.0, 2.0)


# --- what people see


def test_the_report_shows_each_distribution_and_the_sizes_of_tenants() -> None:
    plan, simulation, _ = visits(session=Lognormal(20.0, 60.0), think=SKEWED)
    run = run_like(plan, simulation)
    assert is_realistic(run)
    text = "\n".join(report.lines(run))
    assert "sessions of the users     lognormal, median 20 s, p95 60 s" in text
    assert "3 tenants; the largest, tenant-" in text
    chart = report.chart(run).decode()
    for words in ("sessions of the users (n =", "think times of the users (n =", "sizes of 3 tenants"):
        assert words in chart
    (sessions, think_times) = report.json_of(run)
    whats = [each["what"] for each in (sessions, think_times)]
    assert whats == ["sessions of the users", "think times of the users"]
    assert sessions["chance"] > 0.001
    assert not sessions["differs"]


def test_the_results_file_has_each_distribution_and_the_sizes_of_tenants() -> None:
    plan, simulation, _ = visits(session=Lognormal(20.0, 60.0), think=SKEWED)
    run = run_like(plan, simulation)
    (entry,) = document(Outcome((), "local", 0.0, 1.0, {"A": Evidence(run)})).runs
    assert list(entry.distributions) == report.json_of(run)
    assert entry.tenant_sizes is not None
    assert set(entry.tenant_sizes["shares"]) == {"tenant-0", "tenant-1", "tenant-2"}
    assert sum(entry.tenant_sizes["shares"].values()) == pytest.approx(1.0)


def test_the_results_file_has_no_sizes_of_tenants_for_a_load_of_equal_people() -> None:
    run = run_of([], built_plan(60))
    (entry,) = document(Outcome((), "local", 0.0, 1.0, {"A": Evidence(run)})).runs
    assert (entry.distributions, entry.tenant_sizes) == ((), None)


def test_sizes_of_tenants_have_the_exponent_of_zipf_that_fits() -> None:
    table = SliceTable()
    for rank in range(1, 21):
        count = round(10_000 / rank)
        samples = samples_of(np.full(count, 1.0), np.full(count, 0.01), tenant=f"t{rank}")
        table.record(samples)
    sizes = tenant_sizes(run_of(table))
    assert sizes is not None
    assert sizes.exponent == pytest.approx(1.0, abs=0.01)
    assert sizes.shares[0] == (
        "t1",
        pytest.approx(10_000 / sum(10_000 / rank for rank in range(1, 21)), rel=0.01),
    )


def sized(counts, facts=None, **population):
    """A run with so many operations of each tenant."""
    table = SliceTable()
    for name, count in counts.items():
        table.record(samples_of(np.full(count, 1.0), np.full(count, 0.01), tenant=name))
    run = run_of(table)
    run.facts = facts or {}
    changed = dataclasses.replace(run.plan.populations[0], **population)
    run.plan = dataclasses.replace(run.plan, populations=(changed,))
    return run


ASKED = {"t1": 100, "t2": 50, "t3": 33, "t4": 25}


def test_sizes_of_tenants_are_shown_beside_those_of_the_accounts() -> None:
    run = sized({"t1": 300, "t2": 200, "t4": 100}, {TENANT_ACCOUNTS: ASKED})
    sizes = tenant_sizes(run)
    assert sizes is not None
    assert sizes.asked is not None
    assert dict(sizes.asked.shares) == {name: count / 208 for name, count in ASKED.items()}
    assert sizes.asked.exponent == pytest.approx(1.0, abs=0.01)
    assert sizes.words == (
        "3 tenants; the largest, t1, has 50 % of the operations, the largest fifth 50 %; Zipf exponent 0.86. "
        "Requested: 4 tenants; the largest, t1, has 48.1 % of the accounts, the largest fifth 48.1 %; Zipf exponent 1.00"
    )
    found = report.tenants_json_of(run)
    assert found is not None
    assert found["asked"] == {"shares": dict(sizes.asked.shares), "exponent": sizes.asked.exponent}
    assert "sizes of 3 tenants, compared with their shares of the accounts" in report.chart(run).decode()


@pytest.mark.parametrize(
    ("facts", "population"),
    [({}, {}), ({TENANT_ACCOUNTS: ASKED}, {"tenant": "t1"}), ({TENANT_ACCOUNTS: ASKED}, {"group": 2})],
    ids=["no accounts", "users of one tenant", "users in groups"],
)
def test_sizes_of_tenants_that_nobody_asked_for_are_shown_beside_the_law_that_fits(facts, population) -> None:
    run = sized({"t1": 300, "t2": 200, "t4": 100}, facts, **population)
    found = report.tenants_json_of(run)
    assert found is not None
    assert found["asked"] is None
    assert "Requested" not in "\n".join(report.lines(run))
    assert "sizes of 3 tenants, compared with Zipf's law with exponent 0.86" in report.chart(run).decode()


def test_a_load_of_equal_people_has_no_such_page() -> None:
    assert not is_realistic(run_of([], built_plan(60)))
    assert distributions(run_of([], built_plan(60))) == []
    assert tenant_sizes(run_of([], built_plan(60))) is None


# --- what can be wrong in a sentence


@pytest.mark.parametrize(
    "state",
    [
        lambda draft: draft.stay_for(Lognormal(60.0, 10.0)),
        lambda draft: draft.stay_for(Lognormal(0.0, 10.0)),
        lambda draft: draft.think_for(Think(2.0, 0.6, "lognormal")),
        lambda draft: draft.think_for(Think(0.0, 0.6, "lognormal")),
    ],
)
def test_a_p95_below_the_median_is_refused_with_an_example(state) -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100)
    with pytest.raises(PhraseError, match="a p95 that is no shorter, such as a median of"):
        state(draft)


def test_how_long_sessions_last_is_stated_once() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100)
    draft.stay_for(Lognormal(60.0, 100.0))
    with pytest.raises(PhraseError, match="how long sessions last was stated before"):
        draft.stay_for(Lognormal(60.0, 100.0))


def test_sigma_is_that_of_the_logarithm() -> None:
    assert Lognormal(1.0, math.exp(1.6448536)).sigma == pytest.approx(1.0)
    assert Lognormal(3.0, 3.0).draw(random.Random(1)) == 3.0
