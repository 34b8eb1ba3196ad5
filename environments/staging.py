"""`python -m environments.staging VERB`: a control command that seeds a shared environment.

The seeded rows belong to separate tenants, so seeding neither changes nor removes other rows. The
service must have the tables of the reference service. The environment variable
STAGING_DATABASE_OWNER contains the address of the database. Row-level security must not apply to
the role in this address.

Every verb prints one JSON object as the last line of its output. Progress messages go to standard
error. The exit code is 0, or 2 with a one-line reason.
"""

import argparse
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from environments.local import dataset
from environments.local import seed as seeding
from environments.local.clean import remove_run
from environments.local.command import execute, say, verbs_of
from environments.local.errors import LocalError
from environments.local.layout import PROJECT, write_json
from environments.local.service.tokens import hash_password, password_matches

_VARIABLE = "STAGING_DATABASE_OWNER"
_MARK = "seed-"
"""The prefix of the tenants' names, and of the run ids of all seeded rows."""
_TABLES = (
    "metric_events",
    "sessions",
    "idempotency_keys",
    "widgets",
    "dashboards",
    "rollup_pending",
    "rollup",
    "users",
)
"""The tables with rows of tenants, in an order in which their rows can be deleted."""
_BYTES_PER_EVENT = 300
"""Size in the database: the row, its index entries and its share of a session (measured: 293)."""
_LOG_BYTES_PER_EVENT = 400
"""Size in the write-ahead log (measured: 378, with wal_level = minimal)."""

# The service's refresh of the sums takes the same lock. It skips its turn while the lock is held.
_HOLD_SUMS = "SELECT pg_advisory_xact_lock(hashtext('api.refresh_rollup'))"
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('environments.staging'))"
# The admins of a run may create tenants below a seeded tenant. Those are removed with it.
_TENANTS_OF = """
    WITH RECURSIVE own AS (
        SELECT id FROM tenants WHERE run_id = $1 AND parent_id IS NULL
        UNION SELECT t.id FROM tenants t JOIN own ON t.parent_id = own.id
    ) SELECT coalesce(array_agg(id), '{}') FROM own
"""
_SEEDINGS = """
    SELECT run_id AS run, min(created_at) > now() - interval '7 days' AS is_fresh
    FROM tenants WHERE run_id LIKE 'seed-%' AND parent_id IS NULL GROUP BY run_id
"""


def accounts_file() -> Path:
    """The file of the seeded accounts, in METRICS_STAGING_DIR or, by default, `.cache/staging`."""
    directory = Path(os.environ.get("METRICS_STAGING_DIR") or PROJECT / ".cache" / "staging").resolve()
    directory.mkdir(parents=True, exist_ok=True)
    return directory / "accounts.json"


@contextlib.asynccontextmanager
async def _database() -> AsyncIterator[Any]:
    """Yield a connection. Its errors become a LocalError of one line, without the address."""
    address = os.environ.get(_VARIABLE)
    if not address:
        raise LocalError(f"{_VARIABLE} is not set: expected an address such as {_EXAMPLE}")
    try:
        connection = await asyncpg.connect(address)
    except (OSError, asyncpg.PostgresError) as error:
        raise LocalError(f"the database of {_VARIABLE} refuses: {_line(error)}") from None
    except (ValueError, asyncpg.InterfaceError):  # their messages may contain parts of the password
        raise LocalError(
            f"{_VARIABLE} is not an address of a database: expected such as {_EXAMPLE}"
        ) from None
    try:
        yield connection
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise LocalError(f"the database of {_VARIABLE}: {_line(error)}") from None
    finally:
        connection.terminate() if connection.is_in_transaction() else await connection.close()


_EXAMPLE = "postgresql://owner:password@db.example.com:5432/metrics"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


async def up(arguments: argparse.Namespace) -> dict[str, Any]:
    """Report the facts; the environment is always up."""
    return await status(arguments)


async def status(_arguments: argparse.Namespace) -> dict[str, Any]:
    """Report the facts: the file of the seeded accounts, if there is one."""
    file = accounts_file()
    return {"up": True, **({"accounts": str(file)} if file.exists() else {})}


