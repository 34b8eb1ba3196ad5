"""What the Givens and Whens of one scenario say: its populations, and what happens to the service meanwhile."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadkit import grammar
from loadkit.errors import PhraseError
from loadkit.units import format_number
from loadkit.workload.plan import PLAIN_NAMES, Action
from loadkit.workload.workload import MixEntry, Model, Stage, Think

__all__ = ["Draft", "PopulationDraft"]

_LEVELS = {
    "users": Model.CLOSED,
    "requests per second": Model.REQUESTS,
    "journeys per second": Model.JOURNEYS,
}
"""Columns of the stages' table, and who decides when the next operation starts."""


@dataclass(slots=True)
class PopulationDraft:
    """What the sentences have said of one population; None, or empty, where they have not."""

    model: Model | None = None
    level: float | None = None
    """Users, or arrivals per second."""
    named_level: str = ""
    called: str = ""
    """Its name, where a sentence has a word of its own for its users: "analysts"."""
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
    think: Think | None = None
    pace: float | None = None

    @property
    def name(self) -> str:
        """What it is called: "users", "dashboard users", '"ingest events" users'."""
        plain = PLAIN_NAMES[self.model or Model.CLOSED]
        does = f'"{self.journey}"' if self.journey else self.mix
        return self.called or f"{does} {plain}".strip()


