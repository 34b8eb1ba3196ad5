"""loadkit, all of it: users, journey, labels, recording, slices, the run judged; one worker unless told otherwise."""

import sys
from pathlib import Path


def main(url: str, users: int, seconds: int, low: float, high: float, workers: int = 1) -> None:
    """Put the load on, and judge it. Users pause for `low` to `high` seconds after each request."""
    # Imported here, as `loadkit`'s own commands do: each worker's process imports this module too.
    from loadkit import grammar
    from loadkit.engine.run import run
    from loadkit.judging import judge
    from loadkit.judging.evidence import Evidence
    from loadkit.target import Target
    from loadkit.workload.plan import Plan
    from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

    workload = Workload(
        Model.CLOSED,
        (Stage(0, users), Stage(seconds, users)),
        (MixEntry("tests.bench.journeys:read", 1.0),),
        Think(low, high),
    )
    done = run(
        Plan.of("bench", workload, cache="as it is"), Target("bench", url), root=Path.cwd(), workers=workers
    )
    print(judge.judge(grammar.criterion("the error rate is below 1%"), Evidence(done)))


if __name__ == "__main__":
    url, users, seconds, low, high, *more = sys.argv[1:]
    main(url, int(users), int(seconds), float(low), float(high), *map(int, more))
