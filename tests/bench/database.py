"""What rows and queries cost with the driver of PostgreSQL, beside psql, pgbench and plain asyncpg.

All use one server of the benchmark's own, which flushes nothing to the disk: so the disk's speed, which drifts, is in
no figure. The kinds take turns for several rounds.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, Self

import asyncpg
import numpy as np
import uvloop

from environments.local import binaries
from loadkit.clock import Clock
from loadkit.engine.worker import Shard, run_shard
from loadkit.recording.histogram import quantile_of
from loadkit.recording.recorder import Report
from loadkit.recording.slices import Kind, SliceTable, label_series, worker_series
from loadkit.recording.timing import QUERY
from loadkit.target import Address, DatabaseUse, Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.bench.journeys import STORE
from tests.bench.paper import medians, row
from tests.database_user import Visit
from tests.postgres_server import PASSWORD, PostgresServer, postgres_server

__all__ = ["costs", "database_table", "latencies", "pgbench_log"]

COPIED = 200_000
"""Rows of one COPY."""
BATCH, WRITERS = 100, 8
"""Rows of one insert, and connections that insert beside each other."""
RATES = (500, 1000)
"""Statements per second of the open schedules."""
_CONNECTIONS = 20
_LEAD = 2.0
"""Seconds for the worker's process to start."""
_SETTLED = 2.0
"""Seconds at the start of an open schedule that do not count: connections are made."""
_BURSTS, _QUERIES = 20, 300
"""Bursts of queries of each kind, and queries of one burst."""
QUANTILES = (0.5, 0.95, 0.99)
_SCHEMA = f"""
CREATE TABLE sink (id bigint GENERATED ALWAYS AS IDENTITY, amount integer, note text);
CREATE TABLE facts AS SELECT n AS id, n % 97 AS amount, 'fact ' || n AS name FROM generate_series(1, 20000) n;
CREATE UNIQUE INDEX ON facts (id);
GRANT ALL ON sink, facts TO shop;
ANALYZE facts;
-- A batch of {BATCH} rows in one statement.
"""
_COPY_COLUMNS = ("amount", "note")
_INSERT = (
    f"INSERT INTO sink (amount, note) SELECT {{}} + n, 'a row of a batch' FROM generate_series(1, {BATCH}) n"
)
STATEMENTS = {
    "a primary key": "SELECT id, amount, name FROM facts WHERE id = $1",
    "a sum that takes a millisecond": "SELECT count(*), sum(amount) FROM facts WHERE id > $1",
}
_AIM = 1.15
"""At most so many times the time of plain asyncpg."""


class Latency(NamedTuple):
    """How late statements of an open schedule were sent, and how long they took from when they were due, in seconds."""

    lag: Mapping[float, float]
    """By quantile."""
    response: Mapping[float, float]


def costs(folder: Path, *, rounds: int, seconds: int) -> dict[str, Any]:
    """Rows by COPY and by batches, queries, and open schedules.

    Args:
        folder: a folder for the server and for logs.
        rounds: how often each kind is measured.
        seconds: of each open schedule and of the batches.

    """
    with postgres_server(folder) as server:
        asyncio.run(server.execute(_SCHEMA))
        copied = [
            {"kind": kind, "rows_per_second": COPIED / _in_turn(server, copy)}
            for _ in range(rounds)
            for kind, copy in (("loadkit", _copy_by_driver(server)), ("psql", _copy_by_psql(server, folder)))
        ]
        _show("COPY", copied)
        batched = [
            {"kind": kind, "rows_per_second": insert(server, seconds)}
            for _ in range(rounds)
            for kind, insert in (("loadkit", _insert_by_driver), ("pgbench", _insert_by_pgbench))
        ]
        _show(f"batches of {BATCH} rows", batched)
        queries = [
            {"query": name, **found} for name, sql in STATEMENTS.items() for found in _overheads(server, sql)
        ]
        open_schedules = [
            {"kind": kind, "rate": rate, "lag": found.lag, "response": found.response}
            for _ in range(rounds)
            for rate in RATES
            for kind, found in (
                ("loadkit", _open_by_loadkit(server, rate, seconds)),
                ("pgbench -R", _open_by_pgbench(server, rate, seconds, folder)),
            )
        ]
    return {"copied": copied, "batched": batched, "queries": queries, "open": open_schedules}


