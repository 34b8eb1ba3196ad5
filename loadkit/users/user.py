"""A virtual user: who it is, what it knows, and its clients, one for each protocol that its journey uses."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from loadkit.clock import Clock
from loadkit.drivers.base import Driver
from loadkit.drivers.http.client import HttpClient, Verb
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.errors import ConfigurationError
from loadkit.recording.recorder import Recorder
from loadkit.target import Account
from loadkit.users.meter import Meter
from loadkit.users.pacer import Pacer
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry

__all__ = ["User", "WorkerContext"]


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What all users of one worker share."""

    plan: Plan
    clock: Clock
    drivers: Sequence[Driver]
    recorder: Recorder
    pacer: Pacer
    run_id: str


class User:
    """Somebody who uses the service: an account, clients, and what a journey needs to pause and to check.

    Pauses are made with `think`, never with a sleep: the time of an operation counts from when it should have started.
    """

    http: HttpClient
    """Where the journey uses HTTP; its verbs are the user's own, too."""
    get: Verb
    post: Verb
    put: Verb
    patch: Verb
    delete: Verb
    request: Callable[..., Awaitable[Any]]
    use_httpx: Callable[..., None]
    headers: RequestHeaders
    """Sent with each HTTP request."""

    def __init__(
        self,
        number: int,
        entry: MixEntry,
        account: Account | None,
        context: WorkerContext,
        population: Population | None = None,
    ) -> None:
        plan = context.plan
        population = population or plan.populations[0]
        self.number = number
        """0, 1, 2 … over the whole run, whatever worker and population the user lives in."""
        self.region = entry.region
        self.random = random.Random(f"{plan.seed}:{number}")
        """For choices of the journey; the plan's seed and the number fix it."""
        self.run_id = context.run_id
        self.state: dict[str, Any] = {}
        """Free for the journey's author; lives as long as the user."""
        self.arguments: dict[str, Any] = dict(entry.arguments)
        """Of the journey."""
        self.renewal: tuple[float, Callable[[], Awaitable[None]]] | None = None
        """What to do between two journeys, and from when on: see `renew_after`."""
        self._account = account
        self.meter = Meter(
            context.recorder.population(population.name),
            context.clock,
            context.pacer,
            think=population.workload.think,
            choices=self.random,
            timeout=plan.timeout,
            run_id=context.run_id,
            tenant=account.tenant if account is not None else "",
            region=entry.region,
        )
        """Paces and records what the user does."""
        self._clients = {driver.name: driver.client(self.meter) for driver in context.drivers}
        for name, client in self._clients.items():
            setattr(self, name, client)
        if "http" in self._clients:
            # Bound once: a lookup through `http` would cost with each request.
            http = self.http
            self.get, self.post, self.put, self.patch, self.delete = (
                http.get, http.post, http.put, http.patch, http.delete,
            )  # fmt: skip
            self.request, self.use_httpx, self.headers = http.request, http.use_httpx, http.headers

    # --- what a journey uses

    @property
    def account(self) -> Account:
        """Who the user logs in as.

        Raises:
            ConfigurationError: the environment has no accounts.

        """
        if self._account is None:
            raise ConfigurationError("the journey asks for an account, the environment file names none")
        return self._account

    @property
    def tenant(self) -> str:
        """The account's tenant; "" where there is none."""
        return self.meter.tenant

    def check(self, holds: bool, what: str) -> None:
        """Where `holds` is False, the operation that was just done counts as failed: "check: `what`".

        Raises:
            RuntimeError: there is no such operation: checks stand right behind it, before the user thinks.

        """
        if not holds:
            self.meter.check(what)

    def renew_after(self, seconds: float, renew: Callable[[], Awaitable[None]]) -> None:
        """Have `renew` called, once, between two journeys when so many seconds are over: tokens are refreshed there.

        What it does is not recorded, and no later operation's time counts it. Where the service fails it, it is tried
        again after the next journey.
        """
        self.renewal = (self.meter.now() + seconds, renew)

    async def think(self) -> None:
        """Pause as long as the plan says users do; where arrivals set the pace, not at all."""
        pause = self.meter.think()
        if pause is not None:
            await pause

    # --- what the engine uses

    def close(self) -> None:
        """Hand over the last sample and let go of what the clients hold."""
        self.meter.settle()
        for client in self._clients.values():
            client.close()

    def __getattr__(self, name: str) -> NoReturn:
        # Only for what was not found: a protocol that the journey does not say it uses.
        if name.startswith("_"):
            raise AttributeError(name)
        there = ", ".join(f"user.{each}" for each in self.__dict__.get("_clients", {})) or "none"
        raise AttributeError(
            f'a user has no "{name}"; its clients are {there}. A journey names the protocols that it uses: '
            f'@journey("…", uses=("http", "{name}"))'
        )

    def __repr__(self) -> str:
        return f"<User {self.number}{f' of {self.tenant}' if self.tenant else ''}>"
