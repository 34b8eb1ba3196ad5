"""PostgreSQL: its cluster, its settings and the schema of the service."""

import asyncio
import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import asyncpg

from environments.local import binaries, database_faults
from environments.local.errors import LocalError
from environments.local.layout import Layout
from environments.local.process import (
    Program,
    accepts,
    bound_to_parent,
    start_listening,
    start_on,
    until,
)

DATABASE = "metrics"
OWNER = "postgres"
SERVICE_ROLE = "metrics_service"
OBSERVER_ROLE = "metrics_observer"
_START_SECONDS = 60.0  # recovery after a kill may take a while
_END_SECONDS = 30.0  # at an immediate shutdown, the server gives its own processes 5 s
_HERE = Path(__file__).parent

# The database is for measurements, not for storage. Its durability is that of production, with one
# exception: a commit does not wait for the disk. A crash of PostgreSQL or of the machine may lose
# the last commits; a restart loses nothing. A fault changes this setting while the server runs.
# Therefore it is in the cluster's file, which each start writes again. The other settings are on
# the command line.
_CHANGEABLE = "synchronous_commit = off\n"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": ".",  # the cluster's directory
    "max_connections": "300",
    "shared_buffers": "64MB",  # the kernel cannot reclaim this memory
    "effective_cache_size": "2GB",
    "work_mem": "8MB",
    "wal_level": "minimal",  # bulk loads into tables emptied in the same transaction need no log
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",  # the queries are short; compiling them would cost more than running them
    "timezone": "UTC",
    "shared_preload_libraries": "pg_stat_statements",
    "track_io_timing": "on",
    "pg_stat_statements.track": "all",  # includes queries inside the service's functions
    # After autovacuum has processed a table, every connection must plan its queries again.
    "autovacuum_naptime": "60s",
    "wal_init_zero": "off",  # a new log file need not be filled with zeros first
    "update_process_title": "off",
    "log_min_messages": "warning",
    # The log goes to a file of the environment, for later diagnosis.
    "log_lock_waits": "on",
    "log_line_prefix": "%m [%p] ",
}


def version(programs: Path) -> str:
    """The server's major version, which is part of its data directory's name."""
    output = subprocess.run(
        [programs / "postgres", "--version"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"(\d+)", output)
    if found is None:
        raise LocalError(f"unreadable version of PostgreSQL: {output.strip()!r}")
    return found[1]


def dsn(port: int, user: str, secret: str, database: str = DATABASE) -> str:
    """The connection URL of a database."""
    return f"postgresql://{user}:{secret}@127.0.0.1:{port}/{database}"


def service_dsn(port: int, secret: str) -> str:
    """The connection URL for a process of the service, whose working directory is the cluster.

    A Unix socket reduces the cost of each query on both sides. The length of this path is constant.
    """
    return f"postgresql://{SERVICE_ROLE}:{secret}@/{DATABASE}?host=/proc/self/cwd&port={port}"


def cluster(layout: Layout) -> Path:
    """The directory of the database's files."""
    return layout.directory / f"postgres-{version(binaries.postgres())}"


async def start(layout: Layout) -> tuple[Program, int]:
    """Start PostgreSQL on the environment's cluster, created on first use. Raises LocalError."""
    programs = binaries.postgres()
    files = cluster(layout)
    if not (files / "PG_VERSION").exists():
        _make_cluster(programs, files, layout)
    # The lock proves that no other supervisor runs. The server of a killed supervisor ends after a
    # moment. Until then, its files and its shared memory are in use.
    with suppress(TimeoutError):
        await until(lambda: not _is_served(files), _END_SECONDS)
    (files / "postmaster.pid").unlink(missing_ok=True)
    (files / "postgresql.auto.conf").write_text(_CHANGEABLE)

    def make(port: int) -> Program:
        settings = [f"-c{name}={value}" for name, value in {**_SETTINGS, "port": str(port)}.items()]
        return Program(
            "postgres",
            [str(programs / "postgres"), "-D", str(files), *settings],
            layout.logs / "postgres.log",
            layout.directory,
            death_signal=signal.SIGQUIT,  # ends its children and frees its shared memory
            stop_signal=signal.SIGINT,  # disconnects all clients and shuts down cleanly
            ordinary=_is_root(),
        )

    return await start_listening(make, _readiness(layout), _START_SECONDS)


def _is_served(files: Path) -> bool:
    """Whether the server that `postmaster.pid` names is running.

    Another process may have its process id by now, so the command line must contain `files`.
    """
    try:
        pid = (files / "postmaster.pid").read_text().split()[0]
        return os.fsencode(files) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False


async def restart(layout: Layout, program: Program, port: int, seconds: float) -> None:
    """Restart PostgreSQL on the same port after `seconds`; this disconnects all clients.

    Raises LocalError.
    """
    await program.stop(grace=10.0)
    await asyncio.sleep(seconds)
    await start_on(program, port, _readiness(layout), _START_SECONDS)
    if not program.is_alive:
        raise LocalError(f"PostgreSQL does not start again: {program.last_log_line()}")


def _readiness(layout: Layout) -> Callable[[int], Awaitable[bool]]:
    async def is_ready(port: int) -> bool:
        if not await accepts(port):
            return False
        try:
            connection = await asyncpg.connect(dsn(port, OWNER, layout.secret(), "postgres"), ssl=False)
        except (OSError, asyncpg.PostgresError):
            return False  # it refuses connections during startup
        await connection.close()
        return True

    return is_ready


async def prepare(port: int, secret: str) -> None:
    """Create the missing database, roles and schema; update the queries.

    A database with another version of the schema or of the seeded data is dropped, because its
    content can be generated again.
    """
    source = "".join((_HERE / name).read_text() for name in ("schema.sql", "seed.py", "dataset.py"))
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    connection = await asyncpg.connect(dsn(port, OWNER, secret, "postgres"), ssl=False)
    try:
        for role in (SERVICE_ROLE, OBSERVER_ROLE):
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
                await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{secret}'")
        created_from = await connection.fetchval(
            "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = $1",
            DATABASE,
        )
        if created_from != digest:
            await connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(dsn(port, OWNER, secret), ssl=False)
    try:
        if created_from != digest:
            async with connection.transaction():
                await connection.execute((_HERE / "schema.sql").read_text())
                await connection.execute(f"COMMENT ON DATABASE {DATABASE} IS '{digest}'")
        await connection.execute((_HERE / "queries.sql").read_text())
        await database_faults.restore(connection)
    finally:
        await connection.close()


def _make_cluster(programs: Path, files: Path, layout: Layout) -> None:
    draft = files.with_name(files.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    password = layout.directory / "password.draft"
    password.touch(mode=0o600)
    password.write_text(layout.secret())
    options = [
        "-U",
        OWNER,
        "-E",
        "UTF8",
        "--no-locale",
        "-A",
        "password",
        "--no-sync",
        f"--pwfile={password}",
    ]
    try:
        done = subprocess.run(
            [programs / "initdb", "-D", draft, *options],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=bound_to_parent(ordinary=_is_root()),
        )
    except subprocess.SubprocessError as error:
        raise LocalError(
            "PostgreSQL does not run as root and this machine allows no user namespace: run as an ordinary user"
        ) from error
    finally:
        password.unlink()
    if done.returncode != 0:
        raise LocalError(f"initdb failed: {(done.stderr.strip() or 'no output').splitlines()[-1]}")
    draft.rename(files)


def _is_root() -> bool:
    return os.geteuid() == 0
