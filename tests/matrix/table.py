"""What each fault must do to each criterion, as data.

A verdict that a row does not name must be what it is without a fault (`usual`): a pass, but for an alert that has no
reason to fire. For machines that are not quiet there is one rule, `EXCUSED`: where the load generator was itself
disturbed, and says so, a verdict may say that it does not know; a pass where a fault was, or a fail where none was, is
wrong on any machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadkit.verdict import Status
from loadkit.workload.workload import Think

HITS = (
    "sum(rate(cache_hits_total[5s])) / (sum(rate(cache_hits_total[5s])) + sum(rate(cache_misses_total[5s])))"
)
BUSIEST = "max(sum by (instance) (rate(http_requests_total[10s]))) / sum(rate(http_requests_total[10s]))"
CRITERIA = {
    "p95": "the p95 response time stays below 500 ms",
    "errors": "the error rate is below 1%",
    "availability": "availability is above 99%",
    # Half a minute of one probe a second cannot show more.
    "uptime": "uptime is above 70%",
    "throughput": "throughput is above 80 requests per second",
    "pool": "database connection pool utilization stays below 80%",
    # Between what these few users need, a tenth of a core, and what a burning instance gets where others want it too.
    "cpu": "CPU utilization stays below 25% on every instance",
    "memory": "memory usage stays below 400 MB per instance",
    "cache": f'the Prometheus query "{HITS}" is above 0.2',
    "balance": f'the Prometheus query "{BUSIEST}" stays below 0.65',
    "quiet": "no alert fires",
    "alarm": 'the "HighLatency" alert fires within 40 seconds',
}
GAUGES = ("pool", "cpu", "memory", "cache", "balance")
ALERTS = ("quiet", "alarm")

PASSES = frozenset({Status.PASS})
FAILS = frozenset({Status.FAIL})
DOUBT = frozenset({Status.INCONCLUSIVE})
FLIPS = FAILS | DOUBT
UNDECIDED = frozenset({Status.INVALID, Status.INCONCLUSIVE})

_USERS, _THINK, _TIMEOUT = 40, Think(0.1, 0.3), 10.0

SHORT, FULL = 46.0, 90.0
"""Seconds that the load holds. CPU is judged from thirty on, and up to a third is left out as warm-up."""


def usual(criterion: str) -> frozenset[Status]:
    """What a criterion is while nothing is wrong."""
    return FAILS if criterion == "alarm" else PASSES


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, and what follows from it."""

    sentence: str
    fault: str = ""
    """As the local environment knows it; "" for none."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, frozenset[Status]] = field(default_factory=dict)
    """Of the criteria that it touches; with a pass among others where how much depends on chance."""
    amid: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Other faults with their parameters, that are on before it."""
    at: float | None = None
    """Seconds into the run at which it begins; None: before it."""
    users: int = _USERS
    think: Think = _THINK
    timeout: float = _TIMEOUT
    """Seconds for a whole request."""
    seen: float = 1.0
    """Ratio 0-1: the largest share of the requests that took longer than promised, as the users sent them."""
    starves_generator: bool = False
    """Is the load generator's own core taken by somebody else?"""
    hold: float | None = None
    """Seconds that the load holds; None: as long as usual in its area."""

    @property
    def name(self) -> str:
        """What is switched on, and what is unusual in the load: for the test's name and the page of results."""
        what = self.fault or ("generator starved" if self.starves_generator else "nothing")
        words = [" ".join((what, *(f"{key}={value:g}" for key, value in self.parameters.items())))]
        words += [f"amid {fault}" for fault in self.amid]
        if self.at is not None:
            words.append(f"after {self.at:g} s")
        if self.users != _USERS:
            words.append(f"{self.users} users")
        if self.think != _THINK:
            words.append(f"pauses of {self.think.low:g} to {self.think.high:g} s")
        if self.timeout != _TIMEOUT:
            words.append(f"time-out of {self.timeout:g} s")
        if self.hold is not None:
            words.append(f"for {self.hold:g} s")
        return ", ".join(words)


_SLOW = {"share": 0.1, "delay": 0.6}
_REFUSED = {
    **dict.fromkeys(("p95", "errors", "availability"), FAILS),
    **dict.fromkeys(("throughput", "quiet"), FLIPS),
    # What ran of it kept these limits, which says nothing of what would have run.
    **dict.fromkeys(("uptime", *GAUGES), DOUBT),
}