async def seed(arguments: argparse.Namespace) -> dict[str, Any]:
    """Create tenants with N events in total; replace the tenants of an earlier seeding."""
    if arguments.events < 1:
        raise LocalError(f"--events {arguments.events}: expected at least 1")
    run = f"{_MARK}{arguments.events}-{arguments.seed}"
    began = time.monotonic()
    async with _database() as connection:
        await _check(connection)
        async with connection.transaction():
            await connection.execute(_ONE_AT_A_TIME)
            earlier = {row["run"]: row["is_fresh"] for row in await connection.fetch(_SEEDINGS)}
            is_new = earlier != {run: True}
            if is_new:
                say(
                    f"seeding: {arguments.events:,} events take about "
                    f"{arguments.events * _BYTES_PER_EVENT / 1e9:.1f} GB on the server, and write about "
                    f"{arguments.events * _LOG_BYTES_PER_EVENT / 1e9:.1f} GB of write-ahead log"
                )
                for each in earlier:
                    say(f"removing {each}")
                    await _remove(connection, each)
                accounts = await _fill(connection, run, arguments.events, arguments.seed)
            elif not await _hold(connection, run):
                accounts = await _renew(connection, arguments.seed)
            else:
                accounts = None
            if is_new:
                say("seeding: collecting statistics")
                await connection.execute("ANALYZE metric_events, sessions, rollup, users")
            if accounts is not None:
                _write(accounts)  # before the commit: rows are useless without their passwords
    seconds = time.monotonic() - began
    if is_new:
        say(f"{arguments.events:,} events in {seconds:.1f} s: {arguments.events / seconds:,.0f} rows/s")
    return {"run": run, "seeded": is_new, "seconds": seconds, "accounts": str(accounts_file())}


async def clean(arguments: argparse.Namespace) -> dict[str, Any]:
    """Remove the rows of a run and of its warm-up, or the tenants of a seeding with their rows."""
    async with _database() as connection:
        await _check(connection)
        async with connection.transaction():
            if arguments.run.startswith(_MARK):
                await connection.execute(_ONE_AT_A_TIME)
                removed = await _remove(connection, arguments.run)
            else:
                removed = await remove_run(connection, arguments.run)
    return {"run": arguments.run, "removed": removed}


async def _check(connection: Any) -> None:
    """Check that the service's tables and metrics exist, and that the role may write all rows.

    Raises LocalError.
    """
    tables = ["tenants", "metrics", *_TABLES]
    missing = await connection.fetchval(
        "SELECT array_agg(name) FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL", tables
    )
    if missing:
        raise LocalError(
            f"the database of {_VARIABLE} has no table {missing[0]}: expected the service's tables"
        )
    limited = await connection.fetchval(
        "SELECT array_agg(name) FROM unnest($1::text[]) AS name WHERE row_security_active(name::regclass)",
        tables,
    )
    if limited:
        raise LocalError(
            f"the role of {_VARIABLE} is subject to row-level security of {limited[0]}: "
            "expected the owner of the tables, or a role with BYPASSRLS"
        )
    unknown = await connection.fetchval(
        "SELECT array_agg(name) FROM unnest($1::text[]) AS name WHERE name NOT IN (SELECT name FROM metrics)",
        [metric[0] for metric in dataset.METRICS],
    )
    if unknown:
        raise LocalError(
            f"the table metrics has no {', '.join(unknown)}: add the names to the catalogue first"
        )


async def _fill(connection: Any, run: str, events: int, number: int) -> list[dict[str, str]]:
    """Create the tenants with all their rows; return the accounts."""
    accounts = _with_passwords(dataset.make_accounts(number))
    ids = dataset.RowIds(
        await _new_ids(connection, "tenants", dataset.TENANTS),
        await _new_ids(connection, "users", dataset.USERS),
        run,
    )
    names = [f"{_MARK}{name}" for name in dataset.TENANT_NAMES]
    tenants = list(zip(ids.tenants, names, strict=True))
    many = dataset.TENANTS * dataset.DASHBOARDS
    dashboards, widgets = dataset.make_dashboards(
        tenants,
        await _new_ids(connection, "dashboards", many),
        await _new_ids(connection, "widgets", many * dataset.WIDGETS),
    )
    users = [
        (user, ids.tenants[a.tenant - 1], a.username, hash_password(a.password), a.role, run)
        for user, a in zip(ids.users, accounts, strict=True)
    ]
    for table, columns, rows in (
        ("tenants", ("id", "name", "run_id"), [(*tenant, run) for tenant in tenants]),
        ("users", ("id", "tenant_id", "username", "password_hash", "role", "run_id"), users),
        ("dashboards", ("id", "tenant_id", "title"), dashboards),
        ("widgets", ("id", "dashboard_id", "tenant_id", "kind", "name"), widgets),
    ):
        await connection.copy_records_to_table(table, records=rows, columns=columns)
    progress = seeding.Progress(events, say, time.monotonic, "the statistics")
    end = seeding.last_hour()
    sums = await seeding.copy_events(connection, events, number, accounts, ids, end, progress)
    await seeding.copy_sums(connection, sums, ids)
    return _facts(accounts)


