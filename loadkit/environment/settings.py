"""The schema of environment files; `environments/staging.toml` documents every key.

Times are in seconds and ratios from 0 to 1, all as plain numbers. Fields with "or a reference" in
their docstring may contain ``env:NAME`` or ``control:KEY``; `Environment.resolved` resolves these.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from loadkit.criterion import Unit
from loadkit.structuring import Stated
from loadkit.target import Address

__all__ = [
    "Accounts",
    "ActionCommand",
    "Data",
    "Database",
    "Hosts",
    "Measure",
    "Messages",
    "Mix",
    "MixRow",
    "Observer",
    "Region",
    "Settings",
]

Seconds = Annotated[float, Stated("60", unit="seconds", at_least=0)]
Ratio = Annotated[float, Stated("0.5", at_least=0)]


@dataclass(frozen=True, slots=True)
class Accounts:
    """``[accounts]``: the credentials of the users."""

    file: Annotated[str, Stated('"accounts.json"')]
    """Path from the project's root, or a reference.

    The file is a JSON list of objects with username, password, tenant and role.
    """
    canary: Annotated[str, Stated('"tenant_key"')] = ""
    """The key of the tenant's canary in these objects; empty for none.

    A canary is a secret text that all data of a tenant contains, and no data of other tenants."""


@dataclass(frozen=True, slots=True)
class Measure:
    """``[observer.measures."NAME"]``: the queries of a measure that sentences name.

    Exactly one of `gauge` and `counter` is required.
    """

    gauge: Annotated[str, Stated("'db_pool_used{job=\"metrics\"}'")] = ""
    """Selector of raw samples whose values are the measure."""
    counter: Annotated[str, Stated("'process_cpu_seconds_total{job=\"metrics\"}'")] = ""
    """Selector of raw samples whose increase per second is the measure."""
    of: Annotated[float | str, Stated("2", what="a number above 0, or a selector", above=0)] = ""
    """The capacity, if the measure is a share of it: a number per instance, or a selector."""
    unit: Annotated[Unit, Stated('"bytes"')] = Unit.RATIO
    """The unit of the measure."""
    per: Annotated[str, Stated('"instance"')] = "instance"
    """The label that identifies instances."""
    judged: Annotated[Literal["p95", "max", "mean"], Stated('"max"')] = "p95"
    """The figure that `stays` compares with the limit; p95 and mean are weighted by time."""

    def __post_init__(self) -> None:
        if bool(self.gauge) == bool(self.counter):
            given = "both are given" if self.gauge else "neither is given"
            raise ValueError(f"expected one of gauge and counter, such as gauge = 'db_pool_used': {given}")


@dataclass(frozen=True, slots=True)
class Hosts:
    """``[observer.hosts]``: PromQL for the machines of the service, such as from node_exporter.

    Each query has one value per machine, identified by the label "instance". All are ratios.
    """

    idle: Annotated[str, Stated("'avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[15s]))'")] = (
        ""
    )
    """The share of a machine's processors that was idle."""
    steal: Annotated[
        str, Stated("'avg by (instance) (rate(node_cpu_seconds_total{mode=\"steal\"}[15s]))'")
    ] = ""
    """The share that its host took from a virtual machine."""
    pressure: Annotated[str, Stated("'rate(node_pressure_cpu_waiting_seconds_total[15s])'")] = ""
    """The share of the time in which some process waited for a processor."""
    environment: Annotated[str, Stated("'sum by (instance) (service_cpu:share)'")] = ""
    """The share of a machine's processors that the service's own parts took. Without it, other
    processes cannot be distinguished from the service."""


