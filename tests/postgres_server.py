"""A PostgreSQL server of a test's own: small tables under row-level security, and a service's role."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import pytest

from environments.local import binaries
from environments.local.process import bound_to_parent

PASSWORD = "PASSWORD-OF-DB"
SCHEMA = f"""
CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}';
CREATE ROLE auditor LOGIN PASSWORD '{PASSWORD}' BYPASSRLS;
CREATE TABLE item (id integer PRIMARY KEY, tenant_id integer NOT NULL, name text NOT NULL);
INSERT INTO item SELECT n, n % 5, 'item ' || n FROM generate_series(1, 1000) n;
CREATE TABLE stock (id integer PRIMARY KEY, amount integer NOT NULL);
INSERT INTO stock VALUES (1, 10), (2, 10);
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON item USING (tenant_id = nullif(current_setting('app.tenant', true), '')::integer);
GRANT ALL ON item, stock TO shop;
GRANT SELECT ON item TO auditor;
"""
LOCKED = "SELECT pg_advisory_xact_lock(7)"
"""A query that ends when nobody holds `PostgresServer.lock`."""
_GUARD = 60.0
"""Seconds that a server has to start or to stop."""


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port on loopback that nobody else gets, even while the server that uses it is away."""
    with socket.socket() as bound:
        # Linux lets several sockets with this option have a port while at most one of them listens.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def make_cluster(directory: Path, password: str) -> None:
    """Make the data of a server, whose superuser "postgres" has a password, in `directory`/data."""
    file = directory / "password"
    file.write_text(password)
    subprocess.run(
        [binaries.postgres() / "initdb", "-D", directory / "data", "-U", "postgres", "-A", "password", "--no-sync",
         "-E", "UTF8", "--no-locale", f"--pwfile={file}"],
        check=True, capture_output=True, preexec_fn=bound_to_parent(ordinary=os.geteuid() == 0),
    )  # fmt: skip
    file.unlink()


def start_cluster(directory: Path, port: int, **settings: object) -> "subprocess.Popen[bytes]":
    """Start the server of a directory; it writes to `directory`/log."""
    stated = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
              "deadlock_timeout": "100ms", **settings}  # fmt: skip
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [binaries.postgres() / "postgres", "-D", directory / "data", *(f"-c{name}={value}" for name, value in stated.items())],
            stdout=log, stderr=log,
            # It must apply before the server starts: an aborted test must leave none behind.
            preexec_fn=bound_to_parent(signal.SIGQUIT, ordinary=os.geteuid() == 0),  # noqa: PLW1509
        )  # fmt: skip


class PostgresServer:
    """A server on loopback, in a directory of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, role: str = "shop", password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def log(self) -> str:
        """What the server has written so far."""
        return (self.directory / "log").read_text()

    def make(self) -> None:
        make_cluster(self.directory, PASSWORD)
        self.start()
        asyncio.run(self.execute(SCHEMA))

    def start(self) -> None:
        self._process = start_cluster(self.directory, self.port, max_connections=40)
        last = time.monotonic() + _GUARD
        while time.monotonic() < last and self._process.poll() is None:
            try:
                asyncio.run(self.execute("SELECT 1"))
            except (OSError, asyncpg.PostgresError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError(self.log)

    def stop(self) -> None:
        """End all connections, and the server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(_GUARD)

    async def execute(self, sql: str, *arguments: object) -> list:
        connection = await asyncpg.connect(self.dsn("postgres"), ssl=False)
        try:
            return await connection.fetch(sql, *arguments) if arguments else await connection.execute(sql)
        finally:
            await connection.close()

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Have each `LOCKED` wait while the block runs."""
        connection = await asyncpg.connect(self.dsn("postgres"), ssl=False)
        try:
            await connection.execute("SELECT pg_advisory_lock(7)")
            yield
        finally:
            await connection.close()


@contextmanager
def postgres_server(directory: Path) -> Iterator[PostgresServer]:
    with reserved_port() as port:
        server = PostgresServer(directory, port)
        server.make()
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(server.data)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as server:
        yield server
