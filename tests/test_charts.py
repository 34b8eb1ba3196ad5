"""The charts draw what a run holds, also where it holds little."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from loadkit import grammar
from loadkit.criterion import Comparison, Criterion, Family, Measure, Scope, ScopeKind, Unit
from loadkit.judging.evidence import Evidence
from loadkit.observers.observation import Reading, Series
from loadkit.recording.run import Event
from loadkit.recording.timing import QUERY
from loadkit.reports import charts, curves
from loadkit.verdict import Window
from loadkit.workload.plan import Action
from loadkit.workload.workload import Model
from tests.builders import (
    availability,
    error_rate,
    gauge,
    plan_of,
    response_time,
    run_of,
    samples_of,
    throughput,
)
from tests.evidence import cpu, pool, steady_run, window_of
from tests.test_alerts import observed as alerts_observed
from tests.test_recovery import WITHIN_30, disturbed

UPTIME = Criterion(
    "uptime is at least 99.9%", Measure("uptime", Family.UPTIME, Unit.RATIO), Comparison.IS_AT_LEAST, 0.999
)
MEAN = response_time(None, 0.1, statistic="mean")
CRITERIA = [
    response_time(limit=0.5),
    response_time(limit=0.05, scope=Scope(ScopeKind.GROUP, "auth")),
    response_time(limit=60),
    MEAN,
    error_rate(),
    availability(),
    throughput(30),
    UPTIME,
    gauge(0.7),
    gauge(2e9, "memory usage", Unit.BYTES),
    grammar.criterion("the service recovers within 30 seconds"),
    grammar.criterion('the "HighLatency" alert fires within 1 minute'),
    grammar.criterion("no alert fires"),
]


@pytest.fixture(scope="module")
def run():
    return steady_run(
        60, 20, failing=True, probes=tuple((float(second), second != 40) for second in range(80))
    )


@pytest.fixture(scope="module")
def window(run):
    return window_of(run)


def texts(svg):
    """What can be read in a chart; it fails where the chart is not well-formed."""
    return [
        "".join(element.itertext()) for element in ET.fromstring(svg).iter() if element.tag.endswith("text")
    ]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.sentence)
def test_every_kind_of_measure_is_drawn_with_its_limit_and_its_sentence(run, window, criterion):
    told = texts(charts.measure(Evidence(run), window, criterion))
    assert criterion.sentence in told
    is_deadline = criterion.sentence.endswith((" 30 seconds", " 1 minute"))
    assert ("deadline" in told) is (is_deadline and criterion.measure.family != Family.RECOVERY)
    assert bool([text for text in told if text.startswith("limit ")]) is not is_deadline


def test_a_recovery_is_drawn_with_what_is_as_good_as_before_and_by_when_it_was_promised():
    told = texts(charts.measure(Evidence(disturbed(range(70, 87))), None, WITHIN_30))
    assert [text for text in told if text.startswith("recovered: up to ")]
    assert "deadline" in told
    failing = texts(charts.measure(Evidence(disturbed(failing=range(70, 87))), None, WITHIN_30))
    assert "p95 response time of the next five seconds is among failed operations" in failing


FIRES = grammar.criterion('the "HighLatency" alert fires within 20 seconds')
NONE_FIRES = grammar.criterion("no alert fires")


@pytest.mark.parametrize("criterion", [FIRES, NONE_FIRES])
def test_what_shows_that_alerts_were_observed_is_drawn_as_no_alert(run, window, criterion):
    observation = alerts_observed(criterion)
    quiet = Evidence(dataclasses.replace(run, observations={observation.name: observation}))
    own, beside = charts.measure(quiet, window, criterion), charts.resources(quiet, window)
    assert observation.name not in texts(own)
    assert texts(beside).count(observation.name) == 1, "the title of its panel"
    for told in (texts(own), texts(beside)):
        assert "no alert was firing" in told
    firing = alerts_observed(criterion, ("HighLatency", range(50, 60)))
    told = texts(
        charts.measure(
            Evidence(dataclasses.replace(run, observations={firing.name: firing})), window, criterion
        )
    )
    assert "HighLatency" in told
    assert "no alert was firing" not in told


def test_alerts_that_were_not_observed_are_not_told_to_be_quiet(run, window):
    gone = dataclasses.replace(alerts_observed(NONE_FIRES), series=(), problem="prometheus did not answer")
    told = texts(
        charts.measure(Evidence(dataclasses.replace(run, observations={"alerts": gone})), window, NONE_FIRES)
    )
    assert "prometheus did not answer" in told


def test_a_query_without_instances_has_a_line_with_its_name(run):
    times = run.started + np.arange(80.0)
    query = dataclasses.replace(pool(80), name="sum(up)", series=(Series("", times, times),), capacity=())
    assert [name for name, *_ in curves.observed(run, query)] == ["sum(up)"]


@pytest.mark.parametrize("events", [(), (Event(41.5, "killed"),)])
def test_the_time_of_an_alert_is_a_deadline_on_the_time_axis(run, monkeypatch, events):
    drawn = []
    monkeypatch.setattr(curves, "draw_deadline", lambda _, moment: drawn.append(moment))
    actions = tuple(Action(each.what, at=20) for each in events)
    plan = dataclasses.replace(run.plan, actions=actions)
    told = texts(charts.measure(Evidence(dataclasses.replace(run, plan=plan, events=events)), None, FIRES))
    start = events[0].at if events else run.plan.workload.hold.start
    assert drawn == [start + 20]
    assert not [text for text in told if text.startswith("limit ")]


def test_dollars_of_a_query_are_text_and_no_formula(run, window):
    sentence = (
        "the Prometheus query \"sum(rate(e{path=~'^/orders$'}[1m])) / sum(rate(r{path=~'^/orders$'}[1m]))\" "
        "stays below 0.1"
    )
    criterion = grammar.criterion(sentence)
    query = dataclasses.replace(pool(80), name=criterion.measure.name)
    evidence = Evidence(dataclasses.replace(run, observations={query.name: query}))
    assert sentence in texts(charts.measure(evidence, window, criterion))
    assert criterion.measure.name in texts(charts.resources(evidence, window))


def queried():
    """A hundred queries, of which ten failed."""
    starts = np.arange(0, 10, 0.1)
    outcomes = ["ok"] * 90 + ["statement timeout (57014)"] * 10
    run = run_of([], plan_of(10))
    run.table.record(samples_of(starts, np.full(100, 0.01), "overview", outcomes), timing=QUERY)
    return run


def test_failed_queries_are_failed_operations_of_the_charts():
    run = queried()
    told = texts(charts.errors(Evidence(run), None))
    assert "statement timeout (57014) (10)" in told
    assert "failed per second" in texts(charts.load(Evidence(run), None))
    assert "query time" in texts(charts.resources(Evidence(run), None))
    run.table.record(samples_of(np.arange(0, 10, 0.1), np.full(100, 0.01)))
    mixed = Evidence(run)
    assert "statement timeout (57014) (10)" in texts(charts.errors(mixed, None))
    assert "response time" in texts(charts.resources(mixed, None))


def test_the_percentiles_are_of_what_the_criterion_speaks_of(run, window):
    drawn = charts.percentiles(Evidence(run), window, Scope(ScopeKind.GROUP, "auth"))
    assert "Times of the auth endpoints in the judged window" in texts(drawn)
    lines, lines_of_all = (
        re.findall(rb' d="[^"]{200,}"', each) for each in (drawn, charts.percentiles(Evidence(run), window))
    )
    assert lines
    assert lines != lines_of_all
    assert "Times of all operations in the whole run" in texts(charts.percentiles(Evidence(run), None))


def test_a_restart_is_drawn_as_the_fall_of_an_age_and_not_as_a_date(run, window):
    times = run.started + np.arange(80.0)
    born = np.where(np.arange(80) < 40, run.started - 100, run.started + 40)
    births = dataclasses.replace(
        cpu(80), name="restarts", reading=Reading.GAUGE, unit="", series=(Series("metrics-1", times, born),)
    )
    told = texts(
        charts.resources(Evidence(dataclasses.replace(run, observations={"restarts": births})), window)
    )
    assert "age of the process: a drop is a restart of the instance" in told
    assert not [text for text in told if text.endswith("000,000")]


@pytest.mark.parametrize(
    "chart",
    [charts.percentiles, charts.load, charts.resources, charts.errors],
    ids=lambda chart: chart.__name__,
)
def test_equal_runs_give_equal_charts_of_a_readable_size(run, window, chart):
    drawn = chart(Evidence(run), window)
    assert drawn == chart(Evidence(run), window)
    assert len(drawn) < 100_000
    assert float(re.search(rb'width="([\d.]+)pt"', drawn).group(1)) == pytest.approx(9 * 72)


def test_the_judged_percentile_comes_first_and_the_others_beside_it(run, window):
    told = texts(charts.measure(Evidence(run), window, response_time(0.99)))
    assert [text for text in told if re.fullmatch(r"p\d+", text)] == ["p99", "p50", "p95"]


def test_where_a_percentile_lies_among_the_failed_the_chart_says_so(run, window):
    told = texts(charts.measure(Evidence(run), window, response_time()))
    assert "p95 is among failed operations" in told
    healthy = steady_run(30, 10)
    told = texts(charts.measure(Evidence(healthy), window_of(healthy), response_time()))
    assert "p95 is among failed operations" not in told


def test_the_lines_are_what_was_measured():
    starts = np.arange(0, 30, 0.02)
    run = run_of(samples_of(starts, np.where(starts < 15, 0.010, 0.040)), plan_of(30))
    (_, moments, values), *_ = curves.quantile_lines(Evidence(run).traffic(), (0.95,))
    assert list(moments[:3]) == [0.5, 1.5, 2.5]
    assert values[:15] == pytest.approx(0.010, rel=0.002)
    assert values[15:30] == pytest.approx(0.040, rel=0.002)


def test_a_long_run_is_drawn_in_points_of_five_seconds():
    run = run_of(samples_of(np.arange(0, 200, 0.1), np.full(2000, 0.01)), plan_of(200))
    (_, moments, _), *_ = curves.quantile_lines(Evidence(run).traffic(), (0.5,))
    assert len(moments) == 40
    assert moments[0] == 2.5


def test_a_counter_is_drawn_as_its_rate_and_a_share_of_its_capacity(run):
    lines = {title: values for title, _, values in curves.observed(run, cpu(80))}
    assert sorted(lines) == ["metrics-1", "metrics-2"]
    assert np.nanmean(lines["metrics-2"]) == pytest.approx(0.52, rel=0.1)
    ((_, moments, values),) = curves.observed(run, pool(80))
    assert 0.1 < np.nanmin(values) < np.nanmax(values) < 0.5
    assert np.isnan(values).sum() == 2, "one break where the scrapes have a hole, one at the end"
    assert not ((moments > 40) & (moments < 60)).any()


def test_values_that_are_missing_or_infinite_interrupt_the_line(run):
    values = np.full(80, 5.0)
    values[20:30], values[60] = np.nan, np.inf
    series = Series("metrics-1", run.started + np.arange(80.0), values)
    ((_, moments, drawn),) = curves.observed(
        run, dataclasses.replace(pool(80), series=(series,), capacity=())
    )
    known = np.isfinite(drawn)
    assert not np.isinf(drawn).any()
    assert moments[known].tolist() == [
        second for second in range(80) if not 20 <= second < 30 and second != 60
    ]


def test_without_failures_the_chart_of_errors_says_so():
    run = run_of(samples_of(np.arange(0, 10, 0.1), np.full(100, 0.01)), plan_of(10))
    assert "none of 100 operations failed" in texts(charts.errors(Evidence(run), None))


def test_errors_are_told_apart_by_kind_with_their_numbers(run, window):
    told = texts(charts.errors(Evidence(run), window))
    kinds = [text for text in told if text.startswith(("status 503 (", "timeout ("))]
    assert len(kinds) == 2


def test_what_happened_stands_on_the_time_axis(run, window):
    killed = dataclasses.replace(run, events=(Event(40.0, "instance killed: metrics-2"),))
    assert "instance killed: metrics-2" in texts(charts.load(Evidence(killed), window))


def test_what_was_judged_is_told_below_and_also_that_nothing_was(run, window):
    assert any("judged: 0:25 to 1:20" in text for text in texts(charts.load(Evidence(run), window)))
    assert any("no window was judged" in text for text in texts(charts.load(Evidence(run), None)))


def test_open_load_shows_what_was_due():
    run = run_of(
        samples_of(np.arange(0, 10, 0.1), np.full(100, 0.01)), plan_of(10, level=10, model=Model.REQUESTS)
    )
    assert "requests due per second (plan)" in texts(charts.load(Evidence(run), None))


def test_a_run_without_a_single_operation_can_be_drawn():
    run = run_of([], plan_of(10))
    for criterion in CRITERIA:
        if criterion.measure.family == Family.THROUGHPUT:
            continue  # that of nothing is known: it is 0
        assert "no measurements" in texts(charts.measure(Evidence(run), None, criterion))
    for chart in (charts.load, charts.resources, charts.errors):
        assert chart(Evidence(run), None)
    assert "no operation succeeded" in texts(charts.percentiles(Evidence(run), Window(0, 10)))


def test_a_source_that_was_gone_is_named_in_its_panel(run, window):
    gone = dataclasses.replace(cpu(80), series=(), problem="prometheus did not answer")
    told = texts(
        charts.resources(Evidence(dataclasses.replace(run, observations={"CPU utilization": gone})), window)
    )
    assert "prometheus did not answer" in told


def test_an_instance_that_was_scraped_once_has_no_line(run, window):
    once = dataclasses.replace(
        cpu(80), series=(Series("metrics-1", np.array([run.started]), np.array([1.0])),)
    )
    told = texts(
        charts.resources(Evidence(dataclasses.replace(run, observations={"CPU utilization": once})), window)
    )
    assert "no data was scraped" in told
    assert "metrics-1" not in told


def test_charts_load_nothing_from_elsewhere(run, window):
    drawn = charts.resources(Evidence(run), window)
    links = set(re.findall(rb'(?:href|src)="([^"]*)"', drawn))
    assert all(link.startswith(b"#") for link in links)
