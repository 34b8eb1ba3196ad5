"""All that a user receives is searched for the data of other tenants."""

import asyncio
import dataclasses
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit import grammar
from loadkit.criterion import OTHERS_DATA
from loadkit.drivers.canaries import Canaries
from loadkit.drivers.http.client import HttpClient
from loadkit.drivers.http.response import Head, Response
from loadkit.drivers.masking import Mask
from loadkit.recording.exact import CANARIES, compared, own_canary, to_compare
from loadkit.recording.messages import CHECKED, FOREIGN, MESSAGES_RECEIVED, MESSAGES_SEARCHED
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK
from loadkit.recording.sql import FOREIGN_ROWS, ROWS_CHECKED, ROWS_READ, ROWS_SEARCHED
from loadkit.target import Account, Secret
from loadkit.users.meter import Meter
from loadkit.verdict import Status
from loadkit.workload.workload import Think
from tests.builders import judge, plan_of, run_of, samples_of, worker_seconds_of

NOTHING_OF_OTHERS = grammar.criterion("no tenant ever sees another tenant's data")


def account(tenant, canary):
    return Account(f"user@{tenant}", Secret("p"), tenant, canary=Secret(canary))


def search(own="acme", **canaries):
    return Canaries(account(tenant, canary) for tenant, canary in canaries.items()).search_for(own)


ACCENTS = {"acme": "clé", "globex": "clè", "initech": "clê"}
ALIKE = {"acme": "tk-1111", "globex": "tk-2222", "initech": "tk-3333"}
UNLIKE = {"acme": "alpha-1", "globex": "2-beta", "initech": "gamma"}


@pytest.mark.parametrize("canaries", [ALIKE, UNLIKE, ACCENTS], ids=["alike", "unlike", "accents"])
@pytest.mark.parametrize("text", ["{}", '{"rows":["%s"]}', "%s", "x%sx", '[{\\"k\\":\\"%s\\"}]'])
def test_the_canary_of_another_tenant_is_found_anywhere_and_the_own_is_not(canaries, text):
    found = search(**canaries)
    own = text.replace("%s", canaries["acme"]).encode()
    assert found.found(own) == ""
    if "%s" in text:
        assert found.found(own + text.replace("%s", canaries["globex"]).encode()) == "globex"


@given(
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=5, unique=True),
    st.text("abct-", max_size=40),
    st.sampled_from(["tk-", "aba", "aaaa", "abcab", "tk-é", ""]),
)
def test_a_search_finds_what_a_look_at_each_canary_finds(names, text, beginning):
    canaries = {f"t{number}": f"{beginning}{name}" for number, name in enumerate(names)}
    own = canaries["t0"]
    others = [canary for tenant, canary in canaries.items() if tenant != "t0"]
    if any(other in own for other in others):
        return  # such canaries cannot be told apart
    found = Canaries(account(*each) for each in canaries.items()).search_for("t0")
    is_there = any(other in text for other in others)
    assert bool(found.found(text.encode())) == bool(found.found(text)) == is_there


@given(
    st.lists(st.sampled_from(["tk-1111", "tk-2222", "tk-3333", "tk-", "x" * 70, "\0", "é"]), max_size=300),
    st.integers(0, 70),
)
def test_in_long_answers_too(parts, offset):
    """Longer than a processor's registers, and from any place of memory."""
    text = "y" * offset + "".join(parts)
    assert bool(search(**ALIKE).found(text.encode())) == ("tk-2222" in text or "tk-3333" in text)


def test_a_beginning_that_overlaps_itself_hides_nothing():
    found = search(acme="abac", globex="abab")
    assert found.found(b"ababac") == "globex"
    assert found.found(b"abacabac") == ""


def test_text_that_only_begins_like_a_canary_is_no_hit():
    assert search(**ALIKE).found(b'{"name":"tk-none"}') == ""


def test_without_another_tenant_there_is_nothing_to_search_for():
    assert search(acme="tk-1") is None
    assert search(own="unknown", **ALIKE) is None
    assert Canaries([Account("a", Secret("p"), "acme")]).search_for("acme") is None


# --- in a run


def counted(found=0, done=100, due=100, **more):
    seconds = worker_seconds_of(60)
    counts = {OTHERS_DATA: found, compared(OTHERS_DATA): done, to_compare(OTHERS_DATA): due, **more}
    named = seconds[-1].counts | {"others": {name: number for name, number in counts.items() if number}}
    seconds[-1] = dataclasses.replace(seconds[-1], counts=named)
    return run_of([], plan_of(60), worker_seconds=seconds)


