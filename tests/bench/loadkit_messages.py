"""loadkit, all of it: connections that receive messages, recorded, and the run judged; one worker."""

import json
import sys
from pathlib import Path

_RAMP = 1000.0
"""Connections per second that are opened."""


def main(url: str, connections: int, seconds: int) -> None:
    """Hold so many connections for so long, and judge the latency of their messages."""
    # Imported here, as `loadkit`'s own commands do: each worker's process imports this module too.
    from loadkit import grammar
    from loadkit.engine.run import run
    from loadkit.judging import judge
    from loadkit.judging.evidence import Evidence
    from loadkit.target import Target
    from loadkit.workload.plan import Plan
    from loadkit.workload.workload import MixEntry, Model, Stage, Workload

    ramp = connections / _RAMP
    workload = Workload(
        Model.CLOSED,
        (Stage(ramp, connections), Stage(max(seconds - ramp, 1), connections)),
        (MixEntry("tests.bench.journeys:follow", 1.0),),
    )
    plan = Plan.of("bench", workload, cache="as it is")
    done = run(plan, Target("bench", url), root=Path.cwd(), workers=1)
    evidence = Evidence(done)
    latency = judge.judge(grammar.criterion("the p95 message latency stays below 1 s"), evidence)
    lost = judge.judge(grammar.criterion("no message is lost"), evidence)
    print(
        json.dumps(
            {"received": lost.details.get("received", 0), "lost": lost.measured, "p95": latency.measured}
        )
    )


if __name__ == "__main__":
    url, connections, seconds = sys.argv[1:]
    main(url, int(connections), int(seconds))
