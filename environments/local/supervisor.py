"""The process that starts all parts, monitors them, and stops them when it ends.

The kernel kills every part when this process dies, so no part outlives it.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from environments.local import binaries, control, pgbouncer, postgres, usage, valkey
from environments.local.database_faults import DATABASE_FAULTS, DatabaseFault
from environments.local.errors import LocalError
from environments.local.faults import FAULTS, read_parameters
from environments.local.haproxy import SLOTS, Balancer
from environments.local.instance import Instance
from environments.local.layout import Layout
from environments.local.process import Program, accepts
from environments.local.prometheus import Monitor
from environments.local.rows import count_rows
from environments.local.service.config import VERSION

DEFAULT_EVENTS = 100_000
DEFAULT_SEED = 1
# The maximum number of database connections of an instance. They share two cores, so additional
# connections would only wait for each other.
_POOL_SIZE = 6
_HEALTH_SECONDS = 10.0
"""The longest wait for the load balancer to report the health of the instances."""
_CONNECT_SECONDS = 30.0
"""The longest wait for the connection that counts rows; a stopped database refuses immediately."""


def tell(line: str) -> None:
    """Log progress; the command line shows the log while it waits."""
    print(line, flush=True)


class Supervisor:
    """All parts of the environment."""

    def __init__(self, layout: Layout, *, bouncer: bool = False) -> None:
        """Prepare all parts; `bouncer` adds PgBouncer at the database's public address."""
        self._layout = layout
        self._bouncer_program = binaries.pgbouncer(layout.programs, tell) if bouncer else None
        self._bouncer: Program | None = None
        self._bouncer_port = 0
        self._secret = layout.secret()
        self._postgres: Program | None = None
        self._valkey: Program | None = None
        self._postgres_port = self._valkey_port = 0
        self._balancer = Balancer(layout)
        self._monitor = Monitor(layout, tell)
        self._instances: dict[str, Instance] = {}
        self._faults: dict[str, dict[str, float]] = {}
        self._database_faults: dict[str, DatabaseFault] = {}
        self._thaw: asyncio.Task[None] | None = None
        self._incidents: list[dict[str, Any]] = []
        self._expected_dead: set[str] = set()
        self._busy = asyncio.Lock()

    # Starting and stopping

    async def start(self, instances: int) -> None:
        """Start everything; seed the database if it is empty. Raises LocalError."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._monitor.start())
                group.create_task(self._balancer.start())
                group.create_task(self._start_valkey())
                group.create_task(self._start_postgres())
            self._scrape()
            async with asyncio.TaskGroup() as group:
                for number in range(1, instances + 1):
                    group.create_task(self._add_instance(f"metrics-{number}"))
        except* Exception as errors:
            raise _reason(errors) from None
        tell("up")

    async def _start_valkey(self) -> None:
        self._valkey, self._valkey_port = await valkey.start(self._layout)

    async def _start_postgres(self) -> None:
        self._postgres, self._postgres_port = await postgres.start(self._layout)
        await postgres.prepare(self._postgres_port, self._secret)
        connection = await asyncpg.connect(self._dsn, ssl=False)
        is_seeded = await connection.fetchval("SELECT true FROM seeding")
        await connection.close()
        if not is_seeded or not self._layout.accounts.exists():
            from environments.local import seed  # importing numpy is slow, and needed only here

            await seed.fill(self._layout, self._dsn, DEFAULT_EVENTS, DEFAULT_SEED, tell)
        if self._bouncer_program is not None:
            self._bouncer, self._bouncer_port = await pgbouncer.start(
                self._layout, self._bouncer_program, self._postgres_port
            )

    async def _add_instance(self, name: str) -> None:
        settings = {
            "database": postgres.service_dsn(self._postgres_port, self._secret),
            "cache": valkey.url(self._valkey_port, self._secret),
            "secret": self._secret,
            "pool_size": _POOL_SIZE,
        }
        instance = self._instances[name] = Instance(
            name, self._layout, postgres.cluster(self._layout), settings
        )
        self._instances = dict(sorted(self._instances.items(), key=lambda item: int(item[0].split("-")[1])))
        await instance.start()
        await instance.set_faults(self._service_faults())
        await self._balancer.admit(name, instance.port)
        self._expected_dead.discard(name)
        self._scrape()
        tell(f"{name} is ready")

    async def _remove_instance(self, name: str) -> None:
        instance = self._instances[name]
        instance.is_draining = True
        await self._balancer.drain(name)
        self._expected_dead.add(name)
        await instance.program.stop()
        del self._instances[name]
        self._scrape()

    def _scrape(self) -> None:
        targets = {name: instance.port for name, instance in self._instances.items() if instance.port}
        self._monitor.scrape(targets, self._balancer.exporter)

    async def stop(self) -> None:
        """Stop all parts; the database last, with a clean shutdown."""
        for fault in self._database_faults.values():
            fault.abandon()  # the next start restores the database
        self._expected_dead = {program.name for program in self._programs()}
        fronts = [program for program in self._programs() if program is not self._postgres]
        await asyncio.gather(*(program.stop() for program in fronts))
        if self._postgres is not None:
            await self._postgres.stop(grace=10.0)

    def _programs(self) -> list[Program]:
        parts = (
            self._postgres,
            self._bouncer,
            self._valkey,
            self._balancer.program,
            self._monitor.program,
        )
        return [part for part in parts if part] + [each.program for each in self._instances.values()]

    async def watch(self) -> None:
        """Record every part that dies unexpectedly. It is neither restarted nor hidden."""
        recorded: set[int] = set()
        while True:
            for program in self._programs():
                if program.pid and program.pid not in recorded and not program.is_alive:
                    recorded.add(program.pid)
                    if program.name not in self._expected_dead:
                        assert program.process is not None
                        code = program.process.returncode
                        what = f"died unexpectedly ({f'signal {-code}' if code < 0 else f'exit {code}'})"
                        self._incidents.append({"time": time.time(), "part": program.name, "what": what})
                        tell(f"{program.name} {what}: {program.last_log_line()}")
            await asyncio.sleep(0.1)

    # Commands

    async def answer(self, order: dict[str, Any]) -> dict[str, Any]:
        """Execute a command of the command line. Raises LocalError."""
        verb = order["verb"]
        if verb == "ping":
            return {}
        if verb == "facts":
            return await self._facts()
        if verb == "status":
            facts = await self._facts()
            programs = {program.name: program.pid for program in self._programs() if program.is_alive}
            measured = await usage.measure(programs, os.getpid())  # before the rows are counted
            return {**facts, "usage": measured, "rows": await self._rows()}
        async with self._busy:
            if verb == "scale":
                await self._scale(order["instances"])
            elif verb == "restart":
                await self._restart_database(order["seconds"])
            elif verb == "fault":
                await self._switch(order["name"], order["on"], order["parameters"])
        # These facts have no row counts. Counting occupies a core for a second, and these commands
        # are used during a load.
        return await self._facts()

    async def _scale(self, wanted: int) -> None:
        if not 1 <= wanted <= SLOTS:
            raise LocalError(f"the load balancer supports 1 to {SLOTS} instances, not {wanted}")
        for name in list(self._instances)[wanted:][::-1]:
            await self._remove_instance(name)
        names = [f"metrics-{number}" for number in range(1, SLOTS + 1)]
        missing = wanted - len(self._instances)
        for name in [name for name in names if name not in self._instances][: max(0, missing)]:
            await self._add_instance(name)

    async def _restart_database(self, seconds: float) -> None:
        assert self._postgres is not None
        self._expected_dead.add("postgres")
        await postgres.restart(self._layout, self._postgres, self._postgres_port, seconds)
        self._expected_dead.discard("postgres")
        tell(f"the database was restarted after {seconds:g} s")

    @property
    def _dsn(self) -> str:
        return postgres.dsn(self._postgres_port, postgres.OWNER, self._secret)

    async def _facts(self) -> dict[str, Any]:
        base = f"127.0.0.1:{self._balancer.port}"
        parts = {
            program.name: {
                "pid": program.pid,
                "port": port,
                "state": program.state,
                "healthy": await accepts(port),
            }
            for program, port in (
                (self._postgres, self._postgres_port),
                (self._bouncer, self._bouncer_port),
                (self._valkey, self._valkey_port),
                (self._balancer.program, self._balancer.port),
                (self._monitor.program, self._monitor.port),
            )
            if program is not None
        }
        return {
            "up": True,
            "base": f"http://{base}",
            "websocket": f"ws://{base}",
            "database": postgres.dsn(
                self._bouncer_port or self._postgres_port, postgres.SERVICE_ROLE, self._secret
            ),
            "database_observer": postgres.dsn(self._postgres_port, postgres.OBSERVER_ROLE, self._secret),
            "database_owner": self._dsn,
            "cache": valkey.url(self._valkey_port, self._secret),
            "prometheus": f"http://127.0.0.1:{self._monitor.port}",
            "accounts": str(self._layout.accounts),
            "version": VERSION,
            "instances": await self._instance_facts(),
            "supervisor": os.getpid(),
            # All parts are its child processes, so a load generator can tell them from others.
            "processes": [os.getpid()],
            "parts": parts,
            "faults": self._faults,
            "incidents": self._incidents,
        }

    async def _instance_facts(self) -> list[dict[str, Any]]:
        assert self._balancer.program is not None
        health = {}
        if self._balancer.program.state == "running":
            with contextlib.suppress(LocalError, TimeoutError):
                async with asyncio.timeout(_HEALTH_SECONDS):
                    health = await self._balancer.health()
        return [
            {**instance.facts(), "balancer": health.get(name, "unknown")}
            for name, instance in self._instances.items()
        ]

    async def _rows(self) -> dict[str, int]:
        try:
            connection = await asyncpg.connect(self._dsn, ssl=False, timeout=_CONNECT_SECONDS)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return {}  # the database is down, as its state shows
        try:
            return await count_rows(connection)
        finally:
            await connection.close()

    # Faults

    def _service_faults(self) -> dict[str, dict[str, float]]:
        return {name: given for name, given in self._faults.items() if FAULTS[name].in_service}

    async def _switch(self, name: str, on: bool, given: dict[str, str]) -> None:
        parameters = read_parameters(name, given)
        if self._thaw is not None and name != "freeze":
            raise LocalError("the service is frozen: no other fault can be switched until the freeze ends")
        if name in DATABASE_FAULTS:
            await self._change_database(name, parameters if on else None)
        elif name in self._faults:
            del self._faults[name]
            await self._act(name, None)
        if on and name not in DATABASE_FAULTS:
            self._faults[name] = parameters
            await self._act(name, parameters)
        tell(f"fault {name} {'on' if on else 'off'}")

    async def _change_database(self, name: str, parameters: dict[str, float] | None) -> None:
        """Switch a fault of the database off if it is on; then on if there are parameters."""
        make: Callable[..., DatabaseFault] = DATABASE_FAULTS[name]
        try:
            fault = None if parameters is None else make(self._dsn, tell, **parameters)
            if name in self._database_faults:
                await self._database_faults[name].end()
                del self._database_faults[name], self._faults[name]
            if fault is not None and parameters is not None:
                # List the fault before it begins: it can then be switched off if `begin` fails.
                self._database_faults[name], self._faults[name] = fault, parameters
                await fault.begin()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise LocalError(f"{name}: the database cannot be changed: {error}") from None

    async def _act(self, name: str, parameters: dict[str, float] | None) -> None:
        """Switch a fault on (with parameters) or off (without)."""
        if FAULTS[name].in_service:
            alive = [each for each in self._instances.values() if each.program.is_alive]
            await asyncio.gather(*(each.set_faults(self._service_faults()) for each in alive))
            return
        actions: dict[str, Callable[[dict[str, float] | None], Awaitable[None]]] = {
            "freeze": self._freeze,
            "favour-instance": self._favour,
            "instance-killed": self._kill,
            "balancer-restarted": self._restart_balancer,
            "prometheus-stopped": self._stop_prometheus,
            "alert-rule-broken": self._break_rule,
        }
        await actions[name](parameters)

    async def _freeze(self, parameters: dict[str, float] | None) -> None:
        if self._thaw is not None:
            self._thaw.cancel()
            self._thaw = None
        if parameters is None:
            await self._resume()
            return
        assert self._balancer.program is not None
        await self._balancer.program.freeze()  # first, so that it does not see the instances stop
        await asyncio.gather(*(instance.program.freeze() for instance in self._instances.values()))
        self._thaw = asyncio.create_task(self._resume_after(parameters["seconds"]))

    async def _resume_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._thaw = None
        del self._faults["freeze"]
        await self._resume()

    async def _resume(self) -> None:
        for instance in self._instances.values():
            instance.program.signal(signal.SIGCONT)
        await asyncio.sleep(0.05)  # time for them to answer the balancer's overdue checks
        assert self._balancer.program is not None
        self._balancer.program.signal(signal.SIGCONT)

    async def _favour(self, parameters: dict[str, float] | None) -> None:
        for name in list(self._instances)[1:]:
            await self._balancer.weigh(name, 100.0 if parameters is None else 100.0 / parameters["times"])

    async def _kill(self, parameters: dict[str, float] | None) -> None:
        if parameters is None:
            for name, instance in list(self._instances.items()):
                if not instance.program.is_alive and name in self._expected_dead:
                    await self._add_instance(name)
            return
        name = list(self._instances)[-1]
        self._expected_dead.add(name)
        self._instances[name].program.signal(signal.SIGKILL)

    async def _restart_balancer(self, parameters: dict[str, float] | None) -> None:
        # This fault has ended, and is no longer listed, before another command can switch it off.
        assert parameters is not None
        self._expected_dead.add("haproxy")
        try:
            await self._balancer.restart(parameters["seconds"])
        finally:
            self._expected_dead.discard("haproxy")
            del self._faults["balancer-restarted"]
        for name, instance in self._instances.items():
            if instance.program.is_alive:
                await self._balancer.admit(name, instance.port)
        if "favour-instance" in self._faults:
            await self._favour(self._faults["favour-instance"])

    async def _stop_prometheus(self, parameters: dict[str, float] | None) -> None:
        if parameters is None:
            await self._monitor.resume()
            self._expected_dead.discard("prometheus")
        else:
            self._expected_dead.add("prometheus")
            await self._monitor.stop()

    async def _break_rule(self, parameters: dict[str, float] | None) -> None:
        self._monitor.break_rules(broken=parameters is not None)


def _reason(group: BaseExceptionGroup[Exception]) -> LocalError:
    """The first error of a group as a one-line reason; a `LocalError` comes first."""
    error: BaseException = group.subgroup(LocalError) or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, LocalError):
        return error
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join([f"{type(error).__name__}:", *str(error).split()]).removesuffix(":")
    return LocalError(f"{text} ({Path(place.filename).name}, line {place.lineno})")


async def supervise(layout: Layout, instances: int, owner: int | None, *, bouncer: bool) -> None:
    """Run the environment until SIGTERM or until the owner ends. Raises LocalError."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    if owner is not None:
        try:
            process = os.pidfd_open(owner)  # readable when the process has ended: pidfd_open(2)
            loop.add_reader(process, end.set)
        except ProcessLookupError:
            raise LocalError(f"the owner, process {owner}, does not exist") from None
    supervisor = Supervisor(layout, bouncer=bouncer)
    watching = asyncio.create_task(supervisor.watch())
    starting = asyncio.create_task(supervisor.start(instances))
    ending = asyncio.create_task(end.wait())
    try:
        await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            server = await control.serve(layout, supervisor.answer)
            await ending
            server.close()
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        await supervisor.stop()
        watching.cancel()
        layout.socket.unlink(missing_ok=True)


def main() -> int:
    """Run as a separate process, whose output is its log; return 2 if it cannot start."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", type=int, required=True)
    parser.add_argument("--owner", type=int)
    parser.add_argument("--pgbouncer", action="store_true")
    arguments = parser.parse_args()
    layout = Layout.current()
    if not control.lock(layout):
        return 0  # another supervisor is running
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    try:
        asyncio.run(supervise(layout, arguments.instances, arguments.owner, bouncer=arguments.pgbouncer))
    except LocalError as error:
        tell(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