async def _new_ids(connection: Any, table: str, count: int) -> list[int]:
    """Reserve ids of new rows from the table's sequence."""
    rows = await connection.fetch(
        "SELECT nextval(pg_get_serial_sequence($1, 'id')) FROM generate_series(1, $2::integer)", table, count
    )
    return [row[0] for row in rows]


def _with_passwords(accounts: list[dataset.Account]) -> list[dataset.Account]:
    """The accounts with marked user names, and with random passwords, which others cannot know."""
    return [
        replace(account, username=account.username.replace("@", f"@{_MARK}"), password=secrets.token_hex(12))
        for account in accounts
    ]


def _facts(accounts: list[dataset.Account]) -> list[dict[str, str]]:
    """The accounts with the facts needed to log in."""
    return [
        {
            "username": account.username,
            "password": account.password,
            "tenant": f"{_MARK}{dataset.TENANT_NAMES[account.tenant - 1]}",
            "role": account.role,
        }
        for account in accounts
    ]


def _write(accounts: list[dict[str, str]]) -> None:
    try:
        write_json(accounts_file(), accounts)
    except OSError as error:
        raise LocalError(f"cannot write the accounts to {accounts_file()}: {error.strerror}") from None


async def _hold(connection: Any, run: str) -> bool:
    """Whether the file contains the passwords of all seeded users."""
    try:
        known = {each["username"]: each["password"] for each in json.loads(accounts_file().read_text())}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    rows = await connection.fetch("SELECT username, password_hash FROM users WHERE run_id = $1", run)
    return all(
        row["username"] in known and password_matches(known[row["username"]], row["password_hash"])
        for row in rows
    )


async def _renew(connection: Any, number: int) -> list[dict[str, str]]:
    """Give the seeded users new passwords, because the local file does not contain theirs."""
    accounts = _with_passwords(dataset.make_accounts(number))
    await connection.executemany(
        "UPDATE users SET password_hash = $2 WHERE username = $1",
        [(each.username, hash_password(each.password)) for each in accounts],
    )
    return _facts(accounts)


async def _remove(connection: Any, run: str) -> dict[str, int]:
    """Remove the tenants of a seeding and all their rows; return the numbers of rows by table."""
    tenants = await connection.fetchval(_TENANTS_OF, run)
    await connection.execute(_HOLD_SUMS)
    removed = {}
    for table in _TABLES:
        statement = f"DELETE FROM {table} WHERE tenant_id = ANY ($1)"  # noqa: S608  the table names are constants
        removed[table] = await connection.execute(statement, tenants)
    removed["tenants"] = await connection.execute("DELETE FROM tenants WHERE id = ANY ($1)", tenants)
    return {table: int(done.split()[1]) for table, done in removed.items()}


def make_parser() -> argparse.ArgumentParser:
    """The verbs and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m environments.staging", description="Seed a shared environment."
    )
    verb = verbs_of(parser)
    verb(up).add_argument("--owner", help=argparse.SUPPRESS)  # a run passes it; nothing to stop
    verb(status)
    filling = verb(seed)
    filling.add_argument("--events", type=int, required=True, metavar="N")
    filling.add_argument("--seed", type=int, default=1, metavar="S")
    verb(clean).add_argument("--run", required=True, metavar="ID")
    return parser


def main() -> int:
    """Execute one verb."""
    arguments = make_parser().parse_args()
    return execute(lambda: arguments.action(arguments))


if __name__ == "__main__":
    sys.exit(main())
