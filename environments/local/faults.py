"""The catalogue of faults: their parameters, and where each fault is executed."""

from dataclasses import dataclass

from environments.local.errors import LocalError


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that can be switched on and off; if `in_service`, each instance executes it."""

    description: str
    parameters: dict[str, float]
    in_service: bool = True


# Times in seconds, sizes in bytes, shares from 0 to 1.
FAULTS = {
    "slow-share": Fault("delays a share of the requests", {"share": 0.1, "delay": 1.0}),
    "periodic-stall": Fault(
        "all instances block for a length of time, once per period", {"period": 10.0, "length": 1.0}
    ),
    "freeze": Fault("the whole service stops answering, then resumes", {"seconds": 20.0}, in_service=False),
    "errors": Fault("a share of the requests fails, at random", {"share": 0.05}),
    "error-bursts": Fault("a share of the requests fails, in bursts", {"share": 0.05, "burst": 20}),
    "refuse-all": Fault("every request is refused immediately (503)", {}),
    "cpu-burn": Fault("each instance uses an additional share of a core", {"share": 0.8}),
    "memory-leak": Fault("each instance's memory grows at a rate per second", {"rate": 50e6, "limit": 2.5e9}),
    "pool-too-small": Fault("each instance has few database connections", {"size": 1}),
    "pool-leak": Fault("each instance leaks a database connection at intervals", {"every": 1.0}),
    "cache-off": Fault("every cache look-up is a miss", {}),
    "foreign-answers": Fault("a share of the cache look-ups finds the first tenant's page", {"share": 0.01}),
    "foreign-sums": Fault(
        "a share of the overviews, analytics and usages is read for the next tenant", {"share": 0.01}
    ),
    "favour-instance": Fault(
        "the first instance gets several times the requests of each other one",
        {"times": 4.0},
        in_service=False,
    ),
    "instance-killed": Fault("the last instance is killed; off starts it again", {}, in_service=False),
    "balancer-restarted": Fault(
        "the load balancer is stopped, which ends all connections, and started again after a time",
        {"seconds": 2.0},
        in_service=False,
    ),
    "prometheus-stopped": Fault("Prometheus is stopped; off starts it again", {}, in_service=False),
    "alert-rule-broken": Fault("the HighLatency alert can never fire", {}, in_service=False),
    "counter-reset": Fault("all exported counters are reset to zero, once", {}),
    "rejected-stored": Fault(
        "the valid events of a share of the rejected batches are stored", {"share": 0.1}
    ),
    "events-unpublished": Fault(
        "a share of the writes of events is stored and not published", {"share": 0.1}
    ),
    "messages-lost": Fault("leaves out a share of the deliveries of messages", {"share": 0.01}),
    "messages-doubled": Fault("makes a share of the deliveries of messages twice", {"share": 0.01}),
    "messages-reordered": Fault("sends a share of the messages after the next one", {"share": 0.01}),
    "messages-delayed": Fault("sends every message later", {"delay": 0.3}),
    "foreign-messages": Fault("a share of the messages has another tenant's key", {"share": 0.01}),
    "connections-cut": Fault("each second cuts a share of the WebSocket connections", {"share": 0.02}),
    "all-connections-cut": Fault("all WebSocket connections are cut, once", {}),
    "connections-closed-at-once": Fault(
        "accepts WebSocket connections, and closes a share of them at once", {"share": 0.5}
    ),
    "connections-stalled": Fault(
        "a share of the WebSocket connections is neither written to nor read from", {"share": 0.1}
    ),
    "reconnect-refused": Fault("refuses WebSocket handshakes for a time (503)", {"seconds": 20.0}),
    "missing-index": Fault("the index of events by name does not exist", {}, in_service=False),
    "writes-dropped": Fault(
        "a share of the events is acknowledged and not stored", {"share": 0.01}, in_service=False
    ),
    "writes-doubled": Fault(
        "a share of the events is stored twice, a microsecond apart", {"share": 0.01}, in_service=False
    ),
    "writes-misplaced": Fault(
        "a share of the events is stored under the next tenant", {"share": 0.01}, in_service=False
    ),
    "foreign-rows": Fault(
        "a share of the reads of events gets rows of another tenant", {"share": 0.01}, in_service=False
    ),
    "lock-held": Fault(
        "a lock, once per period, for which writers of events wait",
        {"seconds": 3.0, "period": 10.0},
        in_service=False,
    ),
    "deadlocks": Fault(
        "two sessions of the fault's own deadlock at intervals", {"every": 5.0}, in_service=False
    ),
    "autovacuum-off": Fault(
        "dead rows, so many per second, stay in the table of the dashboard's sums",
        {"rate": 10_000},
        in_service=False,
    ),
    "slow-disk": Fault(
        "commits wait for the disk, and each flush takes longer (at most 0.1 s); reads stay fast",
        {"delay": 0.05},
        in_service=False,
    ),
}


def read_parameters(name: str, given: dict[str, str]) -> dict[str, float]:
    """A fault's parameters: its defaults, replaced by the given values. Raises LocalError."""
    if name not in FAULTS:
        raise LocalError(f"there is no fault {name!r}; there are: {', '.join(FAULTS)}")
    parameters = dict(FAULTS[name].parameters)
    for key, text in given.items():
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            raise LocalError(f"{name} has no parameter {key!r}; it has: {known}")
        try:
            parameters[key] = float(text)
        except ValueError:
            raise LocalError(f"{key}={text}: expected a number, such as {key}={parameters[key]:g}") from None
    return parameters
