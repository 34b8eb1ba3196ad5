"""Prometheus as an observer, against a server that speaks its API."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from loadkit.criterion import Comparison, Unit
from loadkit.judging.gauges import examine_gauge
from loadkit.observers.measures import MeasureQuery
from loadkit.observers.observation import LIFE_SIGN, Judged, Reading
from loadkit.observers.prometheus import PrometheusObserver
from loadkit.target import Address
from loadkit.verdict import Status
from tests.builders import gauge

CPU = MeasureQuery("CPU utilization", Reading.COUNTER, Unit.RATIO, "cpu_seconds_total", capacity_value=2.0)
POOL = MeasureQuery("pool", Reading.GAUGE, Unit.RATIO, "pool_used", capacity="pool_size")


def matrix(*rows):
    return [
        {"metric": {"__name__": "m", **labels}, "values": [[t, str(v)] for t, v in values]}
        for labels, values in rows
    ]


@contextmanager
def answering(rows_of, rules=None, **beside):
    """Answers each query with the rows that a function gives for it, and refuses it where they are None.

    `rules`: its alerting rules; None if it does not tell them.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            parts = urlsplit(self.path)
            if parts.path == "/api/v1/rules":
                groups = [{"rules": [{"type": "alerting", **each} for each in rules or ()]}]
                self.reply(rules, {"data": {"groups": groups}})
                return
            found = rows_of(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
            self.reply(found, {"data": {"resultType": "matrix", "result": found}, **beside})

        def reply(self, found, answer):
            body = json.dumps({"status": "success", **answer}).encode()
            self.send_response(400 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def prometheus(results, **beside):
    """Answers each query with the result that is kept under its beginning; keeps what it was asked."""
    asked = []

    def rows_of(path, query):
        asked.append((path, query))
        return next((rows for start, rows in results.items() if query["query"].startswith(start)), [])

    with answering(rows_of, **beside) as url:
        yield url, asked


def observe(results, measures=(), queries=(), start=1000.0, end=1060.0, **beside):
    with prometheus(results, **beside) as (url, asked):
        observer = PrometheusObserver(Address(url), measures, queries, scrape_interval=5.0)
        return observer.observe(start, end), asked


def test_raw_scrapes_are_asked_for_over_the_run_and_two_scrapes_before():
    _, asked = observe({"cpu": matrix(({"instance": "a"}, [(1000, 1)]))}, [CPU])
    assert asked == [("/api/v1/query", {"query": "cpu_seconds_total[70s]", "time": "1060.0"})]


def test_each_instances_scrapes_are_a_series():
    rows = matrix(({"instance": "a", "job": "s"}, [(1000, 1), (1005, 2.5)]), ({"instance": "b"}, [(1001, 7)]))
    found = observe({"cpu": rows}, [CPU])[0]["CPU utilization"]
    assert [series.instance for series in found.series] == ["a", "b"]
    assert found.series[0].times.tolist() == [1000, 1005]
    assert found.series[0].values.tolist() == [1, 2.5]
    assert (found.reading, found.unit, found.problem) == (Reading.COUNTER, "ratio", "")
    assert [whole.values.tolist() for whole in found.capacity] == [[2, 2], [2]]


def test_the_whole_can_be_a_measure_itself():
    rows = {
        "pool_used": matrix(({"instance": "a"}, [(1000, 3)])),
        "pool_size": matrix(({"instance": "a"}, [(1000, 10)])),
    }
    found = observe(rows, [POOL])[0]["pool"]
    assert found.capacity[0].values.tolist() == [10]
    assert found.capacity_reading is Reading.GAUGE


@pytest.mark.parametrize(
    ("judged", "expected"), [("p95", Judged.P95), ("max", Judged.MAXIMUM), ("mean", Judged.MEAN)]
)
def test_how_it_is_judged_is_as_the_environment_file_says(judged, expected):
    measure = MeasureQuery("m", Reading.GAUGE, Unit.BYTES, "m", judged=judged)
    assert observe({"m": matrix(({}, [(1000, 1)]))}, [measure])[0]["m"].judged is expected


def test_a_share_of_what_was_counted_has_counters_on_both_sides():
    hits = MeasureQuery("hits", Reading.COUNTER, Unit.RATIO, "hits", capacity="lookups", judged="mean")
    rows = {"hits": matrix(({"instance": "a"}, [(1, 1)])), "lookups": matrix(({"instance": "a"}, [(1, 1)]))}
    assert observe(rows, [hits])[0]["hits"].capacity_reading is Reading.COUNTER


def test_infinite_values_are_kept_and_missing_ones_are_marked():
    rows = matrix(({"instance": "a"}, [(1000, "NaN"), (1005, 1), (1010, "+Inf"), (1015, "-Inf")]))
    series = observe({"cpu": rows}, [CPU])[0]["CPU utilization"].series[0]
    assert series.times.tolist() == [1000, 1005, 1010, 1015]
    assert series.values[1:].tolist() == [1, np.inf, -np.inf]
    assert np.isnan(series.values[0])
    assert series.known.times.tolist() == [1005, 1010, 1015]


def test_values_that_are_all_missing_are_no_samples():
    rows = matrix(({"instance": "a"}, [(1000, "NaN"), (1005, "NaN")]))
    assert "has no samples" in observe({"cpu": rows}, [CPU])[0]["CPU utilization"].problem


def test_the_warnings_of_an_answer_are_kept_and_its_infos_are_not():
    rows = {"cpu": matrix(({"instance": "a"}, [(1000, 1)])), "max(x)": matrix(({}, [(1000, 1)]))}
    lost = "No StoreAPIs matched:\n store-2 is unavailable"
    found, _ = observe(rows, [CPU], ["max(x)"], warnings=[lost, lost], infos=["might not be a counter"])
    for one in found.values():
        assert one.warnings == ("No StoreAPIs matched: store-2 is unavailable",)
    complete, _ = observe(rows, [CPU], infos=["might not be a counter"])
    assert complete["CPU utilization"].warnings == ()


@pytest.mark.parametrize("numbers", [{}, {"values": [[1000, "1"]]}])
def test_native_histograms_are_a_problem_with_an_example_that_works(numbers):
    histogram = {"count": "2", "sum": "3", "buckets": [[0, "1", "2", "2"]]}
    rows = [{"metric": {"instance": "a"}, "histograms": [[1000, histogram]], **numbers}]
    found = observe({"cpu": rows, "rate": rows}, [CPU], ["rate(x[1m])"])[0]
    for one in found.values():
        assert one.problem == (
            "the query returns native histograms; expected numbers, for example histogram_quantile(0.95, ...)"
        )


def test_nothing_found_is_a_problem_not_a_zero():
    found = observe({}, [CPU])[0]["CPU utilization"]
    assert found.problem.endswith("has no samples for cpu_seconds_total")
    assert found.series == ()


def test_two_series_of_one_instance_are_a_problem():
    rows = matrix(({"instance": "a", "core": "0"}, [(1, 1)]), ({"instance": "a", "core": "1"}, [(1, 1)]))
    problem = observe({"cpu": rows}, [CPU])[0]["CPU utilization"].problem
    assert problem == 'cpu_seconds_total returns more than one series with instance="a": narrow it down'


def test_a_refused_query_is_a_problem_of_its_measure_alone():
    found = observe({"cpu": None, "pool": matrix(({"instance": "a"}, [(1000, 1)]))}, [CPU, POOL])[0]
    assert "failed to answer cpu_seconds_total: HTTP Status Code 400" in found["CPU utilization"].problem
    assert found["pool"].problem == ""


def test_a_source_that_is_gone_is_a_problem():
    with prometheus({}) as (url, _):
        pass
    observer = PrometheusObserver(Address(url), [CPU], ["up"], scrape_interval=1.0)
    found = observer.observe(1000.0, 1010.0)
    assert found.keys() == {"CPU utilization", "up"}
    assert all("failed to answer" in one.problem and "\n" not in one.problem for one in found.values())


def test_who_may_ask_is_told_to_the_source_alone():
    with prometheus({"cpu": None}) as (url, _):
        address = Address(url.replace("//", "//viewer:se%2Fcret@"))
        observer = PrometheusObserver(address, [CPU], ["up"], scrape_interval=1.0, alerts=ALERTS)
        answered = observer.observe(1000.0, 1010.0)
    gone = observer.observe(1000.0, 1010.0)
    for found in (answered, gone):
        assert len(found) == 3
        for one in found.values():
            assert url.replace("//", "//***@") in one.problem
            assert one.source == url.replace("//", "//***@")
            assert "cret" not in repr(one)


def test_free_queries_are_evaluated_at_the_scrape_interval_and_kept_by_their_text():
    rows = matrix(({"instance": "a", "job": "s"}, [(1000, 4)]))
    found, asked = observe({"max(x)": rows}, queries=["max(x)"])
    assert found["max(x)"].series[0].instance == "instance=a, job=s"
    assert np.array_equal(found["max(x)"].series[0].values, [4.0])
    assert asked[0][0] == "/api/v1/query_range"
    assert asked[0][1] == {"query": "max(x)", "start": "1000", "end": "1060", "step": "5"}


ALERTS = {"alerts": ".+"}


def test_figures_of_machines_are_evaluated_and_told_apart_by_instance():
    rows = matrix(({"instance": "db-1", "job": "node"}, [(100, 0.2)]), ({"instance": "web-1"}, [(100, 0.9)]))
    with prometheus({"idle": rows}) as (url, asked):
        source = PrometheusObserver(
            Address(url), (), scrape_interval=15, hosts={"other machines: idle": "idle"}
        )
        assert list(source.names) == ["other machines: idle"]
        found = source.observe(100, 200)["other machines: idle"]
    assert asked[0][0].endswith("/query_range")
    assert [each.instance for each in found.series] == ["db-1", "web-1"]
    assert (found.reading, found.unit) == (Reading.GAUGE, "ratio")


def test_alerts_are_told_by_name_beside_the_sources_own_sign_of_life():
    firing = matrix(
        ({"alertname": "Slow", "alertstate": "firing", "group": "auth"}, [(5, 1), (6, 1)]),
        ({"alertname": "Slow", "alertstate": "firing", "group": "admin"}, [(6, 1)]),
    )
    up = matrix(({"instance": "a"}, [(1, 1), (2, 1)]), ({"instance": "b"}, [(2, 0), (3, 1)]))
    with prometheus({"ALERTS": firing, "up": up}) as (url, asked):
        observer = PrometheusObserver(Address(url), (), scrape_interval=1.0, alerts={"alerts:Slow": "Slow"})
        seen = observer.observe(0, 10)["alerts:Slow"]
    assert seen.problem == ""
    assert {one.instance: one.times.tolist() for one in seen.series} == {
        LIFE_SIGN: [1, 2, 3],
        "Slow,group=auth": [5, 6],
        "Slow,group=admin": [6],
    }
    assert 'ALERTS{alertstate="firing",alertname=~"Slow"}[' in asked[-1][1]["query"]


def test_silence_of_alerts_is_no_problem_and_that_of_the_source_is():
    up = matrix(({"instance": "a"}, [(1, 1)]))
    with prometheus({"up": up}) as (url, _):
        seen = PrometheusObserver(Address(url), (), scrape_interval=1.0, alerts=ALERTS).observe(0, 10)[
            "alerts"
        ]
    assert seen.problem == ""
    with prometheus({}) as (url, _):
        gone = PrometheusObserver(Address(url), (), scrape_interval=1.0, alerts=ALERTS).observe(0, 10)[
            "alerts"
        ]
    assert "has no samples for up" in gone.problem
    with prometheus({"up": up, "ALERTS": None}) as (url, _):
        refused = PrometheusObserver(Address(url), (), scrape_interval=1.0, alerts=ALERTS).observe(0, 10)[
            "alerts"
        ]
    assert "failed to answer ALERTS" in refused.problem


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (None, ""),
        ([{"name": "Slow"}], ""),
        ([{"name": "Slow", "health": "ok"}, {"name": "Down", "health": "err"}], ""),
        ([], "has no alerting rule with a name like"),
        ([{"name": "Slower"}], "has no alerting rule with a name like"),
        ([{"name": "Slow", "health": "err", "lastError": "no such label\nx"}], 'rule "Slow" of Prometheus'),
    ],
)
def test_without_an_alerting_rule_that_works_silence_shows_nothing(rules, words):
    up = matrix(({"instance": "a"}, [(1, 1)]))
    with prometheus({"up": up}, rules=rules) as (url, _):
        observer = PrometheusObserver(Address(url), (), scrape_interval=1.0, alerts={"alerts:Slow": "Slow"})
        problem = observer.observe(0, 10)["alerts:Slow"].problem
    assert words in problem
    assert bool(words) == bool(problem)