@pytest.mark.parametrize(
    ("run", "status"),
    [
        (counted(), Status.PASS),
        (counted(1), Status.FAIL),
        (counted(done=99), Status.INCONCLUSIVE),
        (counted(done=0, due=0), Status.INCONCLUSIVE),
        (counted(**{MESSAGES_RECEIVED: 50, MESSAGES_SEARCHED: 50}), Status.PASS),
        (counted(**{MESSAGES_RECEIVED: 50, MESSAGES_SEARCHED: 50, FOREIGN: 1}), Status.FAIL),
        (counted(**{MESSAGES_RECEIVED: 50, MESSAGES_SEARCHED: 49}), Status.INCONCLUSIVE),
        (counted(**{ROWS_READ: 50, ROWS_SEARCHED: 50}), Status.PASS),
        (counted(**{ROWS_READ: 50, ROWS_SEARCHED: 50, FOREIGN_ROWS: 1}), Status.FAIL),
        (counted(**{ROWS_READ: 50, MESSAGES_SEARCHED: 50}), Status.INCONCLUSIVE),
        (counted(**{MESSAGES_RECEIVED: 50, CHECKED: 5}), Status.PASS),
        (counted(**{ROWS_READ: 50, ROWS_CHECKED: 5}), Status.PASS),
    ],
    ids=[
        *("none", "one answer", "an answer unread", "nothing", "messages", "one message", "messages unread"),
        *("rows", "one row", "rows unread by those who read messages"),
        *("messages of a stored run", "rows of a stored run"),
    ],
)
def test_one_answer_or_message_of_another_tenant_fails_and_none_among_all_passes(run, status):
    assert judge(NOTHING_OF_OTHERS, run).status is status


@pytest.mark.parametrize(
    ("received", "facts", "status", "words"),
    [
        ((), {CANARIES: 2}, Status.INCONCLUSIVE, "but no user received the canary of its own tenant either"),
        (("acme",), {CANARIES: 2}, Status.PASS, ""),
        (("acme", "globex"), {CANARIES: 2}, Status.PASS, ""),
        ((), {}, Status.PASS, ""),
    ],
    ids=["none", "one", "all", "a stored run"],
)
def test_a_search_that_never_found_the_own_data_proves_nothing(received, facts, status, words):
    run = counted(**{own_canary(tenant): 1 for tenant in received})
    run.facts = {**run.facts, **facts}
    for tenant in ("acme", "globex"):
        run.table.record(samples_of(np.arange(60.0), np.full(60, 0.01), tenant=tenant))
    verdict = judge(NOTHING_OF_OTHERS, run)
    assert verdict.status is status
    assert words in verdict.reason
    warned = "users of globex never received the canary of their own tenant" in " ".join(verdict.warnings)
    assert warned == (received == ("acme",))


# --- in a worker


class Service:
    """Answers each request with the next of some bodies; it is the driver too."""

    instance_header = ""
    mask = Mask()

    def __init__(self, *bodies, encoding="", tenant=""):
        lines = f"\r\ncontent-encoding: {encoding}" if encoding else ""
        lines += f"\r\nx-tenant: {tenant}" if tenant else ""
        self.head = Head(200, f"HTTP/1.1 200 OK{lines}".encode())
        self.bodies = list(bodies)
        self.canaries = Canaries(account(*each) for each in ALIKE.items())

    def session(self):
        return self

    async def request(self, *_):
        body = self.bodies.pop(0)
        return Response(self.head, body, 0.1, len(body))

    def close(self):
        pass


def received(*bodies, encoding="", in_header="", accounts=None, **how):
    """The recorder of a user of acme who received some bodies."""
    recorder = Recorder(0, 0.0).population("users")
    clock = type("Clock", (), {"now": staticmethod(lambda: 0.0)})
    meter = Meter(recorder, clock, None, think=Think(0, 0), seed="1", timeout=1.0, tenant="acme")
    meter.start(0.0, float("inf"))
    service = Service(*bodies, encoding=encoding, tenant=in_header)
    if accounts is not None:
        service.canaries = Canaries(accounts)
    client = HttpClient(meter, service)

    async def ask():
        for _ in bodies:
            await client.get("/x", **how)
        meter.settle()

    asyncio.run(ask())
    return recorder


OWN, FOREIGN_BODY = b'{"k":"tk-1111"}', b'{"k":"tk-2222","password":"hidden"}'


def test_each_answer_is_searched_and_one_of_another_tenant_is_counted_and_shown():
    recorder = received(OWN, FOREIGN_BODY, OWN)
    assert (recorder.not_searched, recorder.searched, recorder.counts[OTHERS_DATA]) == (0, 3, 1)
    (shown,) = [each for each in recorder.examples.drain() if each.outcome != OK]
    assert shown.outcome == "data of another tenant (globex)"
    assert '"tk-2222"' in shown.exchange.answer
    assert "hidden" not in shown.exchange.answer


@pytest.mark.parametrize("canaries", [ALIKE, UNLIKE, ACCENTS], ids=["alike", "unlike", "accents"])
def test_an_answer_is_searched_for_the_canaries_of_all_others_whatever_they_look_like(canaries):
    accounts = [account(tenant, canary) for tenant, canary in canaries.items()]
    own, other, third = (canary.encode() for canary in canaries.values())
    mine = [b"", own, own + own, b"tk-", own[:-1]]
    assert received(*mine, accounts=accounts).counts[OTHERS_DATA] == 0
    foreign = [other, own + other, other + own, own + own + third, third[:-1] + other]
    recorder = received(*mine, *foreign, accounts=accounts)
    assert (recorder.searched, recorder.counts[OTHERS_DATA]) == (10, 5)


