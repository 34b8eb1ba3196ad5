"""What an analyst's user does with a row of another tenant: it is counted and shown, without its secrets."""

from types import SimpleNamespace

import pytest

from loadkit.drivers.masking import SHOWN, Mask
from loadkit.drivers.postgres.exchanges import LastQuery
from loadkit.queries import Query
from loadkit.recording.sql import FOREIGN_ROWS
from loadkit.recording.timing import QUERY
from loadkit.target import Account, Secret
from steps.journeys import database
from tests.database_user import visited
from tests.postgres_server import PostgresServer, postgres
from tests.user_meeting import WritingDriver, meet

__all__ = ["postgres"]

OWN, OF_ANOTHER = {"tenant_id": 7, "name": "of acme"}, {"tenant_id": 8, "name": "of globex"}


def database_of(user, rows):
    """The client of a user of tenant 7, whose key queries find some rows."""
    meter, last = user.meter, LastQuery(Mask())

    async def fetchval(_sql, *_arguments, label, record):
        assert not record
        return 7 if label == "tenant" else True

    async def fetch(query, *arguments, label="", record=True):
        if label == "widgets":
            return [{"id": 1}]
        with await meter.begin(query, QUERY) as operation:
            meter.exchange = last.begin(Query(query, "SELECT 1"), arguments)
            operation.succeeded(meter.now())
        last.rows = len(rows)
        return rows

    return SimpleNamespace(fetchval=fetchval, fetch=fetch)


def analysed(*rows):
    """What is recorded of an analyst whose key query finds some rows."""

    async def use(user):
        user.db = database_of(user, rows)
        await database.query(user)

    return meet(use, account=Account("ann", Secret("pw"), "acme")).recorder


def examples_of(examples):
    return [each for each in examples if each.outcome == FOREIGN_ROWS]


def test_a_row_of_another_tenant_is_counted_and_shown_below_its_query():
    recorder = analysed(OWN, OF_ANOTHER, OWN)
    assert recorder.counts[FOREIGN_ROWS] == 1
    (example,) = examples_of(recorder.examples.drain())
    assert example.label in database._CHOICES
    assert (example.timing, example.user, example.tenant) == (QUERY.key, 3, "acme")
    assert example.exchange.request.splitlines()[0] == f'query "{example.label}"'
    assert example.exchange.answer == '3 rows\n\n{"tenant_id": 8, "name": "of globex"}'


def test_each_row_of_another_tenant_is_counted_and_the_own_rows_are_not():
    assert analysed(*[OF_ANOTHER] * 20, OWN).counts[FOREIGN_ROWS] == 20
    recorder = analysed(OWN, OWN)
    assert recorder.counts[FOREIGN_ROWS] == 0
    assert examples_of(recorder.examples.drain()) == []


def test_a_row_of_another_tenant_is_shown_without_its_secrets_and_cut(monkeypatch):
    monkeypatch.setattr(WritingDriver, "mask", Mask(["tk-2222"]))
    row = {"api_token": "S3CRET-text", "note": "for tk-2222 and S3CRET-text", "text": "x" * 5000}
    (example,) = examples_of(analysed(OF_ANOTHER | row).examples.drain())
    head, _, shown = example.exchange.answer.partition("\n\n")
    assert head == "1 rows"
    assert shown.startswith(
        '{"tenant_id": 8, "name": "of globex", "api_token": "***", "note": "for *** and ***", "text": "xxx'
    )
    assert len(shown) == SHOWN + len(" …")


ROW = r"""
SELECT 8 AS tenant_id, '00000000-0000-0000-0000-000000000007'::uuid AS id, 1.50::numeric AS value,
    '\x00ff'::bytea AS content, NULL AS note
"""


@pytest.mark.parametrize("is_pending", [True, False], ids=["of the latest query", "of an earlier query"])
def test_a_row_is_shown_as_the_database_gives_it(postgres: PostgresServer, is_pending: bool) -> None:
    async def use(visit) -> None:
        foreign = visit.user.checks_tenants("rows")
        (row,) = await visit.db.fetch(ROW, label="one")
        if not is_pending:
            visit.user.meter.settle()
        foreign(row)

    (example,) = examples_of(visited(postgres.dsn(), use).report.examples)
    head, _, shown = example.exchange.answer.rpartition("\n\n")
    assert (example.label, head) == (("one", "1 rows") if is_pending else ("rows", ""))
    assert shown == (
        '{"tenant_id": 8, "id": "00000000-0000-0000-0000-000000000007", "value": "1.50", '
        '"content": "(2 bytes, binary)", "note": null}'
    )