def _show(what: str, found: Iterable[Mapping[str, Any]]) -> None:
    for kind, rate in medians(found, "kind", "rows_per_second").items():
        print(f"{what:<24}{kind:<12}{rate:12,.0f} rows per second", flush=True)


def _in_turn(server: PostgresServer, copy: Callable[[], None]) -> float:
    """Seconds that a copy into the empty table takes."""
    asyncio.run(server.execute("TRUNCATE sink"))
    begun = time.perf_counter()
    copy()
    return time.perf_counter() - begun


def _rows() -> list[tuple[int, str]]:
    return [(number, f"row {number} of the benchmark") for number in range(COPIED)]


def _copy_by_driver(server: PostgresServer) -> Callable[[], None]:
    rows = _rows()

    async def copy(visit: Visit) -> None:
        await visit.db.copy("sink", _COPY_COLUMNS, rows)

    return lambda: _visiting(server, copy)


def _copy_by_psql(server: PostgresServer, folder: Path) -> Callable[[], None]:
    file = folder / "rows.csv"
    file.write_text("".join(f"{number},{note}\n" for number, note in _rows()))
    command = rf"\copy sink ({', '.join(_COPY_COLUMNS)}) FROM '{file}' WITH (FORMAT csv)"
    return lambda: _run(server, "psql", "-q", "-X", "-c", command)


def _insert_by_driver(server: PostgresServer, seconds: int) -> float:
    """Rows per second of so many users, each of whom sends a batch after the other."""
    sent = 0

    async def insert(visit: Visit) -> None:
        nonlocal sent
        end = time.perf_counter() + seconds
        sql = _INSERT.format("$1::integer")

        async def write(number: int) -> None:
            nonlocal sent
            db = (visit.user if not number else visit.add_user()).db
            while time.perf_counter() < end:
                await db.execute(sql, number, label="batch")
                sent += 1
                visit.recorder.count_full_chunks()

        await asyncio.gather(*map(write, range(WRITERS)))

    _visiting(server, insert)
    return sent * BATCH / seconds


def _insert_by_pgbench(server: PostgresServer, seconds: int) -> float:
    script = server.directory / "batch.sql"
    script.write_text(r"\set k random(1, 100000)" + f"\n{_INSERT.format(':k')};\n")
    output = _run(
        server, "pgbench", "-n", "-M", "prepared", f"-c{WRITERS}", "-j1", f"-T{seconds}", f"-f{script}"
    )
    return transactions_per_second(output) * BATCH


def transactions_per_second(output: str) -> float:
    """What pgbench reports, without the time that its connections took."""
    (line,) = [each for each in output.splitlines() if each.startswith("tps = ")]
    return float(line.split()[2])


