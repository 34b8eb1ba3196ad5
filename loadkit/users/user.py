"""A virtual user: its account, its state, and one client for each protocol of its journey."""

import json
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar

from loadkit.clock import Clock
from loadkit.drivers.base import Driver
from loadkit.drivers.http.client import HttpClient, Verb
from loadkit.drivers.http.headers import RequestHeaders
from loadkit.drivers.masking import Mask
from loadkit.errors import ConfigurationError
from loadkit.recording.deliveries import UNREACHED, Deliveries, Follower
from loadkit.recording.examples import DeferredExchange, Exchange
from loadkit.recording.messages import FOREIGN, STATE_SEEN, STATES_DUE
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import Sample
from loadkit.recording.sql import FOREIGN_ROWS
from loadkit.recording.timing import DELIVERY, MESSAGE, QUERY
from loadkit.recording.writes import RECORDS, Attempt, WriteLedger
from loadkit.target import Account
from loadkit.users.data import UserData, WorkerData
from loadkit.users.meter import JourneyMeter, Meter, no_renewal
from loadkit.users.pacer import Pacer
from loadkit.users.popularity import place, ranks_of
from loadkit.users.workflow import Workflow
from loadkit.workload.plan import Plan, Population
from loadkit.workload.schedule import ROUNDING
from loadkit.workload.workload import MixEntry, Model

if TYPE_CHECKING:
    from loadkit.drivers.postgres.client import DbClient
    from loadkit.drivers.websocket.client import WebSocketClient
    from loadkit.drivers.websocket.subscription import Subscription

__all__ = ["User", "UserWrites", "WorkerContext"]

Item = TypeVar("Item")
_NO_MASK = Mask()
_TEXT_OF_ID = 36
"""The number of characters of a UUID as text, with its four hyphens."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The objects that all users of one worker share."""

    plan: Plan
    clock: Clock
    drivers: Sequence[Driver]
    recorder: Recorder
    pacer: Pacer
    run_id: str
    tenants: Sequence[Account] = ()
    """An account of each tenant of the users."""
    deliveries: Deliveries = field(default_factory=Deliveries)
    """The writes of the worker's users, and whom they reached."""
    data: WorkerData = field(default_factory=lambda: WorkerData({}))
    """The rows of test data."""
    writes: WriteLedger = field(default_factory=WriteLedger)
    """The writes of the worker's users, and their outcomes."""


class UserWrites:
    """The writes of one user. They are compared with the stored records after the load."""

    __slots__ = ("_ledger", "_meter")

    def __init__(self, ledger: WriteLedger, meter: Meter) -> None:
        self._ledger = ledger
        self._meter = meter

    def attempt(self, *ids: uuid.UUID | str) -> Attempt:
        """Announce a write of these records; call it before the write.

        A stored record of the run whose id was not announced is a fail.

        Call `acknowledged` or `rejected` of the result when the service has answered, with the
        instance that answered (`HttpClient.instance_of`). Otherwise the outcome stays unknown, as
        after a time-out.

        Args:
            ids: the ids under which the records will be stored. The user chooses them.

        """
        meter = self._meter
        return self._ledger.attempt(
            _in_bytes(ids),
            self._count,
            at=meter.now() - meter.recorder.origin,
            user=meter.user,
            tenant=meter.tenant,
        )

    def _count(self, records: int) -> None:
        self._meter.count(RECORDS, records)


def _in_bytes(ids: Sequence[uuid.UUID | str]) -> list[bytes]:
    """The 16 bytes of each id; raises ValueError for an invalid id.

    Texts are converted together: twenty take 9 us, but 69 us as `uuid.UUID` objects.
    """
    texts = [each for each in ids if isinstance(each, str) and len(each) == _TEXT_OF_ID]
    if len(texts) == len(ids):
        joined = bytes.fromhex("".join(texts).replace("-", ""))
        if len(joined) == 16 * len(ids):
            return [joined[at : at + 16] for at in range(0, len(joined), 16)]
    return [each.bytes if isinstance(each, uuid.UUID) else uuid.UUID(each).bytes for each in ids]