def test_the_name_of_an_alert_is_escaped_for_promql():
    up = matrix(({"instance": "a"}, [(1, 1)]))
    with prometheus({"up": up}) as (url, asked):
        observer = PrometheusObserver(
            Address(url), (), scrape_interval=1.0, alerts={"alerts:": re.escape('High "p95" latency')}
        )
        observer.observe(0, 10)
    assert 'alertname=~"High\\\\ \\"p95\\"\\\\ latency"}' in asked[-1][1]["query"]


def scraped_until(last, again, moments):
    """The newest scrape at each moment: every 15 s, and none between two moments."""
    return [(at, min(at, last) if at < again else at) for at in moments]


@pytest.mark.parametrize("is_of_hosts", [False, True])
def test_a_value_that_prometheus_only_repeats_because_it_was_down_is_missing(is_of_hosts):
    moments = np.arange(1000, 1301, 15).tolist()
    rows = {
        "pool": matrix(({"instance": "a"}, [(at, 40) for at in moments])),
        "max(timestamp(up))": matrix(({}, scraped_until(1060, 1240, moments))),
    }
    asks = {"hosts": {"idle": "pool"}} if is_of_hosts else {"queries": ["pool"]}
    with prometheus(rows) as (url, asked):
        seen = PrometheusObserver(Address(url), (), scrape_interval=15.0, **asks).observe(1000.0, 1300.0)
    (found,) = seen.values()
    known = found.series[0].known.times
    assert known.tolist() == [at for at in moments if at <= 1075 or at >= 1240]
    assert len(asked) == 2
    for comparison in (Comparison.IS_BELOW, Comparison.STAYS_BELOW, Comparison.NEVER_EXCEEDS):
        finding = examine_gauge(gauge(80.0, comparison=comparison), found, 1000.0, 1300.0)
        assert finding.status is Status.INCONCLUSIVE
        assert "its scrapes have a gap of 2.75 min" in finding.reason


