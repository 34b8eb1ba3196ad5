"""The local environment as tests drive it: by its command line, in a directory of their own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

PROJECT = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds to wait for what must happen. A busy machine needs less, so only a failure waits that long."""


class LocalEnvironment:
    """Runs verbs of `python -m environments.local`, and knows its accounts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "environments.local", *arguments],
            cwd=PROJECT,
            env={**os.environ, "METRICS_LOCAL_DIR": str(self.directory)},
            capture_output=True,
            text=True,
            check=False,
        )

    def verb(self, *arguments: str) -> dict:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def client(self, facts: dict) -> httpx.Client:
        return client_of(facts["base"])

    def accounts(self, tenant: str, role: str) -> list[dict[str, str]]:
        accounts = json.loads((self.directory / "accounts.json").read_text())
        return [each for each in accounts if (each["tenant"], each["role"]) == (tenant, role)]

    def log_in(self, client: httpx.Client, tenant: str = "acme", role: str = "admin") -> dict[str, str]:
        account = self.accounts(tenant, role)[0]
        answer = client.post("/api/v1/auth/login", json=account)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def processes(self, facts: dict) -> list[psutil.Process]:
        supervisor = psutil.Process(facts["supervisor"])
        return [supervisor, *supervisor.children(recursive=True)]


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def client_of(base: str) -> httpx.Client:
    """A client of an instance, or of the load balancer."""
    return httpx.Client(base_url=base, timeout=PATIENCE)


def get(url: str, **options: Any) -> httpx.Response:
    """The answer to a request on a connection of its own."""
    return httpx.get(url, timeout=PATIENCE, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """As `get`."""
    return httpx.post(url, timeout=PATIENCE, **options)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEnvironment]:
    local = LocalEnvironment(tmp_path_factory.mktemp("local"))
    local.verb("up", "--owner", str(os.getpid()))
    yield local
    local.verb("down")


@pytest.fixture(scope="module")
def facts(environment: LocalEnvironment) -> dict:
    return environment.verb("status")


@pytest.fixture(scope="module")
def client(environment: LocalEnvironment, facts: dict) -> Iterator[httpx.Client]:
    with environment.client(facts) as client:
        yield client


@pytest.fixture(scope="module")
def admin(environment: LocalEnvironment, client: httpx.Client) -> dict[str, str]:
    return environment.log_in(client)


@pytest.fixture(scope="module")
def stranger(environment: LocalEnvironment, client: httpx.Client) -> dict[str, str]:
    return environment.log_in(client, tenant="globex")


@pytest.fixture
def up(environment: LocalEnvironment) -> dict:
    """The facts of the environment that is up; started anew if the test before ended it."""
    return environment.verb("up", "--owner", str(os.getpid()))


@pytest.fixture
def fault(environment: LocalEnvironment) -> Iterator[Callable[..., dict]]:
    """Switches faults on, and off again at the end."""
    used = set()

    def switch(name: str, turn: str = "on", **parameters: float) -> dict:
        used.add(name)
        settings = [part for key, value in parameters.items() for part in ("--set", f"{key}={value}")]
        return environment.verb("fault", name, turn, *settings)

    yield switch
    for name in used:
        environment.verb("fault", name, "off")


def query(facts: dict, sql: str, *arguments: object, role: str = "database_owner", tenant: object = None):
    """The first value of a query, as a role, and as a tenant if one is named."""

    async def ask():
        connection = await asyncpg.connect(facts[role])
        try:
            async with connection.transaction():
                if tenant is not None:
                    await connection.execute("SELECT set_config('app.tenant', $1, true)", str(tenant))
                return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()

    return asyncio.run(ask())
