"""The loads of a database: inserts, analysts, a noisy tenant, and how many records there must be."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from loadkit import grammar
from loadkit.environment import preflight
from loadkit.environment.environment import Environment, ResolvedEnvironment, load
from loadkit.environment.preflight import NotReadyError
from loadkit.environment.records import Records
from loadkit.errors import ConfigurationError, LoadkitError, PhraseError
from loadkit.planning.draft import Draft
from loadkit.planning.plan import plan as planned
from loadkit.target import Account, Address, DatabaseUse, Secret, Target
from loadkit.users.accounts import AccountKind, AccountPool, demand
from loadkit.users.discovery import find
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Model
from tests.postgres_server import PostgresServer, postgres

__all__ = ["postgres"]

ROOT = Path(__file__).parent.parent
LOCAL = load("local", ROOT)
JOURNEYS = find("steps.journeys", ROOT)


def plan_from(*statements) -> Plan:
    draft = Draft()
    for name, *arguments in statements:
        getattr(draft, name)(*arguments)
    return planned(draft, LOCAL, JOURNEYS)


def test_inserts_arrive_one_record_each_unless_a_batch_is_stated() -> None:
    (single,) = plan_from(("insert", 1100, 1)).populations
    assert (single.name, single.workload.model, single.workload.peak, single.records) == (
        "inserts", Model.REQUESTS, 1100, 1,
    )  # fmt: skip
    (batched,) = plan_from(("insert", 1100, 50)).populations
    assert (batched.workload.peak, batched.records) == (22, 50)
    assert batched.workload.mix[0].arguments == (("batch", "50"),)
    assert batched.in_words == "22 inserts per second, 1,100 records per second"


def test_inserts_and_analysts_are_two_populations_that_share_their_time() -> None:
    plan = plan_from(("insert", 1100, 1), ("hold_for", 300), ("analyse", 50, 1e7))
    assert [each.name for each in plan.populations] == ["inserts", "analysts"]
    assert plan.in_words == "1100 inserts per second + 50 analysts querying 10,000,000 records"
    assert plan.records_needed == 1e7
    assert {each.workload.seconds for each in plan.populations} == {plan.seconds}
    assert plan.population("analysts").workload.mix[0].journey == "steps.journeys.database:query"


def test_a_number_of_records_is_read_in_words_and_digits() -> None:
    read = [
        grammar.read("records", text)
        for text in ("10 million", "1,000,000", "2.5 thousand", "1 billion", "500")
    ]
    assert read == [1e7, 1e6, 2500, 1e9, 500]


def test_a_noisy_tenant_adds_what_is_beyond_its_usual_share() -> None:
    plan = plan_from(("load", Model.CLOSED, 200), ("send_more", "globex", 10))
    noisy = plan.population("globex users")
    assert noisy.tenant == "globex"
    assert noisy.workload.peak == round(9 * 0.11 * 200)
    assert noisy.workload.mix == plan.workload.mix


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([("insert", 0, 1)], "expected such as 1100 metric inserts per second"),
        ([("insert", 10, 0)], "expected such as in batches of 50"),
        ([("send_more", "globex", 10)], "state one before, such as 100 concurrent users"),
        ([("load", Model.CLOSED, 10), ("send_more", "globex", 1)], "expected more than 1"),
        ([("load", Model.CLOSED, 10), ("send_more", "nobody", 2)], 'no tenant "nobody" in environments/local.toml; there are: acme, globex'),
        ([("insert", 1, 1), ("insert", 2, 1)], "a load of inserts was stated before"),
    ],
)  # fmt: skip
def test_a_load_that_cannot_be_is_refused_with_an_example(statements, words: str) -> None:
    with pytest.raises((PhraseError, ConfigurationError), match=re.escape(words)):
        plan_from(*statements)


def test_the_users_of_a_tenant_have_its_accounts_and_the_others_have_the_rest() -> None:
    accounts = tuple(Account(f"u{n}", Secret(""), "globex" if n % 2 else "acme", "member") for n in range(10))
    ours, any_tenant = AccountKind("", "globex"), AccountKind()
    pool = AccountPool(Target("t", "http://x", accounts=accounts), {any_tenant: 4, ours: 3})
    assert [pool.account(ours, place).username for place in range(3)] == ["u9", "u7", "u5"]
    assert [pool.account(any_tenant, place).username for place in range(4)] == ["u0", "u1", "u2", "u3"]
    assert [pool.account(any_tenant, place).tenant for place in range(7)].count("globex") == 2
    with pytest.raises(
        ConfigurationError, match=r"9 users need accounts of tenant globex of their own, .* names 5"
    ):
        pool.require({ours: 9})
    noisy = plan_from(("load", Model.CLOSED, 20), ("send_more", "globex", 10)).population("globex users")
    assert demand(noisy.workload, [ours] * len(noisy.workload.mix)) == {ours: 20}


def resolved(**database) -> ResolvedEnvironment:
    assert LOCAL.settings.database is not None
    settings = replace(LOCAL.settings, database=replace(LOCAL.settings.database, **database))
    target = Target("local", "http://127.0.0.1:1", database=Address("postgresql://x:SECRET@127.0.0.1:1/x"))
    return ResolvedEnvironment(Environment(ROOT, LOCAL.file, settings), {}, target, "", None)


def checked(monkeypatch: pytest.MonkeyPatch, found: Records | None, **database):
    if found is not None:
        monkeypatch.setattr(preflight, "count_records", lambda *_, **__: found)
    return preflight._records(plan_from(("analyse", 50, 1e7)), resolved(**database))


def test_too_few_records_are_not_judged_and_the_command_that_makes_them_is_told(monkeypatch) -> None:
    (check,) = checked(monkeypatch, Records(9_999_999, is_exact=True))
    with pytest.raises(NotReadyError) as caught:
        preflight.ready(lambda: (check,))
    assert str(caught.value) == (
        "not ready to judge: records in metric_events: 9,999,999, expected at least 10,000,000; "
        "make them: loadkit env seed local --events 10000000"
    )
    (enough,) = checked(monkeypatch, Records(10_000_000, is_exact=False))
    assert enough.holds
    assert str(enough) == "records in metric_events: about 10,000,000"


def test_records_that_cannot_be_counted_are_not_judged(monkeypatch) -> None:
    (unreachable,) = checked(monkeypatch, None)
    assert not unreachable.holds
    assert "cannot count the rows of metric_events in postgresql://***@127.0.0.1:1/x: " in str(unreachable)
    (unnamed,) = checked(monkeypatch, None, records="")
    assert not unnamed.holds
    assert 'such as [database] records = "metric_events"' in str(unnamed)


def test_records_are_counted_exactly_by_a_role_that_sees_all_and_estimated_by_another(
    postgres: PostgresServer,
) -> None:
    import asyncio

    from loadkit.environment.records import count_records

    assert count_records(Address(postgres.dsn("auditor")), "item", sees_all=True) == Records(
        1000, is_exact=True
    )
    asyncio.run(postgres.execute("ANALYZE item"))
    assert count_records(Address(postgres.dsn()), "item", sees_all=False) == Records(1000, is_exact=False)


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("postgresql://shop:SECRET@db.example.com/shop", r"database.dsn: postgresql://\*\*\*@db.example.com/shop is another machine, and load is not allowed; expected load_allowed = true"),
        ("mysql://shop:SECRET@localhost/shop", "it is not an address with postgresql:// and a host; expected such as dsn = "),
        ("host=localhost password=SECRET", "it is not an address with postgresql:// and a host; expected such as dsn = "),
        ("postgresql:///shop", "it is not an address with postgresql:// and a host; expected such as dsn = "),
        ("env:NOT_SET_IN_TEST", "the environment variable NOT_SET_IN_TEST is not set; expected such as export NOT_SET_IN_TEST="),
    ],
)  # fmt: skip
def test_a_database_that_may_not_be_used_is_one_line_without_its_password(
    tmp_path, dsn: str, words: str
) -> None:
    (tmp_path / "environments").mkdir()
    text = f'base = "http://127.0.0.1:1"\n[database]\ndsn = "{dsn}"\n'
    (tmp_path / "environments" / "here.toml").write_text(text)
    with pytest.raises(LoadkitError, match=words) as caught:
        load("here", tmp_path).target({})
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_of_this_machine_needs_no_permission_and_its_use_is_in_the_target(tmp_path) -> None:
    (tmp_path / "environments").mkdir()
    file = tmp_path / "environments" / "here.toml"
    for dsn in ("postgresql://shop@localhost:5433/shop", "postgresql://shop@/shop?host=/run/postgresql"):
        file.write_text(
            f'base = "http://127.0.0.1:1"\n[database]\ndsn = "{dsn}"\nretries = 2\ntenant = "app.tenant"\n'
        )
        target = load("here", tmp_path).target({})
        assert target.database.reveal() == dsn
        assert target.database_use == DatabaseUse(tenant="app.tenant", retries=2)
