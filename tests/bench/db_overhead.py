"""CPU and wall time of a query: plain asyncpg, and `user.db` without and with a tenant.

``python -m tests.bench.db_overhead``: starts a PostgreSQL of its own, takes half a minute. The kinds
alternate in short rounds, so that what else the machine does hits all of them.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg
import uvloop

from tests.database_user import Visit
from tests.postgres_server import postgres_server

_ROUNDS, _QUERIES = 30, 500
_SQL = "SELECT id, name FROM stock_of_names WHERE id = $1"


async def main(dsn: str) -> None:
    """Measure, and print a line for each kind."""
    plain = await asyncpg.connect(dsn)
    visits = {"user.db": Visit(dsn, setting=""), "user.db, tenant": Visit(dsn)}

    async def by_asyncpg() -> None:
        for number in range(_QUERIES):
            await plain.fetch(_SQL, number)

    async def by_transaction() -> None:
        for number in range(_QUERIES):
            async with plain.transaction():
                await plain.execute("SELECT set_config('app.tenant', $1, true)", "3")
                await plain.fetch(_SQL, number)

    def by_user(visit: Visit):
        async def ask() -> None:
            for number in range(_QUERIES):
                await visit.db.fetch(_SQL, number, label="one")
                if number % 100 == 0:
                    visit.recorder.count_full_chunks()

        return ask

    kinds = {"asyncpg": by_asyncpg, "asyncpg, transaction and tenant": by_transaction}
    kinds |= {name: by_user(visit) for name, visit in visits.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(_ROUNDS):
        for name, kind in kinds.items():
            begun = time.process_time(), time.perf_counter()
            await kind()
            ended = time.process_time(), time.perf_counter()
            found[name].append(tuple((b - a) / _QUERIES * 1e6 for a, b in zip(begun, ended, strict=True)))
    base = [statistics.median(each[place] for each in found["asyncpg"]) for place in (0, 1)]
    for name, rounds in found.items():
        cpu, wall = (statistics.median(each[place] for each in rounds) for place in (0, 1))
        print(f"{name:32} {cpu:6.1f} us CPU {wall:7.1f} us wall   x{cpu / base[0]:.2f} x{wall / base[1]:.2f}")
    for visit in visits.values():
        await visit.finish()
    await plain.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, postgres_server(Path(folder)) as server:
        asyncio.run(
            server.execute(
                "CREATE TABLE stock_of_names AS SELECT n AS id, 'name ' || n AS name FROM generate_series(0, 1000) n;"
                "CREATE UNIQUE INDEX ON stock_of_names (id); GRANT SELECT ON stock_of_names TO shop"
            )
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(server.dsn()))
