"""The summary of `behave --dry-run`: the runs in order, their criteria and durations; problems."""

import sys
from collections.abc import Callable, Mapping, Sequence

from loadkit.environment.environment import Environment
from loadkit.reports.gate import NOTHING_SELECTED
from loadkit.units import format_seconds
from loadkit.workload.plan import Action, Plan
from loadkit.workload.workload import Lognormal, MixEntry, Workload
from steps.suite.session import SharedRun

__all__ = ["difference", "show", "too_long"]


def show(shared: Mapping[str, SharedRun], problems: Sequence[str], environment: Environment) -> int:
    """Print the summary on standard output, and the problems on standard error.

    Returns:
        The exit code: 2 if there is a problem or no criterion.

    """
    runs = list(shared.values())
    for number, run in enumerate(runs):
        why = f"; separate run: {_why(run, runs[:number])}" if number else ""
        print(f"{run.title}, {format_seconds(run.plan.seconds)}: {_use(run)}{why}")
    total = sum(run.plan.seconds for run in runs)
    if runs:
        print(
            f"{len(runs)} run{'s' * (len(runs) > 1)}, {format_seconds(total)} in total on {environment.name}; "
            "no load was started"
        )
    sys.stdout.flush()
    trouble = too_long(shared, environment)
    problems = [*problems, trouble] if trouble else problems
    for problem in problems:
        print(problem, file=sys.stderr)
    if not runs and not problems:
        print(NOTHING_SELECTED, file=sys.stderr)
    return 2 if problems or not runs else 0


def _why(run: SharedRun, earlier: Sequence[SharedRun]) -> str:
    """Why the earlier runs cannot replace a run, in words."""
    again = next((each for each in reversed(earlier) if each.plan == run.plan), None)
    if again is not None:
        is_after = any(run is after for each in earlier for _, after in each.around.values())
        where = "after" if is_after else "before"
        return f"as run {again.letter}, repeated {where} the load that is compared with both"
    similar = [each for each in earlier if _names(each.plan) == _names(run.plan)]
    if not similar:
        return "no earlier run has this load"
    nearest = min(similar, key=lambda each: len(_differing(run.plan, each.plan)))
    return f"{difference(run.plan, nearest.plan)}, as in run {nearest.letter}"


def _names(plan: Plan) -> frozenset[str]:
    """The names of a plan's populations. Plans with other populations are not compared."""
    return frozenset(population.name for population in plan.populations)


def too_long(shared: Mapping[str, SharedRun], environment: Environment) -> str:
    """One line if the runs exceed the minutes of load that the environment allows, else empty."""
    minutes = sum(run.plan.seconds for run in shared.values()) / 60
    if minutes <= environment.settings.max_minutes:
        return ""
    return (
        f"environments/{environment.file.name} allows {environment.settings.max_minutes:g} minutes of load "
        f"(max_minutes), these runs take {minutes:.0f}"
    )


def difference(plan: Plan, other: Plan) -> str:
    """Why two plans cannot share a run, in words: the parts of `plan` that differ from `other`."""
    differing = _differing(plan, other)
    # An example of other details is the number of records per request.
    return (
        "; ".join(f"{mine} instead of {theirs}" for mine, theirs in differing) or "other details of the load"
    )


def _differing(plan: Plan, other: Plan) -> list[tuple[str, str]]:
    """The parts of two plans that differ, in words: those of `plan`, and those of `other`."""
    mine, theirs = _parts(plan), _parts(other)
    return [(mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]]


def _use(run: SharedRun) -> str:
    """The use of a run, and the actions that disturb the service."""
    noun = "criterion" if run.criteria == 1 else "criteria"
    compared_noun = "criterion" if run.compared == 1 else "criteria"
    uses = [f"judges {run.criteria} {noun}"] if run.criteria or not run.compared else []
    uses += [f"is the reference of {run.compared} {compared_noun} of other runs"] if run.compared else []
    uses += [
        f"disturbs the service ({', '.join(action.name for action in run.plan.actions)})"
    ] * run.plan.disturbs
    return ", ".join(uses)


def _parts(plan: Plan) -> dict[str, str]:
    """The parts of a plan in words, by name."""

    def joined(words: Callable[[Workload], str]) -> str:
        """The words for the loads of all populations, without repetitions."""
        return " + ".join(dict.fromkeys(words(population.workload) for population in plan.populations))

    return {
        "load": plan.in_words,
        "time": joined(_time),
        "mix": joined(lambda load: _shares(load, lambda entry: entry.journey)),
        "regions": joined(
            lambda load: _shares(load, lambda entry: entry.region and f"users in {entry.region}")
        ),
        "think": joined(_think),
        "pace": joined(
            lambda load: (
                f"a journey every {format_seconds(load.pace)}" if load.pace else "no pace of journeys"
            )
        ),
        "cache": f"a {plan.cache} cache",
        "sessions": joined(_sessions),
        "churn": joined(_churn),
        "actions": ", ".join(_action(action) for action in plan.actions) or "no action",
    }


def _think(load: Workload) -> str:
    """The think time of a load, with its distribution."""
    think = load.think
    if think.distribution == "lognormal":
        return f"a think time with {_lognormal(think.lognormal)}"
    if think.distribution == "exponential":
        return f"a think time of {format_seconds(think.mean)} on average"
    return f"a think time of {think.low:g} to {think.high:g} s"


def _sessions(load: Workload) -> str:
    return f"sessions with {_lognormal(load.session)}" if load.session else "users who stay to the end"


def _lognormal(times: Lognormal) -> str:
    return f"a median of {format_seconds(times.median)} and a p95 of {format_seconds(times.p95)}"


def _churn(load: Workload) -> str:
    if not load.churn:
        return "connections that stay"
    return f"{load.churn * 60:.4g} drops per minute and connection"


def _action(action: Action) -> str:
    """An action, with its moment where the sentence states one."""
    return action.name if action.at is None else f"{action.name} after {format_seconds(action.at)}"


def _shares(load: Workload, key: Callable[[MixEntry], str]) -> str:
    """The shares of a mix by the name that `key` returns; "no regions" if it returns no name."""
    shares: dict[str, float] = {}
    for entry in load.mix:
        shares[key(entry)] = shares.get(key(entry), 0.0) + entry.share
    return ", ".join(f"{share:.0%} {name}" for name, share in shares.items() if name) or "no regions"


def _time(load: Workload) -> str:
    """The durations of the stages of a load, with their levels if there are several."""
    lasting = [stage for stage in load.stages if stage.seconds]
    has_one_level = len({stage.level for stage in load.stages}) == 1
    return " + ".join(
        format_seconds(stage.seconds) + ("" if has_one_level else f" to {stage.level:g}") for stage in lasting
    )
