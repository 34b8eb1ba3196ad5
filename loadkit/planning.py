"""From what the sentences of a scenario say to the plan of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from loadkit import phrases
from loadkit.criterion import Criterion, Family
from loadkit.environment import Environment
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.quantities import format_number
from loadkit.workload import MixEntry, Model, Plan, Scaling, Stage, Think, Workload

__all__ = ["SHORTEST_HOLD", "Draft", "plan", "require_reachable"]

SHORTEST_HOLD = 30.0
"""Seconds below which a rehearsal shortens no hold: less cannot be judged."""

_OFFERED = 1.05
"""How many times a throughput must be offered by arrivals, so that it can be told from the limit."""

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
    think: Think | None = None
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
        self.arrival = seconds

    def hold_for(self, seconds: float) -> None:
        """The load stays what it is for so many seconds."""
        self._only_once(self.hold, "holds", "how long it holds was stated before")
        self._only_once(
            self.stages or None, "holds", "the load follows a table, which says how long it holds"
        )
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
            Stage(phrases.read("duration", row[0]), phrases.read("count", row[1])) for row in rows
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
            MixEntry(row[1], phrases.read("share", row[0]), region=row[2] if len(row) > 2 else "")
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
    stages = tuple(
        Stage(seconds, level)
        for (seconds, level) in zip(
            _shortened(stated, environment.time_scale),
            _thinned(stated, model, environment.users_scale),
            strict=True,
        )
    )
    workload = Workload(
        model=model,
        stages=stages,
        mix=tuple(_known(entry, journeys, environment) for entry in _mix(draft, environment)),
        think=draft.think or Think(),
    )
    peak, seconds = max(stage.level for stage in stated), sum(stage.seconds for stage in stated)
    return Plan(
        environment=environment.name,
        workload=workload,
        seed=seed,
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
                default=0.0,
            ),
        ),
    )


def require_reachable(criterion: Criterion, plan: Plan) -> None:
    """Refuse a throughput that the plan cannot bring about, however fast the service answers.

    Raises:
        ConfigurationError: the plan offers too little load for it.

    """
    load = plan.workload
    asks_for_it = criterion.measure.family is Family.THROUGHPUT and not criterion.comparison.is_upper
    if not asks_for_it or plan.scaling.users < 1:
        return
    wanted = f'"{criterion.sentence}" is out of reach, however fast the service is'
    if load.model is Model.CLOSED and load.peak < criterion.limit * load.think.mean:
        raise ConfigurationError(
            f"{wanted}: {load.peak:g} users who think for {load.think.mean:g} s between requests make at most "
            f"{format_number(load.peak / load.think.mean)} per second"
        )
    if load.model is Model.REQUESTS and load.peak < _OFFERED * criterion.limit:
        raise ConfigurationError(
            f"{wanted}: {load.peak:g} requests arrive per second, and it takes at least "
            f"{format_number(_OFFERED * criterion.limit)} to tell"
        )


def _stages(draft: Draft, environment: Environment) -> tuple[Stage, ...]:
    """The stages as the sentences mean them, nothing scaled."""
    level = float(environment.default_load if draft.level is None else draft.level)
    if draft.named_level:
        try:
            level = float(environment.levels[draft.named_level])
        except KeyError:
            raise ConfigurationError(
                _unknown("level", draft.named_level, environment.levels, environment)
            ) from None
    if draft.stages:
        peak = max(stage.level for stage in draft.stages)
        if draft.named_level and peak != level:
            raise ConfigurationError(
                f"the table's highest level is {peak:g}, the {draft.named_level} load of {environment.file.name} is {level:g}"
            )
        return draft.stages
    if not level:
        raise ConfigurationError("a load of nothing cannot be judged; expected such as 1000 concurrent users")
    arrival = float(environment.ramp if draft.arrival is None else draft.arrival)
    hold = float(environment.hold if draft.hold is None else draft.hold)
    if not hold:
        raise ConfigurationError("a load that holds for no time cannot be judged; expected such as 5 minutes")
    return (Stage(arrival, level), Stage(hold, level))


def _shortened(stages: Sequence[Stage], scale: float) -> list[float]:
    """The seconds of each stage: ramps by the scale, holds too but never below `SHORTEST_HOLD`, nothing longer."""
    seconds = []
    before = 0.0
    for stage in stages:
        is_hold = stage.level == before
        least = min(stage.seconds, SHORTEST_HOLD) if is_hold else 0.0
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
