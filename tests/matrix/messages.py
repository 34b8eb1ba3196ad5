"""What each fault of messages and connections must do to each criterion, as data: see `table`."""

from loadkit.verdict import Status
from tests.matrix.table import DOUBT, FAILS, FLIPS, PASSES, UNDECIDED, Row

MESSAGE_CRITERIA = {
    "fresh": "the p95 message latency is below 100 ms",
    "rate": "throughput is above 700 messages per second",
    "reach": "reach is above 99%",
    "lost": "no message is lost",
    "doubled": "no message is delivered twice",
    "order": "messages arrive in order",
    "tenants": "no message carries another tenant's data",
    "open": "at least 100 connections stay open",
    "connects": "the connection success rate is above 85%",
    "back": "95% of the clients are back within 10 seconds",
}
CONNECTIONS, DELIVERED, MESSAGES_HOLD = 100, 1000, 45.0
"""Connections, messages per second to all of them, and seconds that the load holds."""


def usual_of_messages(criterion: str) -> frozenset[Status]:
    """What a criterion is while nothing is wrong: without a drop, nobody has to come back."""
    return DOUBT if criterion == "back" else PASSES


MESSAGE_ROWS = (
    Row("without a fault every message arrives, once, in order and in time"),
    Row(
        "one delivery in fifty is left out: the gaps in the numbers show it, and nothing else says so",
        "messages-lost",
        {"share": 0.02},
        {"lost": FAILS, "reach": FAILS},
    ),
    Row(
        "one delivery in fifty is made twice",
        "messages-doubled",
        {"share": 0.02},
        {"doubled": FAILS},
    ),
    Row(
        "one message in fifty comes after the next one: it is late, and not lost",
        "messages-reordered",
        {"share": 0.02},
        {"order": FAILS},
    ),
    Row(
        "every message is late by more than the limit",
        "messages-delayed",
        {"delay": 0.3},
        {"fresh": FAILS},
    ),
    Row(
        "one message in fifty is another tenant's",
        "foreign-messages",
        {"share": 0.02},
        {"tenants": FAILS},
    ),
    Row(
        "connections are cut now and then: their clients are soon back, and miss nothing",
        "connections-cut",
        {"share": 0.01},
        {"open": FAILS, "back": PASSES},
        at=10.0,
    ),
    Row(
        "all connections are cut at once, which ends no run, and costs no message",
        "all-connections-cut",
        {},
        # What was missed comes at once: one event of late messages, which can leave the p95 in doubt.
        {"open": FAILS, "back": PASSES, "fresh": PASSES | DOUBT},
        at=20.0,
    ),
    Row(
        "the load balancer is away for two seconds: nobody is connected, and all come back and miss nothing",
        "balancer-restarted",
        {"seconds": 2.0},
        # One event of late messages, which can leave the p95 in doubt, and one of refused attempts: most runs of
        # this length cannot tell how often such an outage comes.
        {"open": FAILS, "connects": FLIPS, "back": PASSES, "fresh": PASSES | DOUBT},
        at=20.0,
        hold=90.0,
    ),
    Row(
        "who is cut off is refused from then on, so that what they miss is not known",
        "reconnect-refused",
        {"seconds": 90.0},
        {
            **dict.fromkeys(("open", "back", "connects"), FAILS),
            **dict.fromkeys(("lost", "reach"), DOUBT),
            # Fewer and fewer clients receive messages.
            "rate": PASSES | DOUBT,
        },
        amid={"connections-cut": {"share": 0.01}},
        at=15.0,
        hold=60.0,
    ),
    Row(
        "half of the connections are accepted and closed at once: clients try again until one stays open",
        "connections-closed-at-once",
        {"share": 0.5},
        {"connects": DOUBT},
    ),
    Row(
        "one connection in ten stands still: what others receive shows what it misses",
        "connections-stalled",
        {"share": 0.1},
        # The last third of the load has a lower rate than the others, which can leave the mean in doubt.
        {"lost": FAILS, "reach": FAILS, "rate": PASSES | DOUBT},
        # Its own pings would find it after twenty seconds.
        at=29.0,
    ),
    Row(
        "two publications in five fail: far fewer messages come, and of those none is missed",
        "errors",
        # If most failed, the emergency stop would end the load.
        {"share": 0.4},
        {"rate": FAILS, "fresh": PASSES | DOUBT},
        # Later than the handshakes, which would fail, too.
        at=10.0,
        hold=90.0,
    ),
    Row(
        "a load generator without its core is no fault of the service's: nothing is said of it that is not so",
        verdicts={name: usual_of_messages(name) | UNDECIDED for name in MESSAGE_CRITERIA},
        starves_generator=True,
        # Later than the handshakes: without its connections, no run can judge messages.
        at=8.0,
    ),
)
