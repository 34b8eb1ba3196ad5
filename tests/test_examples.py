"""A report shows what failed, for whom and since when: bounded examples, without secrets."""

import dataclasses
import json
import re

import pytest

from loadkit.criterion import Scope, ScopeKind
from loadkit.drivers.http.exchanges import described
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.http.traces import sampled, trace_of, traces
from loadkit.drivers.masking import READ
from loadkit.judging.evidence import EVERYTHING, Evidence
from loadkit.recording import archive
from loadkit.recording.examples import MOST, Example, ExampleLog, Exchange, select
from loadkit.recording.sample import OK, Sample
from loadkit.recording.timing import QUERY, REQUEST
from loadkit.reports import examples
from loadkit.reports.causes import causes_of
from loadkit.verdict import Window
from tests.builders import plan_of, run_of, samples_of

TRACEPARENT = re.compile(rb"traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\r\n")


def sample(seconds=0.1, outcome=OK, label="GET /x", at=1.0):
    return Sample(label, outcome, at, at, at + seconds, 0)


def example(at, outcome=OK, seconds=0.1, label="GET /x", **fields):
    return Example(at, seconds, label, outcome, "users", 7, **fields)


def answered(status=200, body=b"{}", **headers):
    lines = "".join(f"\r\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X{lines}".encode()
    return Response(Head(status, head), body, 0.0, len(body))


# --- which operations


def test_of_each_kind_of_failure_the_first_are_kept():
    log = ExampleLog()
    for _ in range(100):  # so that none of the failures is among the slowest
        log.wants(sample(9.0))
    wanted = [log.wants(sample(outcome=kind)) for kind in ("status 500", "timeout") for _ in range(20)]
    assert wanted == ([True] * MOST + [False] * (20 - MOST)) * 2


def test_of_each_label_the_slowest_are_kept_whatever_came_first():
    log = ExampleLog()
    kept = [log.wants(sample(seconds)) for seconds in (1, 1, 1, 1, 1, 0.5, 2, 0.5, 3)]
    assert kept == [True] * 5 + [False, True, False, True]
    assert log.slow_from(REQUEST)["GET /x"] == 1


def test_labels_without_end_take_no_memory_without_end():
    log = ExampleLog()
    for number in range(5000):
        kinds = (sample(label=f"GET /{number}"), sample(label=f"GET /{number}", outcome="status 500"))
        for each in kinds:
            if log.wants(each):
                log.add(example(1.0))
    assert len(log.drain()) <= 2 * MOST * 200


def test_arrivals_that_nobody_served_leave_room_for_other_failures_and_are_none_of_the_slowest():
    log = ExampleLog()
    unserved = [sample(9.0, "dropped", f"GET /{number}") for number in range(1000) for _ in range(MOST + 1)]
    assert sum(log.wants_unserved(each) for each in unserved) == MOST * 200
    assert "GET /1" not in log.slow_from(REQUEST)
    assert log.wants(sample(outcome="timeout", label="GET /late"))
    slow = [example(1.0, seconds=1.0), example(2.0, "unfinished", 9.0, tenant="acme")]
    nobodys = [dataclasses.replace(slow[1], at=float(at), user=None) for at in range(20)]
    assert [each for each in select([*slow, *nobodys]) if each.user is not None] == slow
    page = page_of(run_with(*slow, *nobodys))
    assert page.count("<td>7</td>") == 3, "the failure, and again with the other one among the slowest"
    assert page.count("unfinished") > 20


def test_of_all_workers_the_first_failures_and_the_slowest_remain_in_order_of_time():
    failures = [example(at, "status 500") for at in range(20)]
    slow = [example(100 + number, seconds=number) for number in range(20)]
    kept = select([*reversed(slow), *reversed(failures)])
    assert [each.at for each in kept] == [0, 1, 2, 3, 4, 115, 116, 117, 118, 119]


# --- what they show


def test_an_example_shows_what_was_sent_and_what_came_back_and_from_whom():
    told = described(
        "POST", "/events?from=1", RequestHeaders({"x-run-id": "run-7"}), next(traces()), b'{"name":"cpu"}', True,
        answered(503, b'{"error":"no room"}', X_Instance="metrics-2"), instance_header="X-Instance",
    )  # fmt: skip
    assert told.request.splitlines() == ["POST /events?from=***", "x-run-id: run-7", "", '{"name":"cpu"}']
    assert told.answer.splitlines()[0] == "503"
    assert '{"error":"no room"}' in told.answer
    assert told.instance == "metrics-2"
    assert re.fullmatch("[0-9a-f]{32}", told.trace)


def test_a_long_body_is_cut():
    told = described("GET", "/x", RequestHeaders({}), b"", None, True, answered(body=b"x" * 5000))
    assert 600 < len(told.answer) < 700
    assert told.answer.endswith("…")


def test_only_the_beginning_of_a_long_body_is_decoded(monkeypatch):
    decoded = []
    monkeypatch.setattr(Response, "_as_text", lambda _, content: decoded.append(len(content)) or "x")
    described("GET", "/x", RequestHeaders({}), b"", None, True, answered(body=b"x" * 10**7))
    assert max(decoded) <= 4 * (READ + 1)


def test_an_operation_without_an_answer_shows_what_was_sent():
    assert described("GET", "/x", RequestHeaders({}), b"", None, True, None).answer == ""


def test_a_body_without_names_is_not_shown():
    told = described("POST", "/x", RequestHeaders({"X-Mine": "abc"}), b"", b"anything", False, None)
    assert told.request.splitlines() == ["POST /x", "x-mine: ***", "", "(8 bytes)"]


SECRET = "S3CRET-text"
AUTHORIZATION = {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("headers", "path", "body", "answer"),
    [
        (AUTHORIZATION, "/x", b"", answered()),
        ({"Cookie": f"sid={SECRET}"}, "/x", b"", answered()),
        ({"X-Api-Key": SECRET}, "/x", b"", answered()),
        ({}, f"/x?token={SECRET}", b"", answered(body=SECRET.encode())),
        ({}, "/x", json.dumps({"password": SECRET}).encode(), answered()),
        ({}, "/x", f"user=me&password={SECRET}".encode(), answered()),
        ({}, "/x", b"", answered(body=json.dumps({"access_token": SECRET, "a": 1}).encode())),
        ({}, "/x", b"", answered(body=b'{"token": "' + SECRET.encode())),
        ({}, "/x", b"", answered(set_cookie=f"session={SECRET}; Path=/")),
        ({}, "/x", b"", answered(body=f"see http://me:{SECRET}@host/".encode())),
        (AUTHORIZATION, "/x", b"", answered(500, f"no right for {SECRET} here".encode())),
        ({}, "/x", json.dumps({"password": SECRET}).encode(), answered(400, f"bad: {SECRET}".encode())),
    ],
)
def test_an_example_shows_no_secret(headers, path, body, answer):
    told = described("POST", path, RequestHeaders(headers), b"", body, True, answer)
    assert SECRET not in told.request + told.answer
    assert "***" in told.request + told.answer


# --- traces


def test_each_request_has_a_valid_trace_of_its_own():
    user, other = traces(), traces()
    lines = [next(user) for _ in range(9000)] + [next(other) for _ in range(9000)]
    assert all(TRACEPARENT.fullmatch(line) for line in lines)
    assert len({trace_of(line) for line in lines}) == len(lines)
    assert not any(line.endswith(b"-01\r\n") for line in lines)
    assert TRACEPARENT.fullmatch(sampled(lines[0]))
    assert sampled(lines[0]).endswith(b"-01\r\n")


# --- reports


def run_with(*kept):
    run = run_of(samples_of([1.0, 2.0], [0.1, 0.1]), plan_of(10))
    run.examples = kept
    return run


def page_of(run, scope=EVERYTHING, timings=()):
    return examples.page(causes_of(Evidence(run), scope, timings)).decode()


def test_a_counted_fault_tells_all_that_were_counted_their_span_and_whom_the_examples_name():
    kind = "data of another tenant (acme)"
    kept = [
        example(5.2 + place, kind, tenant=tenant, exchange=Exchange("GET /x", "200", instance))
        for place, (tenant, instance) in enumerate([("delos", "m-1"), ("wonka", "m-2"), ("delos", "m-2")])
    ]
    run = run_of(samples_of([1.0, 2.0], [0.1, 0.1]), plan_of(60))
    seconds = list(run.worker_seconds)
    for second, count in ((5, 20), (41, 18)):
        seconds[second] = dataclasses.replace(seconds[second], counts={"users": {kind: count}})
    run = dataclasses.replace(run, worker_seconds=tuple(seconds), examples=tuple(kept))
    (told, _) = list(examples.sentences(causes_of(Evidence(run))))[:2]
    assert told.startswith(f"{kind}: 38 times (3 kept as examples); from 0:05 (")
    assert " to 0:41 (" in told
    assert "in the 3 examples: 2 tenants (delos 2, wonka 1), 2 instances (m-2 2, m-1 1); GET /x" in told
    lasting = dataclasses.replace(
        run, worker_seconds=(*seconds[:58], dataclasses.replace(seconds[5], second=58))
    )
    assert " to the end of the load; " in next(iter(examples.sentences(causes_of(Evidence(lasting)))))


FAILED = example(
    62.0, "status 503", 2.0, tenant="acme",
    exchange=Exchange("GET /x\nhost: <a>", "503\n\nno room", "metrics-2", "1" * 32),
)  # fmt: skip


def test_the_page_tells_what_failed_since_when_and_what_came_back():
    run = run_with(FAILED, example(70.0, seconds=9.0, label="GET /slow"))
    run.facts = {"trace_url": "http://traces/{trace}"}
    page = page_of(run)
    assert "status 503: once, at 1:02 (" in page
    assert "no room" in page
    assert "host: &lt;a&gt;" in page
    assert f'href="http://traces/{"1" * 32}"' in page
    assert page.index("GET /slow") > page.index("Slowest operations")


def test_a_page_is_of_its_scope():
    run = run_with(FAILED, example(70.0, "timeout", label="GET /slow"))
    page = page_of(run, Scope(ScopeKind.LABEL, "GET /slow"))
    assert "timeout" in page
    assert "status 503" not in page
    assert "status 503" in page_of(run, Scope(ScopeKind.TENANT, "acme"))


def test_the_terminal_shows_one_example_of_the_commonest_kinds():
    assert list(examples.lines(run_with(FAILED, FAILED), Window(0, 10))) == [
        f"for example GET /x at 1:02: status 503 after 2 s (user 7, of acme, from metrics-2, trace {'1' * 32})"
    ]


def test_the_commonest_kinds_are_those_that_most_operations_had_and_not_those_with_most_examples():
    rare = [f"status {code}" for code in (404, 409, 410)]
    kinds = ["status 503"] * 300 + rare * MOST
    run = run_of(samples_of([5.0] * len(kinds), [0.1] * len(kinds), "GET /x", kinds), plan_of(10))
    run.table.record([sample(outcome="timeout", label="overview")] * 30, timing=QUERY)
    kept = [example(1.0, kind) for kind in rare for _ in range(MOST)]
    run.examples = (
        *kept,
        example(5.0, "timeout", label="overview", timing="query"),
        example(5.0, "status 503"),
    )
    told = list(examples.lines(run, Window(0, 10)))
    assert [each.split(": ")[1].split(" after")[0] for each in told] == [
        "status 503",
        "timeout",
        "status 404",
    ]


def test_examples_are_kept_with_the_run(tmp_path):
    kept = FAILED, dataclasses.replace(FAILED, outcome="dropped", user=None)
    assert archive.load(archive.save(run_with(*kept), tmp_path)).examples == kept


@pytest.mark.parametrize("region", ["", "Asia"])
def test_the_table_of_examples_has_a_column_of_regions_only_where_there_are_some(region):
    kept = (example(5.0, "status 503", region=region, exchange=Exchange("GET /x", "503")),)
    run = dataclasses.replace(run_of(samples_of([1.0], [0.1]), plan_of(60)), examples=kept)
    page = examples.page(causes_of(Evidence(run))).decode()
    assert ("<th>region</th>" in page, "<td>Asia</td>" in page) == (bool(region), bool(region))