@dataclass(frozen=True, slots=True)
class Observer:
    """``[observer]``: the source of service metrics."""

    url: Annotated[Address, Stated('"http://127.0.0.1:9090"')]
    """The address of Prometheus, or a reference; ``http://user:password@host`` is allowed."""
    kind: Annotated[Literal["prometheus"], Stated('"prometheus"')] = "prometheus"
    scrape_interval: Annotated[float, Stated("15", unit="seconds", above=0)] = 15.0
    """Seconds between scrapes, as configured in Prometheus."""
    measures: Mapping[str, Annotated[Measure, Stated("{ gauge = 'db_pool_used' }")]] = field(
        default_factory=dict
    )
    """The measures by name, as in sentences: "CPU utilization"."""
    hosts: Annotated[Hosts, Stated("{ idle = '…', steal = '…' }", what="a table")] = Hosts()
    """Figures that show whether the machines of the service were busy with something else."""


@dataclass(frozen=True, slots=True)
class MixRow:
    """A share of the users, and their journey."""

    journey: Annotated[str, Stated('"watch a dashboard"')]
    """The title of the journey."""
    share: Annotated[float, Stated("40", above=0)]
    """In proportion to the other rows: percent, or any other numbers."""
    region: Annotated[str, Stated('"Europe"')] = ""
    """The region of these users. Their operations also count for it, and use its network."""


@dataclass(frozen=True, slots=True)
class Data:
    """``[data.NAME]``: a table of test data for journeys."""

    file: Annotated[str, Stated('"data/products.csv"')]
    """Path from the project's root, or a reference. ``.csv`` has a header; others are JSON lines."""
    per: Annotated[Literal["user", "operation"], Stated('"operation"')] = "user"
    """What takes its own row: each user, or each operation."""
    repeat: Annotated[bool, Stated("true")] = False
    """Does the table start again at its first row after the last one? If not, too few rows are
    refused."""


@dataclass(frozen=True, slots=True)
class Region:
    """The network between the users of a region and the service, which a relay here emulates."""

    latency: Annotated[float, Stated("0.08", unit="seconds", above=0)]
    """The mean round trip in seconds, as `ping` shows it."""
    jitter: Annotated[float, Stated("0.005", unit="seconds", at_least=0)] = 0.0
    """The standard deviation of the round trip in seconds, the "mdev" of `ping`."""
    loss: Annotated[float, Stated("0.001", what="a ratio of at least 0, below 1", at_least=0)] = 0.0
    """Ratio of the packets that are lost in each direction."""

    def __post_init__(self) -> None:
        if self.jitter > self.latency:
            raise ValueError(
                f"jitter = {self.jitter:g}: expected at most the latency, {self.latency:g}, such as jitter = 0.005"
            )
        if self.loss >= 1:
            raise ValueError(f"loss = {self.loss:g}: expected a ratio below 1, such as loss = 0.001")


@dataclass(frozen=True, slots=True)
class Messages:
    """``[messages]``: how messages are published for "11000 messages are delivered per second".

    It also states the path from which the service's time is read.
    """

    journey: Annotated[str, Stated('"publish live metrics"')] = ""
    """The title of the journey that publishes. Without it, no sentence can state a number of
    delivered messages."""
    reach: Annotated[float, Stated("1.0", what="a ratio above 0, at most 1", above=0, at_most=1)] = 1.0
    """Ratio of the connections that receive a message each time the journey is followed."""
    clock: Annotated[str, Stated('"/healthz"')] = ""
    """The path from which the time of a service on another host is read. Round trips to it measure
    the offset of the service's clock. If it is empty, the latency of its messages is not judged."""
    latency: Annotated[Literal["creation", "round trip"], Stated('"round trip"')] = "creation"
    """What criteria on message latency are judged on: the time since the service created a message,
    or the round trips of messages that the service answers. Round trips need only one clock."""


def _is_name(text: str) -> bool:
    """Is it a name in SQL that needs no quotes: "metric_events", "app.tenant"?"""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", text) is not None


