"""Makes the plan of a run from the draft of a scenario and its environment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError
from loadkit.planning.draft import Draft, PopulationDraft
from loadkit.units import format_seconds
from loadkit.workload.plan import Action, Plan, Population, Scaling
from loadkit.workload.workload import MixEntry, Model, Stage, Think, Workload

__all__ = ["SHORTEST_ACTION_HOLD", "SHORTEST_HOLD", "beside", "plan", "unknown"]

SHORTEST_HOLD = 30.0
"""Minimum hold of a rehearsal in seconds: a shorter one cannot be judged."""
SHORTEST_ACTION_HOLD = 90.0
"""The minimum hold with an action after a third of it: 30 s before the action, 60 s to recover."""

_SAME = 1e-6
"""Tolerance in seconds for equal moments."""


def plan(draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1) -> Plan:
    """The plan of a draft in an environment, scaled by that environment's scales.

    A population inherits what it does not state from the first population. The first population
    inherits it from the environment.

    Args:
        draft: the statements of the scenario.
        environment: the source of unstated values: mix, times, named levels, scales.
        journeys: ``module:function`` by title.
        seed: the seed of the schedule and of the users' random draws.

    Raises:
        ConfigurationError: a level, mix or journey is unknown, or the populations are incompatible.

    """
    return _plan(_with_levels(draft, environment), environment, journeys, seed)


def _plan(draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int) -> Plan:
    """See `plan`; here the draft already has the levels of all its populations."""
    first = draft.populations[0]
    _require_users_who_think(draft)
    stated = [
        Population(
            name=_name(each, draft, environment),
            workload=_workload(each, first, environment, journeys),
            delivers=each.delivered,
            records=each.records,
            records_needed=each.records_needed,
            tenant=each.tenant,
            group=each.group,
        )
        for each in draft.populations
    ]
    environment.require_actions(draft.actions)
    _require_together(stated)
    before = stated[0].workload
    scale = environment.settings.users_scale
    spent = _shortened(before.stages, environment.settings.time_scale, _shortest_hold(draft.actions))
    populations = tuple(_in_rehearsal(each, before.stages, spent, scale) for each in stated)
    workload = populations[0].workload
    _require_time_for(draft.actions, workload)
    return Plan(
        environment=environment.name,
        populations=populations,
        actions=tuple(
            replace(action, restarts=environment.settings.actions[action.name].restarts)
            for action in draft.actions
        ),
        seed=seed,
        timeout=environment.settings.timeout,
        cache=draft.cache or "warm",
        scaling=Scaling(
            # A stated level may be 14.000000000000002 users; at scale 1 that is no rehearsal.
            users=min(each.workload.peak / each.stated_level for each in populations) if scale < 1 else 1.0,
            time=workload.seconds / before.seconds,
            # A curve never holds: its whole duration counts.
            stated_hold=before.hold.end - before.hold.start if before.hold else before.seconds,
        ),
    )


def beside(
    level: str, draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1
) -> Plan:
    """The same plan at another load level of the environment, without its actions.

    The level replaces that of the first population. Other populations do not change. So a noisy
    tenant keeps its users, and publications keep their rate: each of the fewer connections receives
    as many messages as before.

    Raises:
        ConfigurationError: the level is unknown, or the load of the first population is open.

    """
    own = plan(draft, environment, journeys, seed)
    if own.workload.model is not Model.CLOSED:
        raise ConfigurationError(
            f"the {level} load is a number of users, but this load is open: they do not compare"
        )
    draft = _with_levels(draft, environment)
    first, *others = draft.populations
    other = replace(first, level=0.0, named_level=level, fall=None)
    fewer = _level(other, environment) / own.populations[0].stated_level
    others = [replace(each, delivered=each.delivered * fewer) for each in others]
    if first.stages:
        ratio = _level(other, environment) / max(stage.level for stage in first.stages)
        other.stages = tuple(replace(stage, level=stage.level * ratio) for stage in first.stages)
    return _plan(replace(draft, populations=[other, *others], actions=()), environment, journeys, seed)


def without(
    tenant: str, draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1
) -> Plan:
    """The same plan without the population of a tenant, and without its actions.

    The other populations keep their names, so a criterion on one of them applies to both plans.

    Raises:
        ConfigurationError: the load has no population of the tenant, or no other population.

    """
    kept = [each for each in draft.populations if each.tenant != tenant]
    if not kept or len(kept) == len(draft.populations):
        raise ConfigurationError(
            f'no population is that of tenant "{tenant}"; expected a load such as tenant "{tenant}" sends '
            "10 times its usual load"
        )
    made = plan(replace(draft, populations=kept, actions=()), environment, journeys, seed)
    names = [_name(each, draft, environment) for each in kept]
    return replace(
        made,
        populations=tuple(
            replace(population, name=name) for population, name in zip(made.populations, names, strict=True)
        ),
    )


def unknown(kind: str, name: str, known: Iterable[str], environment: Environment) -> str:
    """The message about an unknown mix, level …, with the names that the environment has."""
    listed = ", ".join(sorted(known)) or "none"
    return f'no {kind} "{name}" in environments/{environment.file.name}; there are: {listed}'


# --- the stated load, before scaling


def _workload(
    own: PopulationDraft, first: PopulationDraft, environment: Environment, journeys: Mapping[str, str]
) -> Workload:
    """The load of a population as stated, before scaling."""
    model = own.model or Model.CLOSED
    is_closed = model is Model.CLOSED
    if own.pace and not is_closed:
        raise ConfigurationError(
            "each user starts a journey at a pace, but arrivals set a pace too; expected one of the two: "
            "1000 concurrent users, or 20 journeys starting per second"
        )
    if own.session and not is_closed:
        raise ConfigurationError(
            "sessions last for a time, but each arrival of an open load is a user of its own; expected users "
            "such as 1000 concurrent users"
        )
    if own.delivered and own.regions:
        raise ConfigurationError(
            "the users are spread over regions, but messages are published from one place; expected the regions "
            "of connections before the messages"
        )
    mix = _mix(own, environment) or _inherited_mix(own, first, environment) or environment.default_mix
    has_regions = own.delivered or any(entry.region for entry in own.shares)
    return Workload(
        model=model,
        stages=_stages(own, first, environment),
        mix=tuple(
            replace(_known(entry, journeys, environment), arguments=(*entry.arguments, *own.arguments))
            for entry in _spread(mix, own.regions or (() if has_regions else first.regions), environment)
        ),
        think=own.think or first.think or Think(),
        is_poisson=not own.delivered,
        # A stated think time is not replaced by the pace of the first population.
        pace=own.pace or (first.pace if is_closed and own.think is None else None) or 0.0,
        churn=(own.churn or 0.0) / 60,
        session=own.session or (first.session if is_closed else None),
    )


def _with_levels(draft: Draft, environment: Environment) -> Draft:
    """The draft with the levels that are derived from the level of its first population."""
    first = draft.populations[0]
    return replace(
        draft,
        populations=[
            _with_tenant_level(_with_publishing_rate(each, first, environment), first, environment)
            for each in draft.populations
        ],
    )


def _require_users_who_think(draft: Draft) -> None:
    """Refuse a think time that applies to no users.

    Raises:
        ConfigurationError: it is stated for arrivals, and no users of the draft inherit it.

    """
    are_users = any(each.model in {None, Model.CLOSED} for each in draft.populations)
    for number, each in enumerate(draft.populations):
        is_paced = bool(each.delivered) or each.model is Model.REQUESTS
        if each.think is not None and is_paced and (number or not are_users):
            raise ConfigurationError(
                f"each user thinks for a time, but {each.name} begin whenever they are due; expected the think "
                "time below the users that it is for, such as 1000 concurrent users"
            )


def _with_publishing_rate(
    own: PopulationDraft, first: PopulationDraft, environment: Environment
) -> PopulationDraft:
    """A population that publishes messages, completed with its journey and its rate.

    One published message reaches a part of the connections. Each of its deliveries counts.
    """
    if not own.delivered:
        return own
    messages = environment.settings.messages
    if messages is None or not messages.journey:
        raise ConfigurationError(
            f"environments/{environment.file.name} does not say how messages are published; expected "
            'such as [messages] journey = "publish live metrics", reach = 1.0'
        )
    receivers = _level(first, environment) * messages.reach
    if not receivers:
        raise ConfigurationError("a load of 0 cannot be judged; expected such as 1000 WebSocket connections")
    return replace(own, journey=messages.journey, level=own.delivered / receivers)


def _with_tenant_level(
    own: PopulationDraft, first: PopulationDraft, environment: Environment
) -> PopulationDraft:
    """A tenant's own population with its level: the load beyond its share of the first one."""
    if not own.tenant:
        return own
    share = environment.settings.tenants.get(own.tenant)
    if share is None:
        raise ConfigurationError(unknown("tenant", own.tenant, environment.settings.tenants, environment))
    level = (own.times - 1) * share * _level(first, environment)
    return replace(own, level=max(1.0, round(level)) if own.model is Model.CLOSED else level)


