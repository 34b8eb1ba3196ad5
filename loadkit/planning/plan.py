"""From what the sentences of a scenario say to the plan of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError
from loadkit.planning.draft import Draft, PopulationDraft
from loadkit.units import format_seconds
from loadkit.workload.plan import Action, Plan, Population, Scaling
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

__all__ = ["SHORTEST_EVENTFUL_HOLD", "SHORTEST_HOLD", "beside", "plan", "unknown"]

SHORTEST_HOLD = 30.0
"""Seconds below which a rehearsal shortens no hold: less cannot be judged."""
SHORTEST_EVENTFUL_HOLD = 90.0
"""The same where something happens a third into it: thirty seconds before it, and a minute to recover in."""

_SAME = 1e-6
"""Seconds by which moments may differ that are the same."""


def plan(draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1) -> Plan:
    """The plan that a draft means in an environment, shortened and thinned as that environment is set to.

    What a population leaves open is as it is with the first one; what that leaves open, the environment says.

    Args:
        draft: what the sentences say.
        environment: gives what they leave open: mix, times, named levels, scales.
        journeys: ``module:function`` by title.
        seed: fixes schedule and shapes.

    Raises:
        ConfigurationError: a level, mix or journey is unknown there, or the populations do not go together.

    """
    first = draft.populations[0]
    stated = [
        Population(
            name=_name(each, draft, environment),
            workload=_workload(each, first, environment, journeys),
        )
        for each in draft.populations
    ]
    environment.require_actions(draft.actions)
    _require_together(stated)
    before = stated[0].workload
    spent = _shortened(before.stages, environment.settings.time_scale, _shortest_hold(draft.actions))
    populations = tuple(
        replace(
            each,
            workload=_scaled(each.workload, before.stages, spent, environment.settings.users_scale),
            stated_level=each.workload.peak,
        )
        for each in stated
    )
    workload = populations[0].workload
    _require_time_for(draft.actions, workload)
    return Plan(
        environment=environment.name,
        populations=populations,
        actions=draft.actions,
        seed=seed,
        timeout=environment.settings.timeout,
        cache=draft.cache or "warm",
        scaling=Scaling(
            users=min(each.workload.peak / each.stated_level for each in populations),
            time=workload.seconds / before.seconds,
            stated_hold=max(
                (phase.end - phase.start for phase in before.phases() if phase.is_constant),
                default=before.seconds,  # a curve never holds: all of it
            ),
        ),
    )


def beside(
    level: str, draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1
) -> Plan:
    """The plan of a draft at another load level of the environment, all else being equal, and nothing happening.

    The level is one of the first population; the others are as they are.

    Raises:
        ConfigurationError: there is no such level, or the first population is none of users.

    """
    own = plan(draft, environment, journeys, seed)
    if own.workload.model is not Model.CLOSED:
        raise ConfigurationError(
            f"the {level} load is one of users, and this one is not: they do not compare"
        )
    first, *others = draft.populations
    other = replace(first, level=0.0, named_level=level, fall=None)
    if first.stages:
        ratio = _level(other, environment) / max(stage.level for stage in first.stages)
        other.stages = tuple(replace(stage, level=stage.level * ratio) for stage in first.stages)
    return plan(replace(draft, populations=[other, *others], actions=()), environment, journeys, seed)


def unknown(kind: str, name: str, known: Iterable[str], environment: Environment) -> str:
    """That an environment has no mix, level … of a name, with those it has."""
    listed = ", ".join(sorted(known)) or "none"
    return f'no {kind} "{name}" in environments/{environment.file.name}; there are: {listed}'


# --- what the sentences mean, nothing scaled


def _workload(
    own: PopulationDraft, first: PopulationDraft, environment: Environment, journeys: Mapping[str, str]
) -> Workload:
    """The load of a population as the sentences mean it."""
    model = own.model or Model.CLOSED
    is_closed = model is Model.CLOSED
    if own.pace and not is_closed:
        raise ConfigurationError(
            "each user starts a journey every so often, and arrivals set a pace too; expected one of the two: "
            "1000 concurrent users, or 20 journeys starting per second"
        )
    mix = _mix(own, environment) or _mix(first, environment) or environment.default_mix
    return Workload(
        model=model,
        stages=_stages(own, first, environment),
        mix=tuple(_known(entry, journeys, environment) for entry in mix),
        think=own.think or first.think or Think(),
        pace=own.pace or (first.pace if is_closed else None) or 0.0,
    )


def _name(own: PopulationDraft, draft: Draft, environment: Environment) -> str:
    """What a population is called; that all do what is done anyway is said only where others do something else."""
    if not own.mix or own.called:
        return own.name
    mix = _mix_name(own.mix, environment)
    is_default = len(draft.populations) == 1 and mix == environment.settings.default_mix
    return replace(own, mix="" if is_default else mix).name


def _stages(own: PopulationDraft, first: PopulationDraft, environment: Environment) -> tuple[Stage, ...]:
    level = _level(own, environment)
    if own.stages:
        peak = max(stage.level for stage in own.stages)
        if own.named_level and peak != level:
            raise ConfigurationError(
                f"the table's highest level is {peak:g}, the {own.named_level} load of {environment.file.name} is {level:g}"
            )
        return own.stages
    if not level:
        raise ConfigurationError("a load of nothing cannot be judged; expected such as 1000 concurrent users")
    if own.curve:
        return _curve(own, environment, level)
    if (own.arrival, own.hold, own.fall) == (None, None, None):
        # It leaves open when its users come and go: as those of the first population do.
        if first.stages:
            ratio = level / max(stage.level for stage in first.stages)
            return tuple(replace(stage, level=stage.level * ratio) for stage in first.stages)
        if first.curve:
            return _curve(first, environment, level)
    arrival = _first_stated(own.arrival, first.arrival, environment.settings.ramp)
    hold = _first_stated(own.hold, first.hold, environment.settings.hold)
    if not hold:
        raise ConfigurationError("a load that holds for no time cannot be judged; expected such as 5 minutes")
    if own.fall is None:
        return (Stage(arrival, level), Stage(hold, level))
    lower, after = own.fall
    if lower >= level:
        raise ConfigurationError(f"the load cannot fall back to {lower:g}: it is {level:g} {own.name}")
    if not 0 < after < hold:
        raise ConfigurationError(
            f"the load holds for {format_seconds(hold)} and cannot fall back {format_seconds(after)} into that"
        )
    return (Stage(arrival, level), Stage(after, level), Stage(0, lower), Stage(hold - after, lower))


def _first_stated(*values: float | None) -> float:
    """The first of some values that is there; the last one always is."""
    return float(next(value for value in values if value is not None))


def _level(own: PopulationDraft, environment: Environment) -> float:
    """The load stated: users, or arrivals per second."""
    if not own.named_level:
        return float(environment.settings.default_load if own.level is None else own.level)
    try:
        return float(environment.settings.levels[own.named_level])
    except KeyError:
        raise ConfigurationError(
            unknown("level", own.named_level, environment.settings.levels, environment)
        ) from None


def _curve(shape: PopulationDraft, environment: Environment, level: float) -> tuple[Stage, ...]:
    """A curve of the environment, its highest point at a level."""
    try:
        points = environment.settings.curves[shape.curve]
    except KeyError:
        raise ConfigurationError(
            unknown("curve", shape.curve, environment.settings.curves, environment)
        ) from None
    stretch = 1.0
    if shape.curve_seconds is not None:
        stretch = shape.curve_seconds / sum(seconds for seconds, _ in points)
    highest = max(share for _, share in points)
    return tuple(Stage(seconds * stretch, level * share / highest) for seconds, share in points)


def _mix(own: PopulationDraft, environment: Environment) -> tuple[MixEntry, ...]:
    """Who does what, where a population says so; journeys by their titles."""
    if own.shares:
        return own.shares
    if own.journey:
        return (MixEntry(own.journey, 1.0),)
    return environment.mixes[_mix_name(own.mix, environment)] if own.mix else ()


def _mix_name(name: str, environment: Environment) -> str:
    """A mix as the environment writes it, whatever its capitals."""
    by_name = {known.casefold(): known for known in environment.mixes}
    try:
        return by_name[name.casefold()]
    except KeyError:
        raise ConfigurationError(unknown("mix", name, environment.mixes, environment)) from None


def _known(entry: MixEntry, journeys: Mapping[str, str], environment: Environment) -> MixEntry:
    try:
        return replace(entry, journey=journeys[entry.journey])
    except KeyError:
        raise ConfigurationError(
            f'no journey "{entry.journey}" in {environment.settings.journeys}; there are: {", ".join(sorted(journeys)) or "none"}'
        ) from None


# --- what must hold of it


def _require_together(populations: Sequence[Population]) -> None:
    """Refuse populations that do not start and end together, and loads that change while the first one's holds.

    The steady window is sought where the first population's load is constant: there all must be.
    """
    first, *others = populations
    for other in others:
        lasting = [each.workload.seconds for each in (first, other)]
        if abs(lasting[0] - lasting[1]) > _SAME:
            raise ConfigurationError(
                f"all populations start and end together, but {first.name} last {format_seconds(lasting[0])} and "
                f"{other.name} {format_seconds(lasting[1])}: say how they arrive and how long the load holds once, "
                f"after {first.name}, and it is said of all"
            )
        for phase in first.workload.phases():
            if phase.is_constant and not _is_constant(other.workload, phase.start, phase.end):
                raise ConfigurationError(
                    f"the load of {other.name} changes between {format_seconds(phase.start)} and "
                    f"{format_seconds(phase.end)}, while that of {first.name} is constant: there would be no steady load "
                    f"to judge; what is stated after {first.name} is said of all"
                )


def _is_constant(load: Workload, start: float, end: float) -> bool:
    """Does a load stay what it is from one moment to another?"""
    there = [phase for phase in load.phases() if phase.start < end - _SAME and start + _SAME < phase.end]
    return all(phase.is_constant for phase in there) and len({phase.level for phase in there}) <= 1


def _require_time_for(actions: Iterable[Action], workload: Workload) -> None:
    """Refuse what would happen when the load is over, or when it does not hold."""
    hold = workload.hold
    for action in actions:
        if hold is None:
            raise ConfigurationError(
                f'"{action.name}" needs a load that holds for a while, before and after it'
            )
        if action.at is not None and action.at >= hold.end - hold.start:
            raise ConfigurationError(
                f"the load holds for {format_seconds(hold.end - hold.start)}, which is over before "
                f'"{action.name} after {format_seconds(action.at)}"'
            )


# --- rehearsals


def _shortest_hold(actions: Sequence[Action]) -> float:
    """Seconds below which a rehearsal shortens no hold: delays of actions stay what they are."""
    if not actions:
        return SHORTEST_HOLD
    delays = [action.at for action in actions if action.at is not None]
    return max(SHORTEST_EVENTFUL_HOLD, *(delay + SHORTEST_EVENTFUL_HOLD * 2 / 3 for delay in delays), 0.0)


def _shortened(stages: Sequence[Stage], scale: float, shortest: float) -> list[float]:
    """The seconds of each stage: ramps by the scale, holds too but never below the shortest, nothing longer."""
    seconds = []
    before = 0.0
    for stage in stages:
        is_hold = stage.level == before
        least = min(stage.seconds, shortest) if is_hold else 0.0
        seconds.append(min(stage.seconds, max(least, stage.seconds * scale)))
        before = stage.level
    return seconds


def _scaled(load: Workload, stages: Sequence[Stage], spent: Sequence[float], scale: float) -> Workload:
    """A load with fewer users or arrivals, whose time passes as that of `stages` does, which take `spent` seconds."""
    levels = _thinned(load.stages, load.model, scale)
    seconds = list(spent)
    if [stage.seconds for stage in load.stages] != [stage.seconds for stage in stages]:
        ends = accumulate((stage.seconds for stage in load.stages), initial=0.0)
        moments = [_moment_in_rehearsal(end, stages, spent) for end in ends]
        seconds = [after - before for before, after in pairwise(moments)]
    return replace(load, stages=tuple(map(Stage, seconds, levels)))


def _moment_in_rehearsal(moment: float, stages: Sequence[Stage], spent: Sequence[float]) -> float:
    """When it is in a rehearsal what is `moment` seconds after the start as stated."""
    start = passed = 0.0
    for stage, seconds in zip(stages, spent, strict=True):
        if stage.seconds and moment <= start + stage.seconds:
            return passed + seconds * (moment - start) / stage.seconds
        start, passed = start + stage.seconds, passed + seconds
    return passed


def _thinned(stages: Sequence[Stage], model: Model, scale: float) -> list[float]:
    """The level of each stage: whole users, at least one where there were some."""
    levels = [stage.level * min(1.0, scale) for stage in stages]
    if model is Model.CLOSED:
        levels = [float(max(1, round(level))) if level else 0.0 for level in levels]
    return levels