class User:
    """A user of the service, with an account, clients, and methods for pauses and checks.

    Journeys pause with `think`, never with a sleep: an operation's time counts from its intended
    start.
    """

    http: HttpClient
    """Present if the journey uses HTTP; the user has its verbs, too."""
    get: Verb
    post: Verb
    put: Verb
    patch: Verb
    delete: Verb
    request: Callable[..., Awaitable[Any]]
    use_httpx: Callable[..., None]
    headers: RequestHeaders
    """Sent with each HTTP request."""
    ws: "WebSocketClient"
    """Present if the journey uses WebSocket."""
    db: "DbClient"
    """Present if the journey uses the database."""

    def __init__(
        self,
        number: int,
        entry: MixEntry,
        account: Account | None,
        context: WorkerContext,
        population: Population | None = None,
        place: int = 0,
    ) -> None:
        plan = context.plan
        population = population or plan.populations[0]
        self.number = number
        """0, 1, 2 … over the whole run, across workers and populations."""
        self.group = place // population.group
        """The number of its group. A group shares something, such as a dashboard, and a tenant."""
        self.region = entry.region
        self.run_id = context.run_id
        self.state: dict[str, Any] = {}
        """For data of the journey; kept as long as the user."""
        self.arguments: dict[str, Any] = dict(entry.arguments)
        """Arguments of the journey."""
        self.renewal: tuple[float, Callable[[], Awaitable[None]]] | None = None
        """When to renew, and how: see `renew_after`."""
        self._account = account
        self._end = context.recorder.population(population.name).origin + population.workload.seconds
        """When the load ends, on the run's clock."""
        self._tenants = context.tenants
        self._deliveries = context.deliveries
        meter = JourneyMeter if population.workload.model is Model.JOURNEYS else Meter
        self.meter: Meter = meter(
            context.recorder.population(population.name),
            context.clock,
            context.pacer,
            think=population.workload.think,
            seed=f"{plan.seed}:{number}",
            timeout=plan.timeout,
            run_id=context.run_id,
            tenant=account.tenant if account is not None else "",
            region=entry.region,
            churn=population.workload.churn,
            user=number,
        )
        """Paces and records the user's operations."""
        self.writes = UserWrites(context.writes, self.meter)
        """The user's writes, which are compared with the stored records after the load."""
        self.data = UserData(context.data, number, self.meter)
        """Rows of test data: `data["customers"]` is its own, `data.next("products")` a new one."""
        self._mask = getattr(context.drivers[0], "mask", _NO_MASK) if context.drivers else _NO_MASK
        self._clients = {driver.name: driver.client(self.meter) for driver in context.drivers}
        for name, client in self._clients.items():
            setattr(self, name, client)
        if "http" in self._clients:
            # Bound once: a look-up through `http` would cost time on each request.
            http = self.http
            self.get, self.post, self.put, self.patch, self.delete = (
                http.get, http.post, http.put, http.patch, http.delete,
            )  # fmt: skip
            self.request, self.use_httpx, self.headers = http.request, http.use_httpx, http.headers

    # --- used by journeys

    @property
    def random(self) -> random.Random:
        """The random generator for journeys, seeded with the plan's seed and the user's number."""
        return self.meter.random

    @property
    def account(self) -> Account:
        """The account that the user logs in with.

        Raises:
            ConfigurationError: the environment has no accounts.

        """
        if self._account is None:
            raise ConfigurationError("the journey needs an account, but the environment file names none")
        return self._account

    @property
    def tenant(self) -> str:
        """The account's tenant; "" if there is none."""
        return self.meter.tenant

    @property
    def tenants(self) -> Sequence[Account]:
        """An account of each tenant of the first population, for journeys that act for all of them.

        Other users have these accounts, too. It is empty if the environment has no accounts, and
        during the load also if the first population is an open load.
        """
        return self._tenants

    @property
    def seconds_left(self) -> float:
        """Seconds until the user's time is over; infinite in the trial before the load."""
        return self.meter.until - self.meter.now()

    def shares_state(self, what: str) -> Callable[[str], None]:
        """Declare that the user sees a state that others see too, such as a document they edit.

        At the end, call the result with a digest of the state. All digests must be equal. If a user
        never calls it, the state that it saw is unknown. A user whose time is over before the load
        ends is ignored, because others continue to change the state.

        Args:
            what: the state, such as "dashboard/7"; users of one tenant share it.

        """
        what = f"{self.tenant}/{what}" if self.tenant else what
        stays = self.meter.until >= self._end - ROUNDING
        if stays:
            self.meter.count(STATES_DUE)

        def tell(digest: str) -> None:
            if stays:
                self.meter.count(f"{STATE_SEEN}{what} {digest}")

        return tell

    def acknowledged(self, key: object) -> None:
        """Declare that the last answer acknowledges a write that other users wait for.

        Call it before `think`, while the time at which the write was sent is known.

        Args:
            key: identifies the write in the answer and in what the others receive.

        """
        meter = self.meter
        sent = -inf if meter.pending is None else meter.pending.sent
        self._deliveries.acknowledged(key, meter.free, sent, meter.tenant)

    def reached(self, key: object, label: str) -> None:
        """Declare that a user's write has just reached this user; call it where messages are read.

        Its time is measured from the acknowledgement, in the timing "time to the dashboards".

        Args:
            key: as in `acknowledged`.
            label: the label that counts it.

        """
        meter = self.meter

        def record(begun: float, at: float) -> None:
            meter.received(label, begun, at, 0, DELIVERY)

        if meter.is_recorded:
            self._deliveries.received(key, meter.now(), record)

    def watches(self, subscription: "Subscription", label: str) -> None:
        """Declare that each write of the tenant must reach this user, until a subscription ends.

        Call it when the service has confirmed the subscription. A write that is sent after that
        must reach a user of this worker. If it reaches none, it is a failed delivery to each user
        that still watches one time-out after the acknowledgement.

        Args:
            subscription: its reader calls `reached`.
            label: as in `reached`.

        """
        meter = self.meter

        def missed(begun: float) -> None:
            end = begun + meter.timeout
            sample = Sample(label, UNREACHED, begun, begun, end, 0, meter.tenant, meter.region)
            meter.recorder.timing(DELIVERY).samples.append(sample)
            meter.record_example(sample, DELIVERY)

        if meter.is_recorded:
            follower = Follower(meter.now(), lambda: subscription.is_ended, missed)
            self._deliveries.follow(meter.tenant, follower, meter.timeout)

    def checks_tenants(self, of: Literal["messages", "rows"] = "messages") -> Callable[..., None]:
        """Declare that the user checks that all messages, or rows, belong to its tenant.

        Call the result for each one that belongs to another tenant, with the message or the row.
        The report shows the first ones. For a row, it also shows the latest query.
        """
        meter = self.meter
        foreign = FOREIGN if of == "messages" else FOREIGN_ROWS
        if of == "messages":
            meter.checks_messages = True
        else:
            meter.checks_rows = True

        def found(content: Any = "") -> None:
            meter.count(foreign)
            if not meter.is_recorded:
                return
            now, timing = meter.now(), MESSAGE if of == "messages" else QUERY
            sample = Sample(of, foreign, now, now, now, 0, meter.tenant, meter.region)
            exchange: DeferredExchange | None = (_format_message, self._mask, content) if content else None
            if of == "rows":
                query: DeferredExchange | None = None
                if meter.pending is not None:
                    sample, query = meter.pending._replace(outcome=foreign), meter.exchange
                exchange = (_format_row, self._mask, query, content) if content else query
            meter.record_example(sample, timing, exchange)

        return found

    def check(self, holds: bool, what: str) -> None:
        """If `holds` is False, record the last operation as failed: "check: `what`".

        Raises:
            RuntimeError: there is no such operation. A check must directly follow it, before
                `think`.

        """
        if not holds:
            self.meter.check(what)

    def renew_after(self, seconds: float, renew: Callable[[], Awaitable[None]]) -> None:
        """Call `renew` once, between two journeys, after this many seconds; for refreshing tokens.

        `ws.stay` also calls it before it reconnects. Its operations are not recorded, and later
        operations do not include their time. If it fails, it is retried after the next journey.
        """
        self.renewal = (self.meter.now() + seconds, renew)

    def workflow(self, label: str) -> Workflow:
        """Several steps that succeed or fail together; use it as a context manager.

        ::

            with user.workflow("complete workflow") as workflow:
                with workflow.step("post an event"):
                    await user.post("/api/v1/metrics/events", json=events)

        Args:
            label: the label that counts it: "complete workflow".

        """
        return Workflow(label, self.meter)

    def popular(self, items: Sequence[Item], name: str, exponent: float = 1.0) -> Item:
        """Choose an item as people do: by Zipf's law, the first items far more often.

        The report compares how often each place was chosen with its expected frequency.

        Args:
            items: at least one, the most popular first.
            name: what they are, in the plural: "metrics".
            exponent: the n-th item has a weight of 1/n to this power; 0 for equal weights.

        """
        chosen = place(self.random, len(items), exponent)
        self.meter.recorder.drawn[ranks_of(name, len(items), exponent)].append(chosen + 1.0)
        return items[chosen]

    async def think(self) -> None:
        """Pause for the plan's think time; in an open load, do not pause."""
        pause = self.meter.think()
        if pause is not None:
            await pause

    def think_seconds(self) -> float:
        """A think time of the plan in seconds, for journeys that pause in another way."""
        return self.meter.think_seconds()

    # --- used by the engine

    def close(self) -> None:
        """Record the last sample and close the clients."""
        self.meter.settle()
        self.meter.renew_if_due = no_renewal  # else user and lifecycle are a reference cycle
        for client in self._clients.values():
            client.close()

    def __getattr__(self, name: str) -> NoReturn:
        # Called only for unknown names, such as a protocol that the journey does not declare.
        if name.startswith("_"):
            raise AttributeError(name)
        clients = ", ".join(f"user.{each}" for each in self.__dict__.get("_clients", {})) or "none"
        raise AttributeError(
            f'a user has no "{name}"; its clients are {clients}. A journey names the protocols that it uses: '
            f'@journey("…", uses=("http", "{name}"))'
        )

    def __repr__(self) -> str:
        return f"<User {self.number}{f' of {self.tenant}' if self.tenant else ''}>"


def _format_message(mask: Mask, message: str | bytes) -> Exchange:
    """The exchange that shows a message of another tenant."""
    text = message if isinstance(message, str) else f"({len(message)} bytes, binary)"
    return Exchange("message received", mask.hiding(text).head(text))


def _format_row(mask: Mask, query: DeferredExchange | None, row: Any) -> Exchange:
    """The exchange of a query, if there is one, with a row of another tenant below its answer."""
    described: Exchange = Exchange("row read") if query is None else query[0](*query[1:])
    text = json.dumps(row, default=_plain, ensure_ascii=False)
    return replace(described, answer=f"{described.answer}\n\n{mask.hiding(text).head(text)}".lstrip())


def _plain(value: Any) -> Any:
    """A row, or a value of it, for JSON. Of binary values only the size is shown."""
    if isinstance(value, bytes):
        return f"({len(value)} bytes, binary)"
    return dict(value.items()) if hasattr(value, "items") else str(value)
