"""The grammar of the sentences that product and QA write; it has all their regular expressions.

::

    criterion  ::= measure [scope] comparison limit | measure comparison limit scope
                 | measure [scope] ("is at most" | "is at least") number
                   "times that at the" word "load" [", or below" limit]
                 | measure [scope] "is at most" number "times that without tenant" quoted
                 | "the service recovers within" duration
                 | "the" quoted "alert fires within" duration | "no alert fires"
                 | "at least" number "connections stay open"
                 | share "of the connections stay open for" duration
                 | share "of the clients are back within" duration
                 | ("an event reaches" | share "of the events reach") "every dashboard within" duration
                 | "no message is lost" | "no message is delivered twice" | "messages arrive in order"
                 | "no message carries another tenant's data"
                 | "no tenant ever sees another tenant's data"
                 | "all users see the same dashboard"
                 | "no deadlock occurs" | "every acknowledged write is stored exactly once"
                 | "no rejected write is stored"
    measure    ::= ["the"] (statistic [time] | "error rate" | "availability" | "uptime"
                 | "throughput" | "CPU utilization" | "memory usage"
                 | "database connection pool utilization" | "connection success rate"
                 | "workflow success rate" | "reach"
                 | "connection pool efficiency" | "index utilization of the key queries"
                 | "cache hit ratio" | "database connections" | "lock waits" | "dead tuples")
                 | "the Prometheus query" quoted
    statistic  ::= "p" number | number ("st" | "nd" | "rd" | "th") "percentile"
                 | "median" | "mean" | "maximum"
    time       ::= ["of the"] ("response time" | "message latency" | "connection time"
                 | "time to reconnect" | "ping round trip" | "send time" | "message round trip"
                 | "query time" | "pool wait" | "workflow time")
    scope      ::= "of the" word "endpoints" | "of the key queries" | "of" quoted | "for users in" name
                 | "of tenant" quoted | "of the" [quoted] name
                 | "on every instance" | "per instance"
    comparison ::= ("is" | "stays") ("below" | "above") | "never exceeds" | "never falls below"
                 | "is at most" | "is at least"
    limit      ::= duration | share | size | rate | number
    duration   ::= number [" "] ("ms" | "s" | "min" | "h" | their words)
    share      ::= number [" "] "%"
    size       ::= number [" "] ("GB" | "GiB" | …)
    rate       ::= number ("requests" | "messages" | "records") "per second"
    number     ::= digits, optionally with commas or spaces for thousands and a decimal point

`normalization` replaces typographic spaces, quotes and hyphens before a sentence is read.
`numbers` reads numbers and refuses ambiguous ones: `1.000` may mean 1 or 1000.
`parameters` defines the parts of sentences, and `sentences` defines whole sentences.
`reading` converts a sentence to its criterion, and `suggestions` explains why one cannot be read.
"""

from loadkit.grammar.normalization import normalize
from loadkit.grammar.parameters import PARAMETERS, Parameter, Quantity, is_query, read
from loadkit.grammar.reading import criterion, explain
from loadkit.grammar.sentences import (
    ALERTS,
    GIVEN,
    THEN,
    WHEN,
    alert_within,
    back_within,
    connections_stay,
    converged,
    counted_exactly,
    delivered_exactly,
    lasting,
    limit_criterion,
    load_comparison,
    no_alert,
    observed_as,
    reaches_within,
    recovery_within,
    tenant_comparison,
)

__all__ = [
    "ALERTS",
    "GIVEN",
    "PARAMETERS",
    "THEN",
    "WHEN",
    "Parameter",
    "Quantity",
    "alert_within",
    "back_within",
    "connections_stay",
    "converged",
    "counted_exactly",
    "criterion",
    "delivered_exactly",
    "explain",
    "is_query",
    "lasting",
    "limit_criterion",
    "load_comparison",
    "no_alert",
    "normalize",
    "observed_as",
    "reaches_within",
    "read",
    "recovery_within",
    "tenant_comparison",
]