@pytest.mark.parametrize(
    ("tenants", "due"), [(("acme", "globex"), 2), (("acme",), 0), (("globex", "initech"), 0), (("",), 0)]
)
def test_an_answer_that_nobody_can_search_for_lack_of_canaries_had_to_be_searched(tenants, due):
    accounts = [Account(f"user@{tenant}", Secret("p"), tenant) for tenant in tenants]
    recorder = received(OWN, b"", accounts=accounts)
    assert (recorder.not_searched, recorder.searched) == (due, 0)


def test_rows_that_were_checked_do_not_make_up_for_answers_that_nobody_could_search():
    run = counted(done=0, due=50, **{ROWS_READ: 50, ROWS_SEARCHED: 50})
    assert judge(NOTHING_OF_OTHERS, run).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("bodies", "header", "number"),
    [
        ([b"{}", b"tk-", FOREIGN_BODY], "", 0),
        ([b"{}", OWN, OWN, b"{}", OWN], "", 1),
        ([b"{}", b"{}"], "tk-1111", 1),
    ],
)
@pytest.mark.parametrize("encoding", ["", "identity"])
@pytest.mark.parametrize("canaries", [ALIKE, ALIKE | {"initech": "gamma"}], ids=["alike", "unlike"])
def test_that_a_user_received_the_canary_of_its_tenant_is_noted_once(
    bodies, header, number, encoding, canaries
):
    accounts = [account(*each) for each in canaries.items()]
    recorder = received(*bodies, in_header=header, encoding=encoding, accounts=accounts)
    assert recorder.counts[own_canary("acme")] == number
    assert recorder.searched == len(bodies)


def test_such_an_answer_fails_no_operation():
    recorder = received(FOREIGN_BODY)
    assert [sample.outcome for sample in recorder.requests.samples] == [OK]


def test_a_compressed_answer_is_searched_too():
    assert received(gzip.compress(FOREIGN_BODY), encoding="gzip").counts[OTHERS_DATA] == 1


def test_an_answer_that_cannot_be_decompressed_was_not_searched():
    recorder = received(b"no gzip", encoding="gzip")
    assert (recorder.not_searched, recorder.searched) == (1, 0)


def test_what_is_not_recorded_is_searched_too_and_shown():
    recorder = received(OWN, FOREIGN_BODY, record=False)
    assert (recorder.not_searched, recorder.searched, recorder.counts[OTHERS_DATA]) == (0, 2, 1)
    (shown,) = recorder.examples.drain()
    assert (shown.label, shown.outcome) == ("GET /x", "data of another tenant (globex)")
    assert recorder.requests.samples == []


@pytest.mark.parametrize("body", [OWN, FOREIGN_BODY], ids=["own", "that one's"])
@pytest.mark.parametrize("record", [True, False])
def test_an_answer_to_a_request_for_another_tenant_is_searched_for_all_but_that_ones(body, record):
    recorder = received(body, tenant="globex", record=record)
    assert (recorder.not_searched, recorder.searched) == (0, 1)
    assert recorder.counts["data of another tenant (acme)"] == (body is OWN)
    assert recorder.counts[OTHERS_DATA] == (body is OWN)


def test_an_answer_for_a_tenant_without_a_canary_had_to_be_searched():
    accounts = [Account(f"user@{tenant}", Secret("p"), tenant) for tenant in ("acme", "globex")]
    assert received(OWN, tenant="globex", accounts=accounts).not_searched == 1
    assert received(OWN, tenant="unknown", accounts=accounts).not_searched == 0


@pytest.mark.parametrize(("header", "number"), [("tk-1111", 0), ("tk-3333", 1)])
@pytest.mark.parametrize("encoding", ["", "identity"])
def test_the_headers_of_each_answer_are_searched_too(header, number, encoding):
    # Equal headers are one object.
    recorder = received(b"", b"", encoding=encoding, in_header=header)
    assert (recorder.searched, recorder.counts[OTHERS_DATA]) == (2, 2 * number)
    shown = [each for each in recorder.examples.drain() if each.outcome != OK]
    assert [header in each.exchange.answer for each in shown] == [True] * 2 * number


def test_each_encoded_body_is_decoded_although_its_headers_are_those_of_an_earlier_one():
    recorder = received(*[gzip.compress(FOREIGN_BODY)] * 3, encoding="gzip")
    assert (recorder.searched, recorder.counts[OTHERS_DATA]) == (3, 3)


def test_headers_without_a_canary_are_searched_once(monkeypatch):
    searched = []

    def count(content, text):
        searched.append(content)
        return content.count(text)

    for module in ("http.client", "canaries"):
        monkeypatch.setattr(f"loadkit.drivers.{module}.count", count)
    assert received(b"{}").searched == 1
    first = len(searched)
    searched.clear()
    assert received(b"{}", b"{}", b"{}").searched == 3
    assert len(searched) == first + 2
    assert searched[first:] == [b"{}", b"{}"]
