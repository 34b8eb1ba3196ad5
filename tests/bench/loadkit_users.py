"""loadkit, all of it: users, journey, labels, recording, slices, the run judged; one worker."""

import sys
from pathlib import Path

from loadkit import judge, phrases
from loadkit.run import run
from loadkit.target import Target
from loadkit.workload import MixEntry, Model, Plan, Stage, Think, Workload


def main(url: str, users: int, seconds: int) -> None:
    """Put the load on, and judge it."""
    workload = Workload(
        Model.CLOSED,
        (Stage(0, users), Stage(seconds, users)),
        (MixEntry("tests.bench.journeys:read", 1.0),),
        Think(0, 0),
    )
    done = run(Plan("bench", workload, cache="as it is"), Target("bench", url), root=Path.cwd(), workers=1)
    print(judge.judge(phrases.criterion("the error rate is below 1%"), done))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