@dataclass(slots=True)
class Draft:
    """What the Givens of one scenario have said so far.

    A sentence that states a load begins a population; those that follow speak of it. What stands before the first such
    sentence is said of the first population.

    Every method raises PhraseError where a sentence contradicts an earlier one, or a table cannot be read; who reads
    the sentences puts in which one it was.
    """

    populations: list[PopulationDraft] = field(default_factory=lambda: [PopulationDraft()])
    """At least one, in the order in which they were stated."""
    actions: tuple[Action, ...] = ()
    cache: str | None = None

    @property
    def last(self) -> PopulationDraft:
        """The population that sentences speak of now."""
        return self.populations[-1]

    def load(self, model: Model, level: float, *, mix: str = "", journey: str = "", called: str = "") -> None:
        """So many users, or arrivals per second; `called` is a word of their own for them, in the plural."""
        population = self._begin()
        if population.stages and (population.model, _peak(population.stages)) != (model, level):
            raise PhraseError(
                "",
                f"{level:g}",
                f"the table before it states {_in_words(population)}; another population is stated after the load "
                f"of the first, so state {_in_words(population)} before the table",
            )
        if mix or journey:
            _only_once(population.shares or None, mix or journey, "what the users are was stated before")
        population.model, population.level = model, level
        population.mix, population.journey, population.called = mix, journey, called
        self._require_another_name(f"{level:g}")

    def load_named(self, level: str) -> None:
        """A level of the environment."""
        population = self._begin()
        if population.stages and population.model is not Model.CLOSED:
            raise PhraseError("", level, "it is a level of users, and the table before it states arrivals")
        population.model, population.level, population.named_level = Model.CLOSED, 0.0, level
        self._require_another_name(level)

    def arrive(self, seconds: float) -> None:
        """They come one after the other, over so many seconds."""
        last = self.last
        _only_once(last.arrival, "arrive", "their arrival was stated before")
        _only_once(last.stages or None, "arrive", "the load follows a table, which says when they arrive")
        _only_once(last.curve or None, "arrive", "the load follows a curve, which says when they arrive")
        last.arrival = seconds

    def hold_for(self, seconds: float) -> None:
        """The load stays what it is for so many seconds."""
        last = self.last
        _only_once(last.hold, "holds", "how long it holds was stated before")
        _only_once(last.stages or None, "holds", "the load follows a table, which says how long it holds")
        _only_once(last.curve or None, "holds", "the load follows a curve, which says how long it lasts")
        last.hold = seconds

    def follow(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Stages: straight lines from level to level, as a table says them."""
        last = self.last
        _only_once(last.stages or None, "follows", "the stages were stated before")
        _only_once(last.arrival, "follows", "their arrival was stated before, the table says it too")
        _only_once(last.hold, "follows", "how long it holds was stated before, the table says it too")
        if len(headings) != 2 or headings[0] != "for" or headings[1] not in _LEVELS:
            known = " or ".join(f"| for | {column} |" for column in _LEVELS)
            raise PhraseError("", f"| {' | '.join(headings)} |", f"expected a table {known}")
        stages = tuple(Stage(grammar.read("duration", row[0]), grammar.read("count", row[1])) for row in rows)
        model, peak = _LEVELS[headings[1]], _peak(stages)
        if not sum(stage.seconds for stage in stages) or not peak:
            raise PhraseError("", "follows", "expected rows such as | 2 min | 500 |")
        if last.level is not None and not last.named_level and (model, peak) != (last.model, last.level):
            raise PhraseError(
                "",
                f"{peak:g} {headings[1]}",
                f"the table's highest level differs from the load stated, {last.level:g}",
            )
        last.stages, last.model = stages, model
        self._require_another_name(headings[1])

    def follow_curve(self, name: str, seconds: float | None = None) -> None:
        """A curve of the environment, up to the load stated; in so many seconds where they are given."""
        last = self.last
        _only_once(last.curve or last.stages or None, "follows", "what the load follows was stated before")
        _only_once(last.arrival, "follows", "their arrival was stated before, the curve says it too")
        _only_once(last.hold, "follows", "how long it holds was stated before, the curve says it too")
        if seconds == 0:
            raise PhraseError("", "over", "a curve takes some time, expected such as 10 minutes")
        last.curve, last.curve_seconds = name, seconds

    def happens(self, name: str, after: float | None = None) -> None:
        """Something is done to the service, so many seconds into the hold; a third of it where none are given."""
        self.actions = (*self.actions, Action(name, at=after))

    def fall_back(self, level: float, after: float) -> None:
        """The load becomes less, at once, so many seconds into the hold."""
        last = self.last
        _only_once(last.fall, "falls", "that the load falls back was stated before")
        _only_once(last.stages or None, "falls", "the load follows a table, which says when it falls")
        _only_once(last.curve or None, "falls", "the load follows a curve, which says when it falls")
        last.fall = (level, after)

    def share(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Who does what, as a table says it."""
        last = self.last
        _only_once(last.shares or None, "are", "what the users are was stated before")
        _only_once(last.mix or last.journey or None, "are", "what the users do was stated before")
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
        last.shares = entries

    def think_for(self, think: Think) -> None:
        """How long a user pauses after an answer."""
        _only_once(self.last.think, "thinks", "how long users think was stated before")
        if think.low > think.high:
            raise PhraseError(
                "", "thinks", "the first time is longer than the second, expected such as 1 to 3 seconds"
            )
        self.last.think = think

    def pace_at(self, seconds: float) -> None:
        """How long after the start of a journey a user starts the next."""
        _only_once(self.last.pace, "every", "how often users start was stated before")
        if not seconds:
            raise PhraseError("", "every", "a pace takes some time, expected such as 10 seconds")
        self.last.pace = seconds

    def cache_is(self, state: str) -> None:
        """Warm or cold."""
        _only_once(self.cache, state, "the cache was stated before")
        self.cache = state

    def _begin(self) -> PopulationDraft:
        """The population of a load that is being stated: the first, as long as it has none, or a new one."""
        if self.last.level is not None:
            self.populations.append(PopulationDraft())
        return self.last

    def _require_another_name(self, word: str) -> None:
        """Refuse a population of which nobody could tell whether a sentence speaks of it, or of an earlier one."""
        *earlier, last = self.populations
        if last.name.casefold() in {each.name.casefold() for each in earlier}:
            raise PhraseError(
                "",
                word,
                f"a load of {last.name} was stated before; a second population needs a name of its own, "
                f'such as 50 concurrent users of the dashboard, or following the "ingest events" journey',
            )


def _only_once(before: object, word: str, reason: str) -> None:
    if before is not None:
        raise PhraseError("", word, reason)


def _peak(stages: Iterable[Stage]) -> float:
    return max((stage.level for stage in stages), default=0.0)


def _in_words(population: PopulationDraft) -> str:
    """The load that a table states: "500 users"."""
    column = next(column for column, model in _LEVELS.items() if model is population.model)
    return f"{_peak(population.stages):g} {column}"
