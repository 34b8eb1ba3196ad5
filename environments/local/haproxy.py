"""HAProxy: the load balancer of all instances, configured at run time."""

import asyncio
import os
import resource

from environments.local import binaries
from environments.local.errors import LocalError
from environments.local.layout import Layout, socket_address
from environments.local.process import Program, accepts, free_port, start_listening, start_on

SLOTS = 16  # maximum number of instances
_SOCKET = "haproxy.sock"

# HAProxy checks the health of each instance twice a second, and again soon after a first failure.
# It removes a dead instance within 0.6 s. An instance that only stalls for a second stays.
_CONFIGURATION = """\
global
    nbthread 1  # it shares two cores with all the rest, and needs a fraction of one
    maxconn {connections}
    # The kernel's own buffers grow to megabytes, which would hide a slow WebSocket client for long.
    tune.sndbuf.client 65536
    tune.rcvbuf.server 65536
    stats socket unix@{socket} mode 600 level admin
defaults
    mode http
    timeout connect 1s
    timeout client 75s
    timeout server 60s
    timeout check 2s
    timeout tunnel 2h
    retries 2
    retry-on conn-failure
    option redispatch 1
    http-reuse always
frontend service
    bind 127.0.0.1:{port}
    default_backend instances
frontend exporter
    bind 127.0.0.1:{exporter}
    http-request use-service prometheus-exporter if {{ path /metrics }}
backend instances
    balance roundrobin
    option httpchk GET /healthz
    default-server inter 500ms fastinter 100ms fall 2 rise 1 weight 64
    server-template metrics- 1-{slots} 127.0.0.1:1 check disabled
"""


class Balancer:
    """The running HAProxy."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.port = 0
        self.exporter = 0
        self.program: Program | None = None

    async def start(self) -> None:
        """Start without instances. Raises LocalError."""
        configuration = self._layout.directory / "haproxy.cfg"
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

        def make(port: int) -> Program:
            self.exporter = free_port()
            configuration.write_text(
                _CONFIGURATION.format(
                    connections=max(100, (min(files, 20_000) - 200) // 2),  # one file for each side
                    socket=_SOCKET,
                    port=port,
                    exporter=self.exporter,
                    slots=SLOTS,
                )
            )
            command = [str(binaries.haproxy()), "-db", "-f", str(configuration)]
            return Program("haproxy", command, self._layout.logs / "haproxy.log", self._layout.directory)

        self.program, self.port = await start_listening(make, accepts)

    async def restart(self, seconds: float) -> None:
        """Restart HAProxy on the same ports after `seconds`; this ends all connections.

        It starts without instances. Raises LocalError.
        """
        assert self.program is not None
        await self.program.stop()
        await asyncio.sleep(seconds)
        await start_on(self.program, self.port, accepts)
        if not self.program.is_alive:
            raise LocalError(f"the load balancer does not start again: {self.program.last_log_line()}")

    async def order(self, *commands: str) -> str:
        """Send commands to the runtime API; return the answers. Raises LocalError on refusal."""
        directory = os.open(self._layout.directory, os.O_PATH)
        try:
            address = socket_address(self._layout.directory / _SOCKET, directory)
            reader, writer = await asyncio.open_unix_connection(address)
            writer.write((";".join(commands) + "\n").encode())
            answer = (await reader.read()).decode().strip()
        except OSError as error:
            raise LocalError(f"the load balancer accepts no commands: {error}") from error
        finally:
            os.close(directory)
        writer.close()
        for line in answer.splitlines():
            if line.startswith(("No such", "Unknown", "Require", "Invalid", "'")):
                raise LocalError(f"the load balancer refused {commands!r}: {line}")
        return answer

    async def admit(self, name: str, port: int) -> None:
        """Start sending requests to an instance."""
        server = f"instances/{name}"
        await self.order(
            f"set server {server} addr 127.0.0.1 port {port}",
            f"set server {server} weight 100%",
            f"set server {server} health up",
            f"set server {server} state ready",
        )

    async def drain(self, name: str, seconds: float = 5.0) -> None:
        """Send no new requests to an instance, and wait for its requests in flight."""
        await self.order(f"set server instances/{name} state drain")
        try:
            async with asyncio.timeout(seconds):
                while (await self.sessions()).get(name, 0) > 0:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pass  # connections that stay open, such as streams, are cut
        await self.order(f"set server instances/{name} state maint")

    async def weigh(self, name: str, percent: float) -> None:
        """Set an instance's weight as a percentage of the usual one."""
        await self.order(f"set server instances/{name} weight {percent:g}%")

    async def sessions(self) -> dict[str, int]:
        """Requests in flight by instance."""
        return {row["svname"]: int(row["scur"]) for row in await self._rows()}

    async def health(self) -> dict[str, str]:
        """The health check's state of each instance: UP, DOWN, DRAIN, MAINT."""
        return {row["svname"]: row["status"].split()[0] for row in await self._rows()}

    async def _rows(self) -> list[dict[str, str]]:
        answer = await self.order("show stat instances 4 -1")
        if not answer:  # it was stopped before it answered
            raise LocalError("the load balancer ended before it answered")
        header, *lines = answer.splitlines()
        names = header.removeprefix("# ").split(",")
        return [dict(zip(names, line.split(","), strict=False)) for line in lines]
