"""From what the sentences of a scenario say to the plan of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loadkit import grammar
from loadkit.criterion import Criterion, ScopeKind
from loadkit.environment.environment import Environment
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.units import format_number, format_seconds
from loadkit.workload.offered import needed, offered
from loadkit.workload.workload import Action, MixEntry, Model, Plan, Scaling, Stage, Think, Workload

__all__ = [
    "SHORTEST_EVENTFUL_HOLD",
    "SHORTEST_HOLD",
    "Draft",
    "beside",
    "plan",
    "require_known",
    "require_reachable",
]

SHORTEST_HOLD = 30.0
"""Seconds below which a rehearsal shortens no hold: less cannot be judged."""
SHORTEST_EVENTFUL_HOLD = 90.0
"""The same where something happens a third into it: thirty seconds before it, and a minute to recover in."""

_LEVELS = {
    "users": Model.CLOSED,
    "requests per second": Model.REQUESTS,
    "journeys per second": Model.JOURNEYS,
}
"""Columns of the stages' table, and who decides when the next operation starts."""


@dataclass(slots=True)
class Draft:
    """What the Givens of one scenario have said so far; None where they have not.

    Every method raises PhraseError where a sentence contradicts an earlier one, or a table cannot be read; who reads
    the sentences puts in which one it was.
    """

    model: Model | None = None
    level: float | None = None
    """Users, or arrivals per second."""
    named_level: str = ""
    mix: str = ""
    journey: str = ""
    shares: tuple[MixEntry, ...] = ()
    """Rows of the users' table; journeys by their titles."""
    arrival: float | None = None
    hold: float | None = None
    stages: tuple[Stage, ...] = ()
    curve: str = ""
    curve_seconds: float | None = None
    """How long the curve is to take; None: as the environment has it."""
    fall: tuple[float, float] | None = None
    """The level that the load falls back to, and how many seconds into the hold."""
    actions: tuple[Action, ...] = ()
    think: Think | None = None
    pace: float | None = None
    cache: str | None = None

    def load(self, model: Model, level: float, *, mix: str = "", journey: str = "") -> None:
        """So many users, or arrivals per second."""
        self._only_once(self.level, f"{level:g}", "the load was stated before")
        self.model, self.level, self.mix, self.journey = model, level, mix, journey

    def load_named(self, level: str) -> None:
        """A level of the environment."""
        self._only_once(self.level, level, "the load was stated before")
        self.model, self.level, self.named_level = Model.CLOSED, 0.0, level

    def arrive(self, seconds: float) -> None:
        """They come one after the other, over so many seconds."""
        self._only_once(self.arrival, "arrive", "their arrival was stated before")
        self._only_once(
            self.stages or None, "arrive", "the load follows a table, which says when they arrive"
        )
        self._only_once(self.curve or None, "arrive", "the load follows a curve, which says when they arrive")
        self.arrival = seconds

    def hold_for(self, seconds: float) -> None:
        """The load stays what it is for so many seconds."""
        self._only_once(self.hold, "holds", "how long it holds was stated before")
        self._only_once(
            self.stages or None, "holds", "the load follows a table, which says how long it holds"
        )
        self._only_once(self.curve or None, "holds", "the load follows a curve, which says how long it lasts")
        self.hold = seconds

    def follow(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Stages: straight lines from level to level, as a table says them."""
        self._only_once(self.stages or None, "follows", "the stages were stated before")
        self._only_once(self.arrival, "follows", "their arrival was stated before, the table says it too")
        self._only_once(self.hold, "follows", "how long it holds was stated before, the table says it too")
        if len(headings) != 2 or headings[0] != "for" or headings[1] not in _LEVELS:
            known = " or ".join(f"| for | {column} |" for column in _LEVELS)
            raise PhraseError("", f"| {' | '.join(headings)} |", f"expected a table {known}")
        self.stages = tuple(
            Stage(grammar.read("duration", row[0]), grammar.read("count", row[1])) for row in rows
        )
        model, peak = _LEVELS[headings[1]], max((stage.level for stage in self.stages), default=0.0)
        if not sum(stage.seconds for stage in self.stages) or not peak:
            raise PhraseError("", "follows", "expected rows such as | 2 min | 500 |")
        if self.level is not None and not self.named_level and (model, peak) != (self.model, self.level):
            raise PhraseError(
                "",
                f"{peak:g} {headings[1]}",
                f"the table's highest level differs from the load stated, {self.level:g}",
            )
        self.model = model

    def follow_curve(self, name: str, seconds: float | None = None) -> None:
        """A curve of the environment, up to the load stated; in so many seconds where they are given."""
        self._only_once(
            self.curve or self.stages or None, "follows", "what the load follows was stated before"
        )
        self._only_once(self.arrival, "follows", "their arrival was stated before, the curve says it too")
        self._only_once(self.hold, "follows", "how long it holds was stated before, the curve says it too")
        if seconds == 0:
            raise PhraseError("", "over", "a curve takes some time, expected such as 10 minutes")
        self.curve, self.curve_seconds = name, seconds

    def happens(self, name: str, after: float | None = None) -> None:
        """Something is done to the service, so many seconds into the hold; a third of it where none are given."""
        self.actions = (*self.actions, Action(name, at=after))

    def fall_back(self, level: float, after: float) -> None:
        """The load becomes less, at once, so many seconds into the hold."""
        self._only_once(self.fall, "falls", "that the load falls back was stated before")
        self._only_once(self.stages or None, "falls", "the load follows a table, which says when it falls")
        self._only_once(self.curve or None, "falls", "the load follows a curve, which says when it falls")
        self.fall = (level, after)

    def share(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Who does what, as a table says it."""
        self._only_once(self.shares or None, "are", "what the users are was stated before")
        self._only_once(self.mix or self.journey or None, "are", "what the users do was stated before")
        if tuple(headings) not in {("share", "journey"), ("share", "journey", "region")}:
            raise PhraseError(
                "",
                f"| {' | '.join(headings)} |",
                "expected a table | share | journey | or | share | journey | region |",
            )
        entries = tuple(
            MixEntry(row[1], grammar.read("share", row[0]), region=row[2] if len(row) > 2 else "")
            for row in rows
        )
        total = sum(entry.share for entry in entries)
        if abs(total - 1) > 0.001:
            raise PhraseError(
                "", "share", f"the shares add up to {format_number(total * 100)}%, expected 100%"
            )
        self.shares = entries

    def think_for(self, think: Think) -> None:
        """How long a user pauses after an answer."""
        self._only_once(self.think, "thinks", "how long users think was stated before")
        if think.low > think.high:
            raise PhraseError(
                "", "thinks", "the first time is longer than the second, expected such as 1 to 3 seconds"
            )
        self.think = think

    def pace_at(self, seconds: float) -> None:
        """How long after the start of a journey a user starts the next."""
        self._only_once(self.pace, "every", "how often users start was stated before")
        if not seconds:
            raise PhraseError("", "every", "a pace takes some time, expected such as 10 seconds")
        self.pace = seconds

    def cache_is(self, state: str) -> None:
        """Warm or cold."""
        self._only_once(self.cache, state, "the cache was stated before")
        self.cache = state

    @staticmethod
    def _only_once(before: object, word: str, reason: str) -> None:
        if before is not None:
            raise PhraseError("", word, reason)


def plan(draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1) -> Plan:
    """The plan that a draft means in an environment, shortened and thinned as that environment is set to.

    Args:
        draft: what the sentences say.
        environment: gives what they leave open: mix, times, named levels, scales.
        journeys: ``module:function`` by title.
        seed: fixes schedule and shapes.

    Raises:
        ConfigurationError: a level, mix or journey is unknown there.

    """
    model = draft.model or Model.CLOSED
    stated = _stages(draft, environment)
    environment.require_actions(draft.actions)
    stages = tuple(
        Stage(seconds, level)
        for (seconds, level) in zip(
            _shortened(stated, environment.time_scale, _shortest_hold(draft)),
            _thinned(stated, model, environment.users_scale),
            strict=True,
        )
    )
    workload = Workload(
        model=model,
        stages=stages,
        mix=tuple(_known(entry, journeys, environment) for entry in _mix(draft, environment)),
        think=draft.think or Think(),
        pace=draft.pace or 0.0,
    )
    if draft.pace and model is not Model.CLOSED:
        raise ConfigurationError(
            "each user starts a journey every so often, and arrivals set a pace too; expected one of the two: "
            "1000 concurrent users, or 20 journeys starting per second"
        )
    _require_time_for(draft.actions, workload)
    peak, seconds = max(stage.level for stage in stated), sum(stage.seconds for stage in stated)
    return Plan(
        environment=environment.name,
        workload=workload,
        actions=draft.actions,
        seed=seed,
        timeout=environment.timeout,
        cache=draft.cache or "warm",
        scaling=Scaling(
            users=workload.peak / peak,
            time=workload.seconds / seconds,
            stated_users=peak,
            stated_hold=max(
                (
                    stage.seconds
                    for stage, before in zip(stated, (Stage(0, 0), *stated), strict=False)
                    if stage.level == before.level
                ),
                default=seconds,  # a curve never holds: all of it
            ),
        ),
    )


def beside(
    level: str, draft: Draft, environment: Environment, journeys: Mapping[str, str], seed: int = 1
) -> Plan:
    """The plan of a draft at another load level of the environment, all else being equal, and nothing happening.

    Raises:
        ConfigurationError: there is no such level, or the draft's own load is none of users.

    """
    own = plan(draft, environment, journeys, seed)
    if own.workload.model is not Model.CLOSED:
        raise ConfigurationError(
            f"the {level} load is one of users, and this one is not: they do not compare"
        )
    other = replace(draft, level=0.0, named_level=level, actions=(), fall=None)
    if draft.stages:
        ratio = _level(other, environment) / max(stage.level for stage in draft.stages)
        other.stages = tuple(replace(stage, level=stage.level * ratio) for stage in draft.stages)
    return plan(other, environment, journeys, seed)


def require_known(criterion: Criterion, environment: Environment) -> None:
    """Refuse endpoints that the environment knows no group of: nothing would be judged.

    Raises:
        ConfigurationError: so it is.

    """
    scope = criterion.scope
    if scope.kind is ScopeKind.GROUP and scope.name not in environment.groups:
        raise ConfigurationError(
            f'"{criterion.sentence}": {_unknown("group", scope.name, environment.groups, environment)}'
        )


def require_reachable(criterion: Criterion, plan: Plan) -> None:
    """Refuse a throughput that the plan cannot bring about, however fast the service answers.

    Raises:
        ConfigurationError: the plan offers too little load for it.

    """
    load = plan.workload
    asks_for_it = criterion.is_amount and not criterion.comparison.is_upper
    if not asks_for_it or plan.scaling.users < 1:
        return
    wanted = f'"{criterion.sentence}" is out of reach, however fast the service is'
    most, least = offered(load, load.peak), needed(load, criterion.limit)
    if most >= least:
        return
    if load.model is Model.CLOSED:
        raise ConfigurationError(
            f"{wanted}: {load.peak:g} users who think for {load.think.mean:g} s between requests make at most "
            f"{format_number(most)} per second"
        )
    raise ConfigurationError(
        f"{wanted}: {load.peak:g} requests arrive per second, and it takes at least {format_number(least)} to tell"
    )


def _stages(draft: Draft, environment: Environment) -> tuple[Stage, ...]:
    """The stages as the sentences mean them, nothing scaled."""
    level = _level(draft, environment)
    if draft.stages:
        peak = max(stage.level for stage in draft.stages)
        if draft.named_level and peak != level:
            raise ConfigurationError(
                f"the table's highest level is {peak:g}, the {draft.named_level} load of {environment.file.name} is {level:g}"
            )
        return draft.stages
    if not level:
        raise ConfigurationError("a load of nothing cannot be judged; expected such as 1000 concurrent users")
    if draft.curve:
        return _curve(draft, environment, level)
    arrival = float(environment.ramp if draft.arrival is None else draft.arrival)
    hold = float(environment.hold if draft.hold is None else draft.hold)
    if not hold:
        raise ConfigurationError("a load that holds for no time cannot be judged; expected such as 5 minutes")
    if draft.fall is None:
        return (Stage(arrival, level), Stage(hold, level))
    lower, after = draft.fall
    if lower >= level:
        raise ConfigurationError(f"the load cannot fall back to {lower:g}: it is {level:g}")
    if not 0 < after < hold:
        raise ConfigurationError(
            f"the load holds for {format_seconds(hold)} and cannot fall back {format_seconds(after)} into that"
        )
    return (Stage(arrival, level), Stage(after, level), Stage(0, lower), Stage(hold - after, lower))


def _level(draft: Draft, environment: Environment) -> float:
    """The load stated: users, or arrivals per second."""
    if not draft.named_level:
        return float(environment.default_load if draft.level is None else draft.level)
    try:
        return float(environment.levels[draft.named_level])
    except KeyError:
        raise ConfigurationError(
            _unknown("level", draft.named_level, environment.levels, environment)
        ) from None


def _curve(draft: Draft, environment: Environment, level: float) -> tuple[Stage, ...]:
    """A curve of the environment, its highest point at the load stated."""
    try:
        points = environment.curves[draft.curve]
    except KeyError:
        raise ConfigurationError(_unknown("curve", draft.curve, environment.curves, environment)) from None
    stretch = 1.0
    if draft.curve_seconds is not None:
        stretch = draft.curve_seconds / sum(seconds for seconds, _ in points)
    highest = max(share for _, share in points)
    return tuple(Stage(seconds * stretch, level * share / highest) for seconds, share in points)


def _shortest_hold(draft: Draft) -> float:
    """Seconds below which a rehearsal shortens no hold of this draft: delays of actions stay what they are."""
    if not draft.actions:
        return SHORTEST_HOLD
    delays = [action.at for action in draft.actions if action.at is not None]
    return max(SHORTEST_EVENTFUL_HOLD, *(delay + SHORTEST_EVENTFUL_HOLD * 2 / 3 for delay in delays), 0.0)


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


def _thinned(stages: Sequence[Stage], model: Model, scale: float) -> list[float]:
    """The level of each stage: whole users, at least one where there were some."""
    levels = [stage.level * min(1.0, scale) for stage in stages]
    if model is Model.CLOSED:
        levels = [float(max(1, round(level))) if level else 0.0 for level in levels]
    return levels


def _mix(draft: Draft, environment: Environment) -> tuple[MixEntry, ...]:
    """Who does what; journeys by their titles."""
    if draft.shares:
        return draft.shares
    if draft.journey:
        return (MixEntry(draft.journey, 1.0),)
    if draft.mix:
        by_name = {name.casefold(): mix for name, mix in environment.mixes.items()}
        try:
            return by_name[draft.mix.casefold()]
        except KeyError:
            raise ConfigurationError(_unknown("mix", draft.mix, environment.mixes, environment)) from None
    return environment.default_mix


def _known(entry: MixEntry, journeys: Mapping[str, str], environment: Environment) -> MixEntry:
    try:
        return replace(entry, journey=journeys[entry.journey])
    except KeyError:
        raise ConfigurationError(
            f'no journey "{entry.journey}" in {environment.journeys}; there are: {", ".join(sorted(journeys)) or "none"}'
        ) from None


def _unknown(kind: str, name: str, known: Iterable[str], environment: Environment) -> str:
    listed = ", ".join(sorted(known)) or "none"
    return f'no {kind} "{name}" in environments/{environment.file.name}; there are: {listed}'