def _is_query(text: str) -> bool:
    """Is it a query, judged by its first word?"""
    return re.match(r"\s*select\b", text, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Database:
    """``[database]``: the service's database, for journeys that query it."""

    dsn: Annotated[Address, Stated('"env:STAGING_DATABASE"')]
    """"postgresql://user:password@host/name" of the service's role, or a reference."""
    observer: Annotated[Address, Stated('"env:STAGING_DATABASE_OBSERVER"')] = Address("")  # noqa: RUF009  nothing changes it
    """The same for a role that may only read, and sees the rows of all tenants; or a reference."""
    queries: Annotated[str, Stated('"steps/journeys/queries"')] = ""
    """The folder of the named queries, from the project's root."""
    records: Annotated[str, Stated('"metric_events"', what="the name of a table", holds=_is_name)] = ""
    """The table whose rows are the records of "querying 10 million records"."""
    tenant: Annotated[str, Stated('"app.tenant"', what="the name of a setting", holds=_is_name)] = ""
    """The setting that row-level security reads, set for each transaction; empty for none."""
    pool: Annotated[int, Stated("20", what="a whole number, at least 1", at_least=1)] = 20
    """The maximum number of connections of each worker."""
    retries: Annotated[int, Stated("2", what="a whole number, at least 0", at_least=0)] = 0
    """The maximum number of retries of a query after a deadlock or a lost connection. Each retry is
    counted."""
    statement_timeout: Annotated[float, Stated("5", unit="seconds", at_least=0)] = 0.0
    """Seconds after which the server cancels a statement; 0 for the server's own setting."""
    statement_cache: Annotated[bool | None, Stated("true", what="true or false")] = None
    """May statements stay prepared? If not stated: yes, unless a connection pooler is found in
    between."""
    stored: Annotated[
        str,
        Stated(
            '"SELECT id, tenant FROM metric_events WHERE run_id = $1"',
            what="a query of ids and tenants",
            holds=_is_query,
        ),
    ] = ""
    """A query for the rows of a run, whose id is $1: their ids (uuid), and their tenants' names.

    The criterion "every acknowledged write …" uses it. Tenants are named as in the accounts.
    Without the second column, a row that is stored under the wrong tenant is not found."""
    example_tenant: Annotated[
        str, Stated("\"SELECT id FROM tenants WHERE name = 'acme'\"", what="a query", holds=_is_query)
    ] = ""
    """A query for the value of `tenant` with which the plans of the key queries are taken."""
    seed: Annotated[tuple[str, ...], Stated('["seed", "--events", "{events}"]', what="a verb")] = ()
    """The verb of the control command that makes records. The advice for too few shows it."""
    clean: Annotated[tuple[str, ...], Stated('["clean", "--all"]', what="a verb and its arguments")] = ()
    """The verb of the control command that removes the rows of earlier runs.

    It is called before each load. Empty for none."""


@dataclass(frozen=True, slots=True)
class ActionCommand:
    """The verbs of the control command that execute an action."""

    do: Annotated[tuple[str, ...], Stated('["kill", "--any"]', what="a verb and its arguments", holds=bool)]
    undo: Annotated[tuple[str, ...], Stated('["restore"]')] = ()
    """The verb that undoes the action at the end of the run; empty if it needs no undo."""
    restarts: Annotated[int, Stated("1", what="a whole number, at least 0", at_least=0)] = 0
    """The number of the service's instances that restart within a minute after the action. "no
    instance restarts" does not count them."""


Patterns = Annotated[
    tuple[str, ...], Stated('["* /api/v1/auth/*"]', what="a list of operation labels", holds=bool)
]
Mix = Annotated[
    tuple[MixRow, ...],
    Stated(
        '[{ journey = "watch a dashboard", share = 100 }]',
        what="a list of journeys with their shares",
        holds=bool,
    ),
]
Points = Annotated[
    tuple[tuple[Seconds, Ratio], ...],
    Stated(
        "[[600, 0.5], [600, 1.0]]",
        what="a list of [seconds, share of the load], with a time and a share above 0",
        holds=lambda points: (
            any(seconds for seconds, _ in points)
            and any(share for _, share in points)  # else there is no load
        ),
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One environment file."""

    # --- where the service is

    base: Annotated[Address, Stated('"https://metrics.staging.example.com"')]
    """Scheme, host and port, or a reference; journeys add the paths. Credentials are refused."""
    websocket: Annotated[Address, Stated('"wss://metrics.staging.example.com"')] = Address("")  # noqa: RUF009  nothing changes it
    """Scheme, host and port of WebSocket connections, or a reference."""
    name: Annotated[str, Stated('"staging"')] = ""
    """The name in reports and in the lock; empty for the name of the file."""
    ready: Annotated[
        str, Stated('"/readyz"', what='a path that begins with "/"', holds=lambda path: path[:1] == "/")
    ] = ""
    """The path that answers 200 when the service is ready; empty for none.

    It is probed 20 times a second."""
    websocket_ready: Annotated[
        str,
        Stated('"/api/v1/stream"', what='a path that begins with "/"', holds=lambda path: path[:1] == "/"),
    ] = ""
    """The path whose WebSocket handshake is probed in the same way, in runs with WebSocket users.

    Empty for none. A refusal for lack of credentials (401, 403) shows that it is up."""
    instance_header: Annotated[str, Stated('"X-Instance"')] = ""
    """The header of an answer that names the instance that answered; empty for none."""
    trace_url: Annotated[
        str,
        Stated(
            '"https://jaeger.example.com/trace/{trace}"',
            what='an address with "{trace}" in it',
            holds=lambda url: "{trace}" in url,
        ),
    ] = ""
    """The URL that shows a trace, for links in the report; empty for none."""
    version: Annotated[str, Stated('"1.4.2"')] = ""
    """The version to be judged, or a reference; empty for any version."""
    instances: Annotated[int, Stated("2", at_least=0)] = 0
    """The number of instances that must be observed before the load; 0 for any number."""
    traffic: Annotated[str, Stated('"requests served"')] = ""
    """The measure of served requests, which shows traffic of others before a load."""
    control: Annotated[
        tuple[str, ...], Stated('["python", "-m", "environments.local"]', what="a command", holds=bool)
    ] = ()
    """The command that starts, changes and stops the environment; empty for none."""

    database: Annotated[Database | None, Stated('{ dsn = "env:STAGING_DATABASE" }', what="a table")] = None
    """Without it, no journey can query the database."""

    # --- what load is allowed

    load_allowed: Annotated[bool, Stated("true")] = False
    """Is load on this environment allowed?"""
    seed_allowed: Annotated[bool, Stated("true")] = False
    """May `loadkit env seed` fill its database?"""
    max_users: Annotated[int | None, Stated("1000", what="a whole number, at least 0", at_least=0)] = None
    """Maximum number of concurrent users; no limit where absent."""
    max_rate: Annotated[float | None, Stated("5000", what="a number, at least 0", at_least=0)] = None
    """Maximum number of arrivals per second; no limit where absent."""
    max_minutes: Annotated[float, Stated("120", unit="minutes", at_least=0)] = 120.0
    """Maximum planned minutes of all runs of a session together."""

    # --- what the load is

    journeys: Annotated[str, Stated('"steps.journeys"')] = ""
    """The package of the journeys."""
    levels: Mapping[str, Annotated[int, Stated("1000", at_least=0)]] = field(default_factory=dict)
    """The number of users of each load level, by the level's name."""
    default_load: Annotated[int, Stated("100", at_least=0)] = 100
    """The number of users if the sentence does not state it."""
    mixes: Mapping[str, Mix] = field(default_factory=dict)
    """The journeys of the users, by the name of the mix."""
    tenants: Mapping[str, Annotated[float, Stated("0.1", what="a ratio", above=0, at_most=1)]] = field(
        default_factory=dict
    )
    """The usual share of each tenant in the load, by name, for "10 times its usual load"."""
    default_mix: Annotated[str, Stated('"API"')] = "default"
    """The mix if the sentence does not state it."""
    curves: Mapping[str, Points] = field(default_factory=dict)
    """The curves by name; each point is a duration in seconds, and the share of the stated load at
    its end."""
    messages: Annotated[
        Messages | None, Stated('{ journey = "publish live metrics", reach = 1.0 }', what="a table")
    ] = None
    """How messages are published, and how their times are read."""
    ramp: Annotated[float, Stated("30", unit="seconds", at_least=0)] = 10.0
    """Seconds over which users arrive if the sentence does not state it."""
    hold: Annotated[float, Stated("300", unit="seconds", above=0)] = 60.0
    """Seconds of constant load if the sentence does not state it."""
    time_scale: Annotated[float, Stated("0.1", above=0, at_most=1)] = 1.0
    """Ratio of actual to stated ramp and hold; below 1 the run is a rehearsal."""
    users_scale: Annotated[float, Stated("0.1", above=0, at_most=1)] = 1.0
    """Ratio of actual to stated users; below 1 the run is a rehearsal."""
    actions: Mapping[str, Annotated[ActionCommand, Stated('{ do = ["kill"], undo = ["restore"] }')]] = field(
        default_factory=dict
    )
    """The actions by name, as in sentences: "an instance is killed"."""

    # --- how the users reach the service

    accounts: Annotated[Accounts | None, Stated('{ file = "accounts.json" }', what="a table")] = None
    data: Mapping[str, Annotated[Data, Stated('{ file = "data/products.csv" }')]] = field(
        default_factory=dict
    )
    """Tables of test data, by the name that journeys use."""
    share_accounts: Annotated[bool, Stated("true")] = False
    """May two users have the same account?"""
    regions: Mapping[str, Annotated[Region, Stated("{ latency = 0.08, jitter = 0.005, loss = 0.001 }")]] = (
        field(default_factory=dict)
    )
    """The network of the users of a region, by the region's name."""
    timeout: Annotated[float, Stated("10", unit="seconds", above=0)] = 10.0
    """Seconds for a whole request; a longer request fails."""
    connect_timeout: Annotated[float, Stated("3", unit="seconds", above=0)] = math.inf
    """Seconds to connect, TLS included."""
    read_timeout: Annotated[float, Stated("5", unit="seconds", above=0)] = math.inf
    """Seconds without data, before or within an answer."""
    ca_file: Annotated[str, Stated('"tls/ca.pem"')] = ""
    """PEM file of the CA bundle used to verify the server, or a reference; empty for the system's.

    Paths are relative to the project's root."""
    cert_file: Annotated[str, Stated('"tls/client.pem"')] = ""
    """PEM file of the client certificate, or a reference."""
    key_file: Annotated[str, Stated('"tls/client.key"')] = ""
    """PEM file of its key, or a reference; empty where `cert_file` contains both."""

    # --- how it is observed and judged

    groups: Mapping[str, Patterns] = field(default_factory=dict)
    """Operation labels, with ``*`` and ``?``, by the name of the endpoint group."""
    observer: Annotated[Observer | None, Stated('{ url = "http://127.0.0.1:9090" }', what="a table")] = None
    """Without one, criteria on CPU, memory and pools are inconclusive."""
    alerts_matching: Annotated[str, Stated('"Metrics.*"')] = ".+"
    """A regular expression of the names of the alerts that "no alert fires" covers."""

    def __post_init__(self) -> None:
        if self.actions and not self.control:
            raise ValueError(
                "actions: these are verbs of the control command, but there is none; "
                'expected such as control = ["python", "-m", "environments.local"]'
            )
        if self.database is not None and self.database.clean and not self.control:
            raise ValueError(
                "database.clean: this is a verb of the control command, but there is none; "
                'expected such as control = ["python", "-m", "environments.local"]'
            )
        if self.traffic and self.observer is not None and self.traffic not in self.observer.measures:
            raise ValueError(
                f'traffic = "{self.traffic}": no such measure; there are: '
                f"{', '.join(sorted(self.observer.measures)) or 'none'}"
            )