def _name(own: PopulationDraft, draft: Draft, environment: Environment) -> str:
    """The name of a population; the name of a single population omits the default mix."""
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
        raise ConfigurationError("a load of 0 cannot be judged; expected such as 1000 concurrent users")
    if own.curve:
        return _curve(own, environment, level)
    if (own.arrival, own.hold, own.fall) == (None, None, None):
        # No sentence states when its users join and leave: they follow the first population.
        if first.stages:
            ratio = level / max(stage.level for stage in first.stages)
            return tuple(replace(stage, level=stage.level * ratio) for stage in first.stages)
        if first.curve:
            return _curve(first, environment, level)
    arrival = _first_stated(own.arrival, first.arrival, environment.settings.ramp)
    hold = _first_stated(own.hold, first.hold, environment.settings.hold)
    if not hold:
        raise ConfigurationError("a load that holds for 0 s cannot be judged; expected such as 5 minutes")
    if own.fall is None:
        return (Stage(arrival, level), Stage(hold, level))
    lower, after = own.fall
    if lower >= level:
        raise ConfigurationError(
            f"the load cannot fall back to {lower:g}: expected less than {level:g} {own.name}"
        )
    if not 0 < after < hold:
        raise ConfigurationError(
            f"the load holds for {format_seconds(hold)} and cannot fall back after {format_seconds(after)}"
        )
    return (Stage(arrival, level), Stage(after, level), Stage(0, lower), Stage(hold - after, lower))