ROWS = (
    Row("without a fault every promise is kept"),
    Row(
        "a tenth of the requests is slow: the p95 shows it, the alert on it fires, and nothing else says so",
        "slow-share",
        _SLOW,
        {"p95": FAILS, "alarm": PASSES, "quiet": FAILS},
        # Not before the run: an alert that fires when the load begins says nothing of it.
        at=5.0,
    ),
    Row(
        "three in a hundred fail: too few to lift the p95, enough for the error rate, its complement, and their alert",
        "errors",
        {"share": 0.03},
        {"errors": FAILS, "availability": FAILS, "quiet": FAILS},
    ),
    Row(
        "errors in rows of twenty: fewer independent ones, so the p95, near its limit, may be left in doubt",
        "error-bursts",
        {"share": 0.04, "burst": 20},
        {"errors": FAILS, "availability": FAILS, "quiet": FAILS, "p95": PASSES | DOUBT},
    ),
    Row(
        "everything refused from the middle on: fast failures flatter no percentile; it is cut short before an alert fires",
        "refuse-all",
        {},
        {**_REFUSED, "alarm": DOUBT},
        at=15.0,
        hold=SHORT,
    ),
    Row(
        "everything refused from the middle of a longer run on, which the good half does not make up for",
        "refuse-all",
        {},
        _REFUSED,
        at=45.0,
    ),
    Row(
        "users who wait send little, so that few requests see a freeze: filled, the p95 does not pass all the same",
        "freeze",
        {"seconds": 8.0},
        # One outage in a short run is neither surely much nor surely little for these; the p95 fails where it breaks
        # two ten-second windows, as it does unless it happens to lie within one. Nothing is scraped meanwhile, but the
        # query's own five seconds may reach across.
        {
            "p95": FLIPS,
            **dict.fromkeys(("uptime", "throughput", "cache", "balance"), PASSES | DOUBT),
            **dict.fromkeys(("pool", "cpu", "memory"), DOUBT),
            "quiet": FAILS,
        },
        at=18.0,
        hold=SHORT,
    ),
    Row(
        "twenty seconds of three hundred, which less than one request in a hundred sees: the p95 fails",
        "freeze",
        {"seconds": 20.0},
        {
            **dict.fromkeys(("p95", "quiet"), FAILS),
            "uptime": PASSES | DOUBT,
            **dict.fromkeys(GAUGES, DOUBT),
            # Its query looks back ten seconds: unseen are the other ten of three hundred, less than a p95 allows.
            "balance": PASSES | DOUBT,
        },
        at=150.0,
        users=100,
        think=Think(),
        # Requests that wait and do not fail: an outage of ten seconds in which all fail would be its own end.
        timeout=30.0,
        seen=0.01,
        hold=300.0,
    ),
    Row(
        "a freeze that outlasts the users' patience: all fail at once, which ends the run, and judges it too",
        "freeze",
        {"seconds": 20.0},
        {
            **dict.fromkeys(("p95", "quiet"), FAILS),
            **dict.fromkeys(("errors", "availability", "uptime", "throughput"), FLIPS),
            **dict.fromkeys(GAUGES, DOUBT),
        },
        at=45.0,
        users=100,
        think=Think(),
    ),
    Row(
        "a stall of two seconds in ten is in the p95 of users who wait; scrapes and probes in it are lost",
        "periodic-stall",
        {"period": 10.0, "length": 2.0},
        {"p95": FAILS, **dict.fromkeys(("uptime", *GAUGES), PASSES | DOUBT)},
    ),
    Row(
        "many users who hardly pause: how much of a core that takes is for the machine to say, the pool has room",
        users=60,
        think=Think(0.0, 0.05),
        verdicts={"cpu": PASSES | FLIPS},
    ),
    Row(
        # Who never pauses waits for the one connection on any machine: two, and a pause, left it idle on a fast one.
        "one connection for these many: the pool and its alert show it, and they wait for it, bearably",
        "pool-too-small",
        {"size": 1},
        {"cpu": PASSES | FLIPS, "pool": FLIPS, "quiet": FAILS},
        users=60,
        think=Think(0.0, 0.0),
    ),
    Row(
        "one connection is often in use, and so all of the pool is: nobody who waits for it feels that",
        "pool-too-small",
        {"size": 1},
        {"pool": FLIPS},
        think=Think(0.05, 0.2),
        hold=SHORT,
    ),
    Row(
        "connections that are never given back fill the pool, and then requests wait, time out, and fail",
        "pool-leak",
        {"every": 7.0},  # all six of an instance in forty seconds
        {
            **dict.fromkeys(("p95", "errors", "availability", "quiet"), FAILS),
            **dict.fromkeys(("uptime", "throughput", "pool", "balance"), FLIPS),
            # It is cut short: what ran of it kept these limits.
            **dict.fromkeys(("cpu", "memory", "cache"), DOUBT),
        },
        at=10.0,
    ),
    Row(
        "each instance burns most of a core: its CPU shows it, and users may feel it, bearably",
        "cpu-burn",
        {"share": 0.9},
        {"cpu": FAILS},
    ),
    Row(
        "memory grows past its limit, whatever the users feel",
        "memory-leak",
        {"rate": 40e6, "limit": 600e6},
        {"memory": FAILS},
    ),
    Row(
        "nothing is found in the cache: only what is read from it says so, and its alert",
        "cache-off",
        {},
        {"cache": FAILS, "quiet": FAILS},
    ),
    Row(
        "one instance gets most of the requests: only who asks who served them sees it",
        "favour-instance",
        {"times": 4.0},
        {"balance": FAILS},
    ),
    Row(
        "an instance that dies unasked is no longer scraped, so that nothing good can be said of it",
        "instance-killed",
        {},
        {
            **dict.fromkeys(("pool", "cpu", "memory"), DOUBT),
            # At most what was under way, and what came until the balancer knew.
            **dict.fromkeys(("errors", "availability", "uptime"), PASSES | DOUBT),
            **dict.fromkeys(("balance", "quiet"), FAILS),
        },
        at=15.0,
    ),
    Row(
        "without Prometheus gauges and alerts are unknown, and what users see is judged all the same",
        "prometheus-stopped",
        {},
        dict.fromkeys((*GAUGES, *ALERTS), DOUBT),
    ),
    Row(
        "a tenth of the requests is slow, as above, but the alert that should say so can never fire",
        "alert-rule-broken",
        {},
        {"p95": FAILS},
        amid={"slow-share": _SLOW},
    ),
    Row(
        "a load generator without its core is no fault of the service's: nothing is said of it that is not so",
        verdicts={name: usual(name) | UNDECIDED for name in CRITERIA},
        starves_generator=True,
    ),
    Row("counters that begin again are no drop and no jump", "counter-reset", at=15.0),
)


EXCUSED: Mapping[str, frozenset[Status]] = {"ok": frozenset(), "warn": UNDECIDED, "invalid": UNDECIDED}
"""What else is right where the load generator was, by its own signs, so well."""
