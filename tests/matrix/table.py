"""What each fault must do to each criterion, as data.

A verdict that a row does not name must be what it is without a fault: a pass. For machines that are not quiet there is
one rule, `EXCUSED`: where the load generator was itself disturbed, and says so, a verdict may be invalid, and where that
was grave, inconclusive; a pass where a fault was, or a fail where none was, is wrong on any machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from loadkit.verdict import Status
from loadkit.workload import Think

HITS = (
    "sum(rate(cache_hits_total[5s])) / (sum(rate(cache_hits_total[5s])) + sum(rate(cache_misses_total[5s])))"
)
CRITERIA = {
    "p95": "the p95 response time stays below 500 ms",
    "errors": "the error rate is below 1%",
    "availability": "availability is above 99%",
    # Half a minute of one probe a second cannot show more.
    "uptime": "uptime is above 80%",
    "throughput": "throughput is above 80 requests per second",
    "pool": "database connection pool utilization stays below 80%",
    # Between what these few users need, a tenth of a core, and what a burning instance gets where others want it too.
    "cpu": "CPU utilization stays below 25% on every instance",
    "memory": "memory usage stays below 400 MB per instance",
    "cache": f'the Prometheus query "{HITS}" is above 0.2',
}
GAUGES = ("pool", "cpu", "memory", "cache")

PASSES = frozenset({Status.PASS})
FAILS = frozenset({Status.FAIL})
DOUBT = frozenset({Status.INCONCLUSIVE})
FLIPS = FAILS | DOUBT
MAY_FLIP = PASSES | FLIPS
UNDECIDED = frozenset({Status.INVALID, Status.INCONCLUSIVE})
NO_FAIL = PASSES | UNDECIDED

_THINK = Think(0.1, 0.3)


@dataclass(frozen=True, slots=True)
class Row:
    """One fault, and what follows from it."""

    sentence: str
    fault: str = ""
    """As the local environment knows it; "" for none."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    verdicts: Mapping[str, frozenset[Status]] = field(default_factory=dict)
    """Of the criteria that it touches; `MAY_FLIP` where how much depends on chance or on the machine."""
    at: float | None = None
    """Seconds into the run at which it begins; None: before it."""
    think: Think = _THINK
    starves_generator: bool = False
    """Is the load generator's own core taken by somebody else?"""
    is_short: bool = False
    """Is it among those that `make test` runs?"""

    @property
    def name(self) -> str:
        """For the test's name."""
        return self.fault or ("generator starved" if self.starves_generator else "nothing")


ROWS = (
    Row("without a fault every promise is kept", is_short=True),
    Row(
        "a tenth of the requests is slow: the p95 shows it, and nothing else does",
        "slow-share",
        {"share": 0.1, "delay": 0.7},
        {"p95": FAILS},
        is_short=True,
    ),
    Row(
        "two in a hundred fail: too few to lift the p95, enough for the error rate and its complement",
        "errors",
        {"share": 0.02},
        {"errors": FAILS, "availability": FAILS},
        is_short=True,
    ),
    Row(
        "errors in rows of twenty: fewer independent ones, so the p95, near its limit, may be left in doubt",
        "error-bursts",
        {"share": 0.04, "burst": 20},
        {"errors": FLIPS, "availability": FLIPS, "p95": MAY_FLIP},
    ),
    Row(
        "everything refused from the middle on: fast failures flatter no percentile, the rest was cut short",
        "refuse-all",
        {},
        {
            **dict.fromkeys(("p95", "errors", "availability"), FAILS),
            **dict.fromkeys(("uptime", "throughput", *GAUGES), FLIPS),
        },
        at=15.0,
        is_short=True,
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
            **dict.fromkeys(("uptime", "throughput", "cache"), MAY_FLIP),
            **dict.fromkeys(("pool", "cpu", "memory"), DOUBT),
        },
        at=18.0,
        is_short=True,
    ),
    Row(
        "a stall of two seconds in ten is in the p95 of users who wait; scrapes and probes in it are lost",
        "periodic-stall",
        {"period": 10.0, "length": 2.0},
        {"p95": FAILS, **dict.fromkeys(("uptime", *GAUGES), MAY_FLIP)},
    ),
    Row(
        "one connection and many who want it: the pool shows it, and they wait for it, bearably",
        "pool-too-small",
        {"size": 1},
        {"pool": FLIPS, "cpu": MAY_FLIP},
        think=Think(0.0, 0.02),
        is_short=True,
    ),
    Row(
        "connections that are never given back fill the pool, and then requests wait, time out, and fail",
        "pool-leak",
        {"every": 1.0},
        {
            "pool": FLIPS,
            **dict.fromkeys(("p95", "errors", "availability"), FLIPS),
            **dict.fromkeys(("uptime", "throughput", "cpu", "memory", "cache"), MAY_FLIP),
        },
    ),
    Row(
        "each instance burns most of a core: its CPU shows it; users, and who shares the machine, may feel it",
        "cpu-burn",
        {"share": 0.9},
        {"cpu": FLIPS, **dict.fromkeys(("p95", "throughput", "pool"), MAY_FLIP)},
    ),
    Row(
        "memory grows past its limit, whatever the users feel",
        "memory-leak",
        {"rate": 40e6, "limit": 600e6},
        {"memory": FAILS},
    ),
    Row(
        "nothing is found in the cache: only what is read from it says so",
        "cache-off",
        {},
        {"cache": FAILS},
    ),
    Row("one instance gets most of the requests: no criterion here asks who served them", "favour-instance"),
    Row(
        "an instance that dies unasked is no longer scraped, so that nothing good can be said of it",
        "instance-killed",
        {},
        {
            **dict.fromkeys(("pool", "cpu", "memory"), DOUBT),
            **dict.fromkeys(("errors", "availability", "uptime"), MAY_FLIP),
        },
        at=15.0,
    ),
    Row(
        "without Prometheus the gauges are unknown, and what users see is judged all the same",
        "prometheus-stopped",
        {},
        dict.fromkeys(GAUGES, DOUBT),
    ),
    Row("an alert that can never fire is no fault of the service's", "alert-rule-broken"),
    Row(
        "a load generator without its core is no fault of the service's: nothing fails",
        verdicts=dict.fromkeys(CRITERIA, NO_FAIL),
        starves_generator=True,
    ),
    Row("counters that begin again are no drop and no jump", "counter-reset", at=15.0, is_short=True),
)


EXCUSED: Mapping[str, frozenset[Status]] = {
    "ok": frozenset(),
    "warn": frozenset({Status.INVALID}),
    "invalid": UNDECIDED,
}
"""What else is right where the load generator was, by its own signs, so well."""


def allowed(row: Row, criterion: str, health: str) -> frozenset[Status]:
    """The verdicts on a criterion that are right under a row's fault.

    Args:
        row: the fault.
        criterion: as in `CRITERIA`.
        health: of the load generator, as in `EXCUSED`.

    """
    return row.verdicts.get(criterion, PASSES) | EXCUSED[health]