def _overheads(server: PostgresServer, sql: str) -> list[dict[str, Any]]:
    """Microseconds of CPU and of time for one query, of each way to send it: medians of short bursts in turn."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_overheads_of(server.dsn(), sql))


async def _overheads_of(dsn: str, sql: str) -> list[dict[str, Any]]:
    plain = await asyncpg.connect(dsn)
    visits = {"loadkit": Visit(dsn, setting=""), "loadkit, with a tenant": Visit(dsn)}

    async def by_asyncpg(number: int) -> None:
        await plain.fetch(sql, number)

    async def by_transaction(number: int) -> None:
        async with plain.transaction():
            await plain.execute("SELECT set_config('app.tenant', $1, true)", "3")
            await plain.fetch(sql, number)

    def by_user(visit: Visit) -> Callable[[int], Awaitable[object]]:
        return lambda number: visit.db.fetch(sql, number, label="one")

    ways: dict[str, Callable[[int], Awaitable[object]]] = {
        "asyncpg": by_asyncpg,
        "asyncpg, transaction and tenant": by_transaction,
        **{name: by_user(visit) for name, visit in visits.items()},
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(_BURSTS):
        for name, ask in _alternately(list(ways.items()), turn):
            begun = time.process_time(), time.perf_counter()
            for number in range(_QUERIES):
                await ask(number)
            ended = time.process_time(), time.perf_counter()
            found[name].append(tuple((b - a) / _QUERIES * 1e6 for a, b in zip(begun, ended, strict=True)))
            for visit in visits.values():
                visit.recorder.count_full_chunks()
    for visit in visits.values():
        await visit.finish()
    await plain.close()
    return [
        {
            "way": name,
            "cpu_us": statistics.median(each[0] for each in bursts[1:]),
            "us": statistics.median(each[1] for each in bursts[1:]),
        }
        for name, bursts in found.items()
    ]


def _alternately(several: Sequence[Any], turn: int) -> Iterator[Any]:
    return iter(several) if turn % 2 == 0 else reversed(several)


def _open_by_loadkit(server: PostgresServer, rate: int, seconds: int) -> Latency:
    """An open schedule of one worker, in a process of its own as in a run."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(_open_load, server.dsn(), rate, seconds, time.time() + _LEAD).result()


class _Kept:
    """The endpoint of a worker that keeps what it reports (`loadkit.engine.channel.Endpoint`)."""

    def __init__(self) -> None:
        self.tables: list[SliceTable] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, report: Report) -> bool:
        self.tables.append(report.table)
        return True

    def clock_offset(self, _: Clock) -> float:
        return 0.0


def _open_load(dsn: str, rate: int, seconds: int, start: float) -> Latency:
    workload = Workload(
        Model.REQUESTS, (Stage(0, rate), Stage(seconds, rate)), (MixEntry("tests.bench.journeys:store", 1.0),)
    )
    target = Target(
        "bench", "http://127.0.0.1:1", database=Address(dsn), database_use=DatabaseUse(pool=_CONNECTIONS)
    )
    kept = _Kept()
    run_shard(
        Plan.of("bench", workload, cache="as it is"), Shard(0, 1, target, "bench", Path.cwd()), start, kept
    )
    whole = SliceTable()
    whole.add(*kept.tables)

    def quantiles(kind: Kind, series: str) -> dict[float, float]:
        (histogram,) = whole.histograms(kind, [series], int(_SETTLED), seconds).values()
        return {each: quantile_of(histogram, each) or 0.0 for each in QUANTILES}

    return Latency(
        quantiles(Kind.LATENESS, worker_series(0)), quantiles(Kind.RESPONSE, label_series("store", QUERY))
    )


def _open_by_pgbench(server: PostgresServer, rate: int, seconds: int, folder: Path) -> Latency:
    script = folder / "store.sql"
    script.write_text(r"\set k random(0, 99999)" + f"\n{STORE.replace('$1', ':k')};\n")
    prefix = folder / "pgbench"
    for old in folder.glob("pgbench.*"):
        old.unlink()
    _run(
        server, "pgbench", "-n", "-M", "prepared", f"-c{_CONNECTIONS}", "-j1", f"-T{seconds}", f"-R{rate}",
        f"-f{script}", "--log", f"--log-prefix={prefix}",
    )  # fmt: skip
    (log,) = folder.glob("pgbench.*")
    return latencies(pgbench_log(log.read_text()))


class Transaction(NamedTuple):
    """A line of pgbench's log, times in seconds."""

    ended: float
    """Unix time."""
    response: float
    """From when it was due."""
    lag: float


def pgbench_log(text: str) -> list[Transaction]:
    """The transactions of a log of ``pgbench -R --log``.

    A line has the client, its number, the time since it was due, the script, the second and microsecond of its end, and
    how late it was sent; times in microseconds.
    """
    found = []
    for line in text.splitlines():
        _, _, took, _, second, micro, lag = line.split()[:7]
        found.append(Transaction(int(second) + int(micro) / 1e6, int(took) / 1e6, int(lag) / 1e6))
    return found