def _first_stated(*values: float | None) -> float:
    """The first value that is not None; the last value never is."""
    return float(next(value for value in values if value is not None))


def _level(own: PopulationDraft, environment: Environment) -> float:
    """The stated load: users, or arrivals per second."""
    if not own.named_level:
        return float(environment.settings.default_load if own.level is None else own.level)
    try:
        return float(environment.settings.levels[own.named_level])
    except KeyError:
        raise ConfigurationError(
            unknown("level", own.named_level, environment.settings.levels, environment)
        ) from None


def _curve(shape: PopulationDraft, environment: Environment, level: float) -> tuple[Stage, ...]:
    """A curve of the environment, scaled so that its highest point is at a level."""
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
    """The stated mix of a population, with journeys by title; empty where it states none."""
    if own.shares:
        return own.shares
    if own.journey:
        return (MixEntry(own.journey, 1.0),)
    return environment.mixes[_mix_name(own.mix, environment)] if own.mix else ()


def _inherited_mix(
    own: PopulationDraft, first: PopulationDraft, environment: Environment
) -> tuple[MixEntry, ...]:
    """The mix of the first population; none if only the first one keeps connections open."""
    return () if first.connects and not own.connects else _mix(first, environment)


def _spread(mix: Sequence[MixEntry], regions: Sequence[str], environment: Environment) -> Sequence[MixEntry]:
    """Each entry once per region; without `regions`, with its own region, named as in the file."""
    known = {name.casefold(): name for name in environment.settings.regions}
    if not regions:
        return [replace(entry, region=known.get(entry.region.casefold(), entry.region)) for entry in mix]
    for region in regions:
        if region.casefold() not in known:
            raise ConfigurationError(unknown("region", region, environment.settings.regions, environment))
    return [
        replace(entry, region=known[region.casefold()], share=entry.share / len(regions))
        for entry in mix
        for region in regions
    ]


def _mix_name(name: str, environment: Environment) -> str:
    """The name of a mix as the environment writes it; case is ignored."""
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
            f'no journey "{entry.journey}" in {environment.settings.journeys}; '
            f"there are: {', '.join(sorted(journeys)) or 'none'}"
        ) from None


# --- requirements of a plan


