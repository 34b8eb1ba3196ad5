"""What each fault must do to each criterion while all protocols are used together, as data: see `table`.

The criteria are those of the three other areas, those of whole visits, and that nobody sees another's data. What the
cache finds is left out: these few users read so seldom from it that its share is never sure.

Two faults have no row here: what an instance burns of a core is for the machine to say, and whether so few reads make
the alert on the cache fire is for chance.
"""

from loadkit.verdict import Status
from tests.matrix.table import BUSIEST, DOUBT, FAILS, FLIPS, PASSES, Row

CONNECTIONS, DELIVERED = 40, 300
"""Connections, and messages per second to all of them."""
DASHBOARDS = 20
"""Connections that follow what is written to their tenant's dashboard."""
API_USERS, WORKFLOW_USERS, ANALYSTS, INVALID_USERS, RECORDS = 20, 15, 4, 3, 20
"""Users of each population, those who send invalid records among them, and records per second."""
SYSTEM_HOLD, QUIET_HOLD = 45.0, 30.0
"""Seconds that the load holds: under a fault, and in a run that is repeated with nothing wrong."""

_OF_HTTP = {
    "p95": "the p95 response time of the API users stays below 500 ms",
    "errors": "the error rate of the API users is below 2%",
    "uptime": "uptime is above 70%",
    "throughput": "throughput of the API users is above 10 requests per second",
    "pool": "database connection pool utilization stays below 80%",
    "memory": "memory usage stays below 400 MB per instance",
    "balance": f'the Prometheus query "{BUSIEST}" stays below 0.65',
    "quiet": "no alert fires",
}
_OF_MESSAGES = {
    "fresh": "the p95 message latency is below 250 ms",
    "reach": "reach is above 99%",
    "lost": "no message is lost",
    "doubled": "no message is delivered twice",
    "order": "messages arrive in order",
    "foreign": "no message carries another tenant's data",
    "told": "an event reaches every dashboard within 250 ms",
    "open": f"at least {CONNECTIONS + DASHBOARDS} connections stay open",
    "connects": "the connection success rate is above 85%",
    "back": "95% of the clients are back within 10 seconds",
}
_OF_DATABASE = {
    "records": "throughput of the inserts is above 10 records per second",
    "indexes": "index utilization of the key queries is above 95%",
    "waits": "connection pool efficiency is above 90%",
    "deadlocks": "no deadlock occurs",
    "dead": "dead tuples stays below 100000",
}
_OF_THE_WHOLE = {
    "tenants": "no tenant ever sees another tenant's data",
    "writes": "every acknowledged write is stored exactly once",
    "rejected": "no rejected write is stored",
    "workflows": "the workflow success rate is above 85%",
}
SYSTEM_CRITERIA = {**_OF_HTTP, **_OF_MESSAGES, **_OF_DATABASE, **_OF_THE_WHOLE}


def usual_of_system(criterion: str) -> frozenset[Status]:
    """What a criterion is while nothing is wrong: without a drop, nobody has to come back."""
    return DOUBT if criterion == "back" else PASSES


