"""What a run shows is looked up once, whoever asks: judge, figures, table, charts and report."""

from collections import Counter

import numpy as np
import pytest

from loadkit import grammar
from loadkit.analysis.comparison import compare_loads
from loadkit.criterion import Comparison, Scope, ScopeKind
from loadkit.judging import evidence as looked_up
from loadkit.judging import window as steady
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.judging.judge import judge
from loadkit.recording.slices import Kind
from loadkit.recording.timing import ACQUIRE, CONNECT, MESSAGE, QUERY, REQUEST, timing_of
from loadkit.reports import summary, table
from loadkit.verdict import Status, Window
from loadkit.workload.plan import Scaling
from loadkit.workload.workload import Model
from steps.suite import allure_results
from tests.builders import error_rate, gauge, plan_of, response_time, run_of, samples_of, throughput
from tests.evidence import steady_run
from tests.test_terminal import finished, outcome

AUTH = Scope(ScopeKind.GROUP, "auth")
CRITERIA = [
    response_time(limit=0.5),
    response_time(0.99, 0.5, Comparison.STAYS_BELOW),
    response_time(limit=0.5, scope=AUTH),
    response_time(None, 0.2, statistic="mean"),
    error_rate(),
    error_rate(scope=AUTH),
    throughput(30),
    gauge(0.7),
    grammar.criterion("the service recovers within 30 seconds"),
    grammar.criterion("no alert fires"),
]


@pytest.fixture
def asked(monkeypatch):
    """How often each look-up was made, by its name and what it was asked."""
    counts: Counter = Counter()

    def counted(module, name):
        found = getattr(module, name)

        def ask(run, *arguments, **named):
            counts[name, run.id, *map(str, arguments), *map(str, named.items())] += 1
            return found(run, *arguments, **named)

        monkeypatch.setattr(module, name, ask)

    counted(steady, "window")
    for name in ("health", "held_per_second", "traffic_of"):
        counted(looked_up, name)
    return counts


@pytest.mark.slow
def test_a_whole_report_looks_up_each_thing_once(asked, tmp_path):
    evidence = Evidence(steady_run(60, 20, failing=True))
    judged = [finished(judge(criterion, evidence)) for criterion in CRITERIA]
    figures = summary.summarise(evidence)
    table.lines(evidence, figures, [each.result.verdict for each in judged])
    report = outcome(*judged)
    allure_results.write(
        type(report)(report.criteria, "local", report.started, report.stopped, {"A": evidence}), tmp_path
    )
    assert {name for name, *_ in asked} == {"window", "health", "held_per_second", "traffic_of"}
    assert {key: count for key, count in asked.items() if count > 1} == {}
    limits = {asked_for[-2:] for asked_for in asked if asked_for[0] == "health"}
    assert limits == {("0.5", "False"), ("0.2", "True"), ("1.0", "False")}, (
        "one look for each time limit; a second stands for none, and the mean has one of its own"
    )


def test_a_comparison_of_two_loads_looks_up_each_thing_once(asked):
    random = np.random.default_rng(1)
    starts = np.sort(random.uniform(0, 60, 6000))
    here, there = (
        run_of(samples_of(starts, time * random.uniform(0.9, 1.1, 6000)), plan_of(60))
        for time in (0.03, 0.02)
    )
    there.id = "run-2"
    twice = grammar.criterion("the p95 response time is at most 2 times that at the baseline load")
    assert compare_loads(twice, Evidence(here), Evidence(there)).status is Status.PASS
    assert {key: count for key, count in asked.items() if count > 1} == {}


def test_the_figures_are_those_of_the_window_that_is_named():
    evidence = Evidence(steady_run(60, 20))
    assert summary.summarise(evidence)["window"]["seconds"] == evidence.window.seconds
    assert summary.summarise(evidence, Window(30, 10))["window"]["seconds"] == 10


def test_a_closed_load_alone_is_corrected_for_its_stalls():
    starts = np.concatenate([np.arange(0, 20, 0.01), np.arange(40, 60, 0.01)])
    samples = samples_of(starts, np.full(4000, 0.01))
    for model, kept_away in ((Model.CLOSED, 2000), (Model.REQUESTS, 0)):
        evidence = Evidence(run_of(samples, plan_of(60, model=model), stalls=[(20.0, 40.0)]))
        for kind in (Kind.RESPONSE, Kind.SERVICE):
            corrected = evidence.corrected(0.5, kind=kind)
            assert corrected.corrected == pytest.approx(kept_away, rel=0.01)
            assert corrected.size == evidence.traffic(kind=kind).size + corrected.corrected


def test_operations_that_ended_are_counted_in_the_second_of_their_end_with_those_that_failed():
    samples = samples_of(
        np.array([0.5, 0.6, 3.2]), np.array([2.0, 0.1, 0.1]), outcome=["timeout", "ok", "ok"]
    )
    ended, failed = Evidence(run_of(samples, plan_of(5))).ended(EVERYTHING, Window(0, 5))
    assert ended.tolist() == [1, 0, 1, 1, 0]
    assert failed.tolist() == [0, 0, 1, 0, 0]


def test_what_was_scaled_changes_no_evidence(asked):
    plan = plan_of(60, stated_level=1000, scaling=Scaling(users=0.1))
    evidence = Evidence(run_of(samples_of(np.arange(0, 60, 0.01), np.full(6000, 0.02)), plan))
    assert judge(throughput(90), evidence).status is Status.NOT_JUDGED
    assert judge(throughput(90), evidence.as_stated()).status is Status.PASS
    assert evidence.run.plan.scaling.users == 0.1
    assert {key: count for key, count in asked.items() if count > 1} == {}


@pytest.mark.parametrize("timing", [REQUEST, CONNECT, MESSAGE, QUERY, ACQUIRE], ids=lambda timing: timing.key)
def test_a_timing_found_by_its_key_has_its_name_in_words(timing):
    assert timing_of(timing.key) == timing