@pytest.mark.parametrize("late", [0.0, 14.0, 22.0])
def test_values_of_a_source_that_scrapes_or_does_not_tell_are_kept(late):
    moments = np.arange(1000, 1301, 15).tolist()
    rows = {"pool": matrix(({"instance": "a"}, [(at, 40) for at in moments]))}
    newest = {"max(timestamp(up))": matrix(({}, [(at, at - late) for at in moments]))}
    for beside in ({}, newest):
        with prometheus(rows | beside) as (url, _):
            observer = PrometheusObserver(Address(url), (), ["pool"], scrape_interval=15.0)
            found = observer.observe(1000.0, 1300.0)["pool"]
        assert found.series[0].known.times.tolist() == moments


def test_values_that_cannot_be_told_from_repeated_ones_are_a_problem():
    rows = {"pool": matrix(({"instance": "a"}, [(1000, 40)])), "max(timestamp(up))": None}
    assert "failed to answer pool" in observe(rows, queries=["pool"])[0]["pool"].problem


@contextmanager
def strict_prometheus():
    """Answers each range with its moments as values, and refuses more than 11,000 of them, as Prometheus does."""
    asked = []

    def rows_of(_, query):
        start, end, step = (float(query[name]) for name in ("start", "end", "step"))
        asked.append((start, end))
        moments = np.arange(start, end + step / 2, step).tolist()
        if query["query"] == "max(timestamp(up))":
            asked.pop()
            return matrix(({}, [(each, each) for each in moments]))
        if len(moments) > 11_000:
            return None
        return matrix(*(({"instance": name}, [(each, each) for each in moments]) for name in "ab"))

    with answering(rows_of) as url:
        yield url, asked


@pytest.mark.parametrize(("interval", "steps"), [(1.0, 10_000), (1.0, 25_000), (0.5, 15_001), (15.0, 20_000)])
def test_a_free_query_over_a_long_run_is_asked_for_in_parts_and_each_moment_is_there_once(interval, steps):
    start = 1_700_000_000.5
    with strict_prometheus() as (url, asked):
        observer = PrometheusObserver(Address(url), (), ["max(x)"], scrape_interval=interval)
        found = observer.observe(start, start + steps * interval)["max(x)"]
    assert found.problem == ""
    assert len(asked) == -(-steps // 10_000)
    first, last = asked[0][0], asked[-1][1]
    assert [series.instance for series in found.series] == ["instance=a", "instance=b"]
    for series in found.series:
        assert np.array_equal(series.times, np.arange(first, last + interval / 2, interval))
        assert np.array_equal(series.values, series.times)
