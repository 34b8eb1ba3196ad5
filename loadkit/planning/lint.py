"""Refuses criteria that a run of the plan could not decide, before any load."""

import math

from loadkit.criterion import KEY_QUERIES, Criterion, Family, ScopeKind
from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError
from loadkit.planning.plan import unknown
from loadkit.recording.timing import MESSAGE, RECORD
from loadkit.units import format_number, format_seconds
from loadkit.workload.offered import needed, offered
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import Model

__all__ = ["require_known", "require_population", "require_reachable"]


def require_known(criterion: Criterion, environment: Environment) -> None:
    """Refuse an endpoint group that the environment does not have: it has no operations to judge.

    Raises:
        ConfigurationError: the group is unknown.

    """
    scope, database = criterion.scope, environment.settings.database
    has_queries = database is not None and bool(database.queries)
    known = {*environment.settings.groups, *([KEY_QUERIES] if has_queries else [])}
    if scope.kind is ScopeKind.GROUP and scope.name not in known:
        raise ConfigurationError(
            f'"{criterion.sentence}": {unknown("group", scope.name, known, environment)}'
        )


def require_population(criterion: Criterion, plan: Plan) -> None:
    """Refuse a population that the plan does not have: it has no operations to judge.

    Raises:
        ConfigurationError: the population is unknown.

    """
    names, scope = [population.name for population in plan.populations], criterion.scope
    if scope.kind is ScopeKind.POPULATION and scope.name not in names:
        raise ConfigurationError(
            f'"{criterion.sentence}": no population "{scope.name}" in this load; there are: {", ".join(names)} '
            '(write an endpoint group such as "of the auth endpoints")'
        )


def require_reachable(criterion: Criterion, plan: Plan) -> None:
    """Refuse a limit that the plan cannot reach, however fast the service answers.

    This applies to a throughput, to a number of connections, and to a connection lifetime that is
    longer than the hold. A throughput comes from the population of the criterion. If it names
    none, the throughput comes from all populations together.

    Raises:
        ConfigurationError: the load or the hold of the plan is too small for the limit.

    """
    has_lower_limit = criterion.is_amount and not criterion.comparison.is_upper
    if criterion.measure.family == Family.LIFETIME and plan.scaling.stated_hold < criterion.limit:
        raise ConfigurationError(
            f'"{criterion.sentence}" cannot be judged: the load holds for '
            f"{format_seconds(plan.scaling.stated_hold)}; expected at least {format_seconds(criterion.limit)}"
        )
    if not has_lower_limit or plan.scaling.users < 1:
        return
    if criterion.measure.family == Family.CONNECTIONS or criterion.measure.timing == MESSAGE.key:
        _require_amount(criterion, plan)
        return
    scope = criterion.scope
    populations = plan.populations
    if scope.kind is ScopeKind.POPULATION:
        populations = (plan.population(scope.name),)
    if is_of_records := criterion.measure.timing == RECORD.key:
        populations = tuple(population for population in populations if population.records)
    loads = [population.workload for population in populations]
    most = sum(
        offered(each.workload, each.workload.peak) * (each.records if is_of_records else 1)
        for each in populations
    )
    least = needed(loads, criterion.limit)
    if most < least:
        purpose = " to judge it" if least > criterion.limit else ""
        raise ConfigurationError(
            f'"{criterion.sentence}" is out of reach, however fast the service is: '
            f"{' and '.join(_in_words(population) for population in populations) or 'the loads'} make at most "
            f"{format_number(most)} per second; expected at least {format_number(least)}{purpose}"
        )


def _require_amount(criterion: Criterion, plan: Plan) -> None:
    """Refuse more connections, or more messages, than the plan states."""
    closed = [each for each in plan.populations if each.workload.model is Model.CLOSED]
    if criterion.measure.family == Family.CONNECTIONS:
        what, most = "connections", sum(each.workload.peak for each in closed)
    else:
        what, most = "messages per second", sum(each.delivers for each in plan.populations) or math.inf
    if most < criterion.limit:
        raise ConfigurationError(
            f'"{criterion.sentence}" is out of reach: the load has {format_number(most)} {what}'
        )


def _in_words(population: Population) -> str:
    load = population.workload
    thinking = f" who think for {format_number(load.think.mean)} s between requests"
    return f"{population.in_words}{thinking if load.model is Model.CLOSED else ''}"