def latencies(transactions: Sequence[Transaction]) -> Latency:
    """Of those that were due when the schedule had settled."""
    begun = min(each.ended - each.response for each in transactions)
    settled = [each for each in transactions if each.ended - each.response >= begun + _SETTLED]
    lag, response = (
        dict(zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True))
        for values in ([each.lag for each in settled], [each.response for each in settled])
    )
    return Latency(lag, response)


def _run(server: PostgresServer, program: str, *arguments: str) -> str:
    """Run a program of PostgreSQL as the role of the benchmark; its output.

    Raises:
        SystemExit: it is missing, or it failed.

    """
    path = binaries.postgres() / program
    if not path.exists():
        raise SystemExit(
            f"the part database needs {program} beside {path.parent}/postgres; on Debian: apt-get install postgresql"
        )
    told = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": "shop",
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": "postgres",
    }
    done = subprocess.run(
        [path, *arguments], capture_output=True, text=True, env={**os.environ, **told}, check=False
    )
    if done.returncode:
        raise SystemExit(f"{program} failed: {done.stderr.strip()}")
    return done.stdout


def _visiting(server: PostgresServer, use: Callable[[Visit], Awaitable[None]]) -> None:
    """Let users do something with the driver, on the loop of a worker."""

    async def main() -> None:
        visit = Visit(server.dsn(), setting="", timeout=600.0)
        await visit.driver.open()
        try:
            await use(visit)
        finally:
            await visit.finish()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def database_table(figures: Mapping[str, Any]) -> list[str]:
    """Markdown: rows per second, the cost of a query, and the open schedules."""
    lines = [row("rows per second", "loadkit", "other tool", "loadkit is"), "|---|---:|---:|---:|"]
    for what, key, other in (
        (f"COPY of {COPIED:,} rows", "copied", "psql"),
        (f"inserts of {BATCH} rows, {WRITERS} connections", "batched", "pgbench"),
    ):
        rates = medians(figures[key], "kind", "rows_per_second")
        lines.append(
            row(
                what,
                f"{rates['loadkit']:,.0f}",
                f"{other}: {rates[other]:,.0f}",
                f"{rates['loadkit'] / rates[other]:.2f} ×",
            )
        )
    lines += [
        "",
        row("one query", "µs", "relative to asyncpg", "µs of CPU", "relative to asyncpg", "target"),
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, ways in itertools.groupby(figures["queries"], key=lambda found: found["query"]):
        by_way = {found["way"]: found for found in ways}
        for way, base in (
            ("loadkit", "asyncpg"),
            ("loadkit, with a tenant", "asyncpg, transaction and tenant"),
        ):
            ours, theirs = by_way[way], by_way[base]
            lines += [
                row(f"{name}: {base}", f"{theirs['us']:.0f}", "", f"{theirs['cpu_us']:.0f}", "", ""),
                row(
                    f"{name}: {way}", f"{ours['us']:.0f}", f"{ours['us'] / theirs['us']:.2f} ×",
                    f"{ours['cpu_us']:.0f}", f"{ours['cpu_us'] / theirs['cpu_us']:.2f} ×", f"{_AIM:g} ×",
                ),
            ]  # fmt: skip
    names = [f"p{100 * each:g}" for each in QUANTILES]
    lines += [
        "",
        row("open schedule", *(f"lag, {name}" for name in names), *(f"response, {name}" for name in names)),
        "|---|" + "---:|" * (2 * len(names)),
    ]
    for (rate, kind), found in _by(figures["open"], "rate", "kind").items():
        cells = [
            f"{statistics.median(_value(each[what], quantile) for each in found) * 1e3:.2f} ms"
            for what in ("lag", "response")
            for quantile in QUANTILES
        ]
        lines.append(row(f"{rate} per second: {kind}", *cells))
    return [*lines, ""]


def _value(by_quantile: Mapping[Any, float], quantile: float) -> float:
    return by_quantile[quantile]


def _by(rows: Iterable[Mapping[str, Any]], *keys: str) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for each in rows:
        found.setdefault(tuple(each[key] for key in keys), []).append(each)
    return found
