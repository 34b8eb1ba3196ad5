"""What `behave --dry-run` says at its end: the runs, in order, what each judges and costs, and what cannot be read."""

import sys
from collections.abc import Callable, Mapping, Sequence

from loadkit.environment.environment import Environment
from loadkit.units import format_seconds
from loadkit.workload.plan import Plan
from loadkit.workload.workload import Workload
from steps.suite.session import SharedRun

__all__ = ["difference", "show", "too_long"]


def show(shared: Mapping[str, SharedRun], problems: Sequence[str], environment: Environment) -> int:
    """Print it, problems on stderr; return the exit code: 2 where there is a problem, or nothing to judge."""
    runs = list(shared.values())
    for number, run in enumerate(runs):
        why = f"; a run of its own: {difference(run.plan, runs[0].plan)}" if number else ""
        print(f"{run.title}, {format_seconds(seconds(run.plan))}: {_use(run)}{why}")
    total = sum(seconds(run.plan) for run in runs)
    if runs:
        print(
            f"{len(runs)} run{'s' * (len(runs) > 1)}, {format_seconds(total)} in all on {environment.name}; no load was put on"
        )
    sys.stdout.flush()
    trouble = too_long(shared, environment)
    problems = [*problems, trouble] if trouble else problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if not runs and not problems:
        print("no criterion was selected: a tag that selects nothing is not a pass", file=sys.stderr)
    return 2 if problems or not runs else 0


def too_long(shared: Mapping[str, SharedRun], environment: Environment) -> str:
    """Why the environment does not permit as much load in all, in one line; empty where it does."""
    minutes = sum(seconds(run.plan) for run in shared.values()) / 60
    if minutes <= environment.settings.max_minutes:
        return ""
    return (
        f"environments/{environment.file.name} allows {environment.settings.max_minutes:g} minutes of load (max_minutes), "
        f"these runs take {minutes:.0f}"
    )


def seconds(plan: Plan) -> float:
    """How long a run takes by plan."""
    return plan.seconds


def difference(plan: Plan, other: Plan) -> str:
    """Why two plans cannot share a run, in words: what `plan` has where `other` has something else."""
    mine, theirs = _told(plan), _told(other)
    return "; ".join(f"{mine[name]} instead of {theirs[name]}" for name in mine if mine[name] != theirs[name])


def _use(run: SharedRun) -> str:
    """What a run is for, and whether it disturbs the service."""
    noun = "criterion" if run.criteria == 1 else "criteria"
    uses = [f"judges {run.criteria} {noun}"] if run.criteria or not run.compared else []
    uses += [f"is compared with by {run.compared} of other runs"] if run.compared else []
    uses += [
        f"disturbs the service ({', '.join(action.name for action in run.plan.actions)})"
    ] * run.plan.disturbs
    return ", ".join(uses)


def _told(plan: Plan) -> dict[str, str]:
    """A plan in words, part by part."""

    def told(words: Callable[[Workload], str]) -> str:
        """What is to be said of the populations' loads, once where they are alike."""
        return " + ".join(dict.fromkeys(words(population.workload) for population in plan.populations))

    return {
        "load": plan.in_words,
        "time": told(_time),
        "mix": told(
            lambda load: ", ".join(
                f"{entry.share:.0%} {entry.journey}{f' in {entry.region}' if entry.region else ''}"
                for entry in load.mix
            )
        ),
        "think": told(lambda load: f"{load.think.low:g} to {load.think.high:g} s of thinking"),
        "pace": told(
            lambda load: (
                f"a journey every {format_seconds(load.pace)}" if load.pace else "no pace of journeys"
            )
        ),
        "cache": f"a {plan.cache} cache",
        "actions": ", ".join(action.name for action in plan.actions) or "no action",
    }


def _time(load: Workload) -> str:
    """How long the stages of a load are, with the levels that they go to unless there is only one."""
    lasting = [stage for stage in load.stages if stage.seconds]
    has_one_level = len({stage.level for stage in load.stages}) == 1
    return " + ".join(
        format_seconds(stage.seconds) + ("" if has_one_level else f" to {stage.level:g}") for stage in lasting
    )
