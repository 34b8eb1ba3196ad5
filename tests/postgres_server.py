"""A PostgreSQL server of a test's own: small tables under row-level security, and a service's role."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class PostgresServer:
    """A server on loopback, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._programs = binaries.postgres()
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, role: str = "shop", password: str = PASSWORD, database: str = "postgres") -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self.port}/{database}"

    def make(self) -> None:
        password = self.directory / "password"
        password.write_text(PASSWORD)
        subprocess.run(
            [self._programs / "initdb", "-D", self.data, "-U", "postgres", "-A", "password", "--no-sync", "-E", "UTF8",
             "--no-locale", f"--pwfile={password}"],
            check=True, capture_output=True, preexec_fn=bound_to_parent(ordinary=os.geteuid() == 0),
        )  # fmt: skip
        password.unlink()
        self.start()
        asyncio.run(self.execute(SCHEMA))

    def start(self) -> None:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                    "max_connections": 40, "deadlock_timeout": "100ms"}  # fmt: skip
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self.data, *(f"-c{name}={value}" for name, value in settings.items())],
                stdout=log, stderr=log, preexec_fn=bound_to_parent(signal.SIGQUIT, ordinary=os.geteuid() == 0),  # noqa: PLW1509
            )  # fmt: skip
        last = time.monotonic() + 30
        while time.monotonic() < last:
            try:
                asyncio.run(self.execute("SELECT 1"))
            except (OSError, asyncpg.PostgresError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.directory / "log").read_text())

    def stop(self) -> None:
        """End all connections, and the server."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)

    async def execute(self, sql: str, *arguments: object) -> list:
        connection = await asyncpg.connect(self.dsn("postgres"), ssl=False)
        try:
            return await connection.fetch(sql, *arguments) if arguments else await connection.execute(sql)
        finally:
            await connection.close()


@contextmanager
def postgres_server(directory: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(directory)
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