def _require_together(populations: Sequence[Population]) -> None:
    """Refuse loads of different durations, and loads that change while the first one is constant.

    The steady window is in a phase in which the first population's load is constant. All loads must
    be constant there.
    """
    first, *others = populations
    for other in others:
        durations = [each.workload.seconds for each in (first, other)]
        if abs(durations[0] - durations[1]) > _SAME:
            raise ConfigurationError(
                f"all populations start and end together, but {first.name} last "
                f"{format_seconds(durations[0])} and {other.name} {format_seconds(durations[1])}: state "
                f"arrival and hold once, after {first.name}, and they apply to all"
            )
        for phase in first.workload.phases():
            if phase.is_constant and not _is_constant(other.workload, phase.start, phase.end):
                raise ConfigurationError(
                    f"the load of {other.name} changes between {format_seconds(phase.start)} and "
                    f"{format_seconds(phase.end)}, while that of {first.name} is constant: there would be no "
                    f"steady load to judge; statements after {first.name} apply to all"
                )


def _is_constant(load: Workload, start: float, end: float) -> bool:
    """Is a load constant from one moment to another?"""
    within = [phase for phase in load.phases() if phase.start < end - _SAME and start + _SAME < phase.end]
    return all(phase.is_constant for phase in within) and len({phase.level for phase in within}) <= 1


def _require_time_for(actions: Iterable[Action], workload: Workload) -> None:
    """Refuse actions after the end of the hold, or in a plan without a hold."""
    hold = workload.hold
    for action in actions:
        if hold is None:
            raise ConfigurationError(f'"{action.name}" needs a load that holds before and after it')
        if action.at is not None and action.at >= hold.end - hold.start:
            raise ConfigurationError(
                f"the load holds for {format_seconds(hold.end - hold.start)}, which is over before "
                f'"{action.name} after {format_seconds(action.at)}"'
            )


# --- rehearsals


def _in_rehearsal(
    stated: Population, stages: Sequence[Stage], spent: Sequence[float], scale: float
) -> Population:
    """A population in a rehearsal: fewer users, times scaled as `stages` are to `spent` seconds.

    Publications keep their rate, so each of the fewer connections receives as many messages as
    stated.
    """
    own_scale = 1.0 if stated.delivers else scale
    return replace(
        stated,
        workload=_scaled(stated.workload, stages, spent, own_scale),
        stated_level=stated.workload.peak,
        delivers=stated.delivers * min(1.0, scale),
    )


def _shortest_hold(actions: Sequence[Action]) -> float:
    """The minimum hold of a rehearsal in seconds; the delays of actions are not scaled."""
    if not actions:
        return SHORTEST_HOLD
    delays = [action.at for action in actions if action.at is not None]
    return max(SHORTEST_ACTION_HOLD, *(delay + SHORTEST_ACTION_HOLD * 2 / 3 for delay in delays), 0.0)


def _shortened(stages: Sequence[Stage], scale: float, shortest: float) -> list[float]:
    """The scaled seconds of each stage, never longer than stated; holds are at least `shortest`."""
    seconds = []
    before = 0.0
    for stage in stages:
        is_hold = stage.level == before
        least = min(stage.seconds, shortest) if is_hold else 0.0
        seconds.append(min(stage.seconds, max(least, stage.seconds * scale)))
        before = stage.level
    return seconds


def _scaled(load: Workload, stages: Sequence[Stage], spent: Sequence[float], scale: float) -> Workload:
    """The load of a rehearsal: fewer users, and times scaled as `stages` are to `spent` seconds."""
    levels = _thinned(load.stages, load.model, scale)
    seconds = list(spent)
    if [stage.seconds for stage in load.stages] != [stage.seconds for stage in stages]:
        ends = accumulate((stage.seconds for stage in load.stages), initial=0.0)
        moments = [_moment_in_rehearsal(end, stages, spent) for end in ends]
        seconds = [after - before for before, after in pairwise(moments)]
    return replace(load, stages=tuple(map(Stage, seconds, levels)))


def _moment_in_rehearsal(moment: float, stages: Sequence[Stage], spent: Sequence[float]) -> float:
    """The moment of a rehearsal that corresponds to a stated moment, in seconds after the start."""
    start = passed = 0.0
    for stage, seconds in zip(stages, spent, strict=True):
        if stage.seconds and moment <= start + stage.seconds:
            return passed + seconds * (moment - start) / stage.seconds
        start, passed = start + stage.seconds, passed + seconds
    return passed


def _thinned(stages: Sequence[Stage], model: Model, scale: float) -> list[float]:
    """The scaled level of each stage: a whole number of users, at least one where it was not 0."""
    levels = [stage.level * min(1.0, scale) for stage in stages]
    if model is Model.CLOSED:
        levels = [float(max(1, round(level))) if level else 0.0 for level in levels]
    return levels
