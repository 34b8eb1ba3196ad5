"""Refuses criteria that a plan could never answer, before any load."""

from loadkit.criterion import Criterion, ScopeKind
from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError
from loadkit.planning.plan import unknown
from loadkit.units import format_number
from loadkit.workload.offered import needed, offered
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import Model

__all__ = ["require_known", "require_population", "require_reachable"]


def require_known(criterion: Criterion, environment: Environment) -> None:
    """Refuse endpoints that the environment knows no group of: nothing would be judged.

    Raises:
        ConfigurationError: so it is.

    """
    scope = criterion.scope
    if scope.kind is ScopeKind.GROUP and scope.name not in environment.settings.groups:
        raise ConfigurationError(
            f'"{criterion.sentence}": {unknown("group", scope.name, environment.settings.groups, environment)}'
        )


def require_population(criterion: Criterion, plan: Plan) -> None:
    """Refuse a population that the plan does not have: nothing would be judged.

    Raises:
        ConfigurationError: so it is.

    """
    names, scope = [population.name for population in plan.populations], criterion.scope
    if scope.kind is ScopeKind.POPULATION and scope.name not in names:
        raise ConfigurationError(
            f'"{criterion.sentence}": no population "{scope.name}" in this load; there are: {", ".join(names)} '
            '(a group of endpoints is written such as "of the auth endpoints")'
        )


def require_reachable(criterion: Criterion, plan: Plan) -> None:
    """Refuse a throughput that the plan cannot bring about, however fast the service answers.

    A throughput is made by the population that the criterion speaks of, else by all together.

    Raises:
        ConfigurationError: the plan offers too little load for it.

    """
    asks_for_it = criterion.is_amount and not criterion.comparison.is_upper
    if not asks_for_it or plan.scaling.users < 1:
        return
    scope = criterion.scope
    makers = plan.populations
    if scope.kind is ScopeKind.POPULATION:
        makers = (plan.population(scope.name),)
    loads = [population.workload for population in makers]
    most, least = sum(offered(load, load.peak) for load in loads), needed(loads, criterion.limit)
    if most < least:
        raise ConfigurationError(
            f'"{criterion.sentence}" is out of reach, however fast the service is: '
            f"{' and '.join(_in_words(population) for population in makers)} make at most {format_number(most)} "
            f"per second, and it takes at least {format_number(least)}{' to tell' if least > criterion.limit else ''}"
        )


def _in_words(population: Population) -> str:
    load = population.workload
    thinking = f" who think for {format_number(load.think.mean)} s between requests"
    return f"{population.in_words}{thinking if load.model is Model.CLOSED else ''}"
