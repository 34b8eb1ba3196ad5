"""The same users in plain httpx, on its own transport or on loadkit's."""

import asyncio
import sys
import time

import httpx
import uvloop


async def user(client: httpx.AsyncClient, url: str, until: float) -> None:
    """Ask, read the JSON, check it; again."""
    while time.monotonic() < until:
        answer = await client.get(url)
        assert answer.json()["id"] == 17


async def main(url: str, users: int, seconds: int, transport: str) -> None:
    """All users on one client, as httpx's manual has it."""
    chosen: httpx.AsyncBaseTransport | None = None
    if transport == "loadkit":
        from loadkit.drivers.http.driver import HttpDriver
        from loadkit.drivers.http.httpx_transport import LoadTransport
        from loadkit.target import Target

        driver = HttpDriver(Target("bench", url))
        await driver.open()
        chosen = LoadTransport(driver)
    limits = httpx.Limits(max_connections=users, max_keepalive_connections=users)
    async with httpx.AsyncClient(limits=limits, transport=chosen, timeout=60) as client:
        until = time.monotonic() + seconds
        await asyncio.gather(*(user(client, url, until) for _ in range(users)))


if __name__ == "__main__":
    uvloop.run(main(f"{sys.argv[1]}/", int(sys.argv[2]), int(sys.argv[3]), (sys.argv[4:] or [""])[0]))