SYSTEM_ROWS = (
    Row("without a fault every promise of all protocols is kept at once"),
    Row(
        "one overview in five is the first tenant's: nothing else says so",
        "foreign-answers",
        {"share": 0.2},
        {"tenants": FAILS},
        # Users read once which widgets their tenant has: those of another one would be errors, too.
        at=12.0,
    ),
    Row(
        "half of the sums are the next tenant's, as the service names the wrong one: only their key says so",
        "foreign-sums",
        {"share": 0.5},
        {"tenants": FAILS},
        # As above: an overview names the widgets.
        at=12.0,
    ),
    Row(
        "one message in twenty has another tenant's key",
        "foreign-messages",
        {"share": 0.05},
        {"tenants": FAILS, "foreign": FAILS},
    ),
    Row(
        "half of the reads of events get another tenant's rows: visitors do not find what they have just posted",
        "foreign-rows",
        {"share": 0.5},
        {"tenants": FAILS, "workflows": FAILS},
    ),
    Row(
        "three events in ten are acknowledged and not stored: the records and the visits that look for them say so",
        "writes-dropped",
        {"share": 0.3},
        {"writes": FAILS, "records": FAILS, "workflows": FAILS},
    ),
    Row(
        "three events in ten are stored twice",
        "writes-doubled",
        {"share": 0.3},
        {"writes": FAILS, "workflows": FAILS},
    ),
    Row(
        "one event in a hundred is stored under the next tenant: only who compares the tenants of rows sees it",
        "writes-misplaced",
        {"share": 0.01},
        {"writes": FAILS, "tenants": FAILS},
    ),
    Row(
        "the valid records of half of the rejected batches are stored: no row should be there that was rejected",
        "rejected-stored",
        {"share": 0.5},
        {"rejected": FAILS, "writes": FAILS},
    ),
    Row(
        "three deliveries in ten are left out: visitors wait in vain for what they have posted",
        "messages-lost",
        {"share": 0.3},
        {"lost": FAILS, "reach": FAILS, "told": FAILS, "workflows": FAILS},
    ),
    Row(
        "three writes in ten are stored and not published: no number is missing, and no dashboard learns of them",
        "events-unpublished",
        {"share": 0.3},
        {"told": FAILS, "workflows": FAILS},
    ),
    Row(
        "the index of events by name is missing, which users of so few events do not feel",
        "missing-index",
        {},
        {"indexes": FAILS},
    ),
    Row(
        "one delivery in twenty is made twice",
        "messages-doubled",
        {"share": 0.05},
        {"doubled": FAILS},
    ),
    Row(
        "one message in fifty comes after the next one, at the latest after a second: no visitor waits too long for it",
        "messages-reordered",
        {"share": 0.02},
        {"order": FAILS},
    ),
    Row(
        "every message is late by half a second, which visitors who look for theirs bear",
        "messages-delayed",
        {"delay": 0.5},
        {"fresh": FAILS, "told": FAILS},
    ),
    Row(
        # Those of the visitors are open too, so that enough are open at any time.
        "connections are cut now and then: their clients miss nothing, and a visit whose dashboard is cut does not succeed",
        "connections-cut",
        {"share": 0.015},
        {"back": PASSES, **dict.fromkeys(("told", "workflows"), PASSES | DOUBT)},
        at=6.0,
    ),
    Row(
        "half of the connections are accepted and closed at once: who stays tries again, a visitor does not",
        "connections-closed-at-once",
        {"share": 0.5},
        {"connects": FLIPS, "workflows": FAILS},
    ),
    Row(
        "one request in twenty fails: a visit makes so many that most others do not notice what it does",
        "errors",
        {"share": 0.05},
        {**dict.fromkeys(("errors", "quiet", "workflows"), FAILS), "connects": PASSES | DOUBT},
    ),
    Row(
        "requests fail in rows of twenty: fewer independent ones, which may leave in doubt what single ones would show",
        "error-bursts",
        {"share": 0.08, "burst": 20},
        {
            "quiet": FAILS,
            **dict.fromkeys(("p95", "errors", "workflows"), FLIPS),
            **dict.fromkeys(("uptime", "throughput", "connects", "records"), PASSES | DOUBT),
        },
    ),
    Row(
        # The service stamps a message after the stall.
        "a stall of 1.5 seconds in ten is in what users wait for; what is published after it is not late",
        "periodic-stall",
        {"period": 10.0, "length": 1.5},
        {
            "p95": FAILS,
            **dict.fromkeys(("uptime", "pool", "memory", "balance", "waits"), PASSES | DOUBT),
            **dict.fromkeys(("fresh", "told", "connects", "workflows"), PASSES | DOUBT),
        },
    ),
    Row(
        "the service stands still for eight seconds: one event that all wait for; what is published after it is not late",
        "freeze",
        {"seconds": 8.0},
        {
            "quiet": FAILS,
            "p95": FLIPS,
            **dict.fromkeys(("uptime", "throughput", "records", "connects", "workflows"), PASSES | DOUBT),
            **dict.fromkeys(("fresh", "told"), PASSES | DOUBT),
            **dict.fromkeys(("pool", "memory", "balance", "waits"), PASSES | DOUBT),
            **dict.fromkeys(("reach", "lost"), PASSES | DOUBT),
        },
        at=18.0,
    ),
    Row(
        "one connection in each pool is enough for these few",
        "pool-too-small",
        {"size": 1},
        {"pool": PASSES | DOUBT, "waits": PASSES | DOUBT},
    ),
    Row(
        "connections that are never given back fill the pool, and then requests wait, time out, and fail",
        "pool-leak",
        {"every": 2.0},
        {
            **dict.fromkeys(SYSTEM_CRITERIA, PASSES | DOUBT),
            "p95": FAILS,
            **dict.fromkeys(("errors", "uptime", "throughput", "records", "workflows"), FLIPS),
            **dict.fromkeys(("pool", "quiet", "waits"), FLIPS),
            "back": DOUBT,
        },
        at=10.0,
    ),
    Row(
        "writers wait for a lock for three seconds of ten, and keep connections of the pool, for which all others wait",
        "lock-held",
        {"seconds": 3.0, "period": 10.0},
        {
            **dict.fromkeys(("p95", "quiet"), FAILS),
            **dict.fromkeys(("pool", "waits"), FLIPS),
            **dict.fromkeys(("uptime", "throughput", "balance", "records"), PASSES | DOUBT),
            **dict.fromkeys(("fresh", "told", "connects", "workflows"), PASSES | DOUBT),
        },
    ),
    Row(
        "all connections are cut at once: visits break off, and who stays is back and misses nothing",
        "all-connections-cut",
        {},
        {
            "open": FAILS,
            "back": PASSES,
            **dict.fromkeys(("fresh", "told", "connects", "workflows"), PASSES | DOUBT),
        },
        at=20.0,
    ),
    Row(
        "the load balancer is away for two seconds: requests fail, and all connections end and come back",
        "balancer-restarted",
        {"seconds": 2.0},
        {
            "open": FAILS,
            "back": PASSES,
            **dict.fromkeys(("errors", "connects"), FLIPS),
            **dict.fromkeys(("p95", "uptime", "throughput", "fresh", "told"), PASSES | DOUBT),
            **dict.fromkeys(("records", "reach", "lost", "workflows"), PASSES | DOUBT),
        },
        at=20.0,
    ),
    Row(
        "one connection in ten stands still, those of visitors too: what others receive shows what it misses",
        "connections-stalled",
        {"share": 0.1},
        {
            **dict.fromkeys(("lost", "reach"), FAILS),
            **dict.fromkeys(("told", "connects", "workflows"), PASSES | DOUBT),
        },
        # Its own pings would find it after twenty seconds.
        at=29.0,
    ),
    Row(
        "who is cut off is refused from then on, and so is each visitor",
        "reconnect-refused",
        {"seconds": 90.0},
        {
            # A probe of the uptime has no credentials: that is said first, and counts as ready.
            **dict.fromkeys(("open", "back", "connects", "workflows", "quiet"), FAILS),
            **dict.fromkeys(("lost", "reach"), DOUBT),
            **dict.fromkeys(("fresh", "told"), PASSES | DOUBT),
        },
        amid={"connections-cut": {"share": 0.02}},
        at=15.0,
    ),
    Row(
        "everything is refused: it ends the load, and says nothing of what would have been later",
        "refuse-all",
        {},
        {
            **dict.fromkeys(SYSTEM_CRITERIA, DOUBT),
            # The probes of connections are refused, too.
            **dict.fromkeys(("uptime", "throughput", "quiet", "connects", "records"), FLIPS),
            **dict.fromkeys(("p95", "errors", "workflows"), FAILS),
        },
        at=15.0,
    ),
    Row(
        "two sessions deadlock every five seconds, and no user is one of them",
        "deadlocks",
        {"every": 5.0},
        {"deadlocks": FAILS},
    ),
    Row(
        "dead rows stay in the table of the dashboard's sums",
        "autovacuum-off",
        {"rate": 10_000},
        {"dead": FAILS},
    ),
    Row(
        "each flush of the write-ahead log takes 50 ms longer, which nobody was promised to be spared",
        "slow-disk",
        {"delay": 0.05},
    ),
    Row(
        "memory grows past its limit, whatever the users feel",
        "memory-leak",
        {"rate": 40e6, "limit": 600e6},
        {"memory": FAILS},
    ),
    Row(
        "one instance gets most of the requests",
        "favour-instance",
        {"times": 4.0},
        {"balance": FAILS},
    ),
    Row("counters that begin again are no drop and no jump", "counter-reset", at=15.0),
    Row(
        "without Prometheus gauges and alerts are unknown, and what users and the database see is judged all the same",
        "prometheus-stopped",
        {},
        dict.fromkeys(("pool", "memory", "balance", "quiet", "waits"), DOUBT),
    ),
    Row(
        "a tenth of the requests is slow, and the alert that should say so can never fire",
        "alert-rule-broken",
        {},
        {"p95": FAILS},
        amid={"slow-share": {"share": 0.1, "delay": 0.6}},
    ),
    Row(
        "a tenth of the requests is slow: neither messages nor records nor visits are in danger",
        "slow-share",
        {"share": 0.1, "delay": 0.6},
        {"p95": FAILS, "quiet": FAILS},
        at=5.0,
    ),
    Row(
        "an instance dies with half of the connections: they come back, and nothing is lost, doubled or shown to others",
        "instance-killed",
        {},
        {
            **dict.fromkeys(("open", "balance", "quiet"), FAILS),
            "back": PASSES,
            # It is no longer scraped.
            **dict.fromkeys(("pool", "memory", "waits"), DOUBT),
            # At most what was under way, and what came until the balancer knew; and late messages, all at once.
            **dict.fromkeys(("errors", "uptime", "fresh", "told", "workflows"), PASSES | DOUBT),
        },
        at=15.0,
    ),
)
