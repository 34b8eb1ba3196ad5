"""The draft of a scenario: the populations and actions that its Given and When steps state."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from loadkit import grammar
from loadkit.errors import PhraseError
from loadkit.units import format_number
from loadkit.workload.plan import PLAIN_NAMES, Action
from loadkit.workload.workload import Lognormal, MixEntry, Model, Stage, Think

__all__ = ["Draft", "PopulationDraft"]

_LEVELS = {
    "users": Model.CLOSED,
    "requests per second": Model.REQUESTS,
    "journeys per second": Model.JOURNEYS,
}
"""The load columns of the table of stages, each with its load model."""


@dataclass(slots=True)
class PopulationDraft:
    """The statements about one population; unstated fields are None or empty."""

    model: Model | None = None
    level: float | None = None
    """Users, or arrivals per second."""
    named_level: str = ""
    called: str = ""
    """Its name, if a sentence names its users: "analysts"."""
    mix: str = ""
    journey: str = ""
    shares: tuple[MixEntry, ...] = ()
    """The rows of the users' table, with journeys by title."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Keyword arguments of its journeys."""
    regions: tuple[str, ...] = ()
    """The regions over which its users are spread evenly."""
    connects: bool = False
    """Do its users keep a connection open?"""
    delivered: float = 0.0
    """Messages per second that the service must deliver to the first population. The environment
    file names the journey that publishes them. The journey's rate is derived."""
    records: float = 0.0
    """Records that each of its requests writes; 0 where no sentence states it."""
    records_needed: float = 0.0
    """Records that must exist before the run; 0 where no sentence states it."""
    tenant: str = ""
    """The tenant of all its users; empty for any."""
    group: int = 1
    """The number of its users who share something, such as a dashboard."""
    times: float = 0.0
    """The total load of that tenant, in all populations, as a multiple of its usual load."""
    churn: float | None = None
    """Ratio of the connections that drop per minute."""
    arrival: float | None = None
    hold: float | None = None
    stages: tuple[Stage, ...] = ()
    curve: str = ""
    curve_seconds: float | None = None
    """The duration of the curve; None for that of the environment."""
    fall: tuple[float, float] | None = None
    """The level to which the load falls back, and the moment, in seconds into the hold."""
    think: Think | None = None
    pace: float | None = None
    session: Lognormal | None = None
    """The distribution of the time that each user stays."""

    @property
    def name(self) -> str:
        """Its name: "users", "dashboard users", '"ingest events" users'."""
        plain = PLAIN_NAMES[self.model or Model.CLOSED]
        behavior = f'"{self.journey}"' if self.journey else self.mix
        return self.called or f"{behavior} {plain}".strip()


@dataclass(slots=True)
class Draft:
    """The statements of one scenario so far.

    A sentence that states a load begins a population. The sentences after it apply to that
    population. The sentences before the first load apply to the first population.

    Every method raises PhraseError where a sentence contradicts an earlier one, or a table cannot
    be read. The caller adds the sentence to the error.
    """

    populations: list[PopulationDraft] = field(default_factory=lambda: [PopulationDraft()])
    """At least one, in the order in which they were stated."""
    actions: tuple[Action, ...] = ()
    cache: str | None = None

    @property
    def last(self) -> PopulationDraft:
        """The population to which the next sentences apply."""
        return self.populations[-1]

    def load(
        self,
        model: Model,
        level: float,
        *,
        mix: str = "",
        journey: str = "",
        called: str = "",
        connects: bool = False,
    ) -> None:
        """State a load of users or arrivals per second.

        `called` is their name in the plural. `connects` states whether they keep a connection open.
        """
        population = self._begin()
        if population.stages and (population.model, _peak(population.stages)) != (model, level):
            raise PhraseError(
                "",
                f"{level:g}",
                f"the table before it states {_in_words(population)}; expected a population's load before "
                f"its table, so state {_in_words(population)} before the table",
            )
        if population.fall and model is not Model.CLOSED:
            raise PhraseError(
                "",
                f"{level:g}",
                "the load falls back to a number of users, as stated before; expected such as "
                "1000 concurrent users",
            )
        if mix or journey:
            _only_once(population.shares or None, mix or journey, "the mix of the users was stated before")
        population.model, population.level = model, level
        population.mix, population.journey, population.called = mix, journey, called
        population.connects = connects
        self._require_another_name(f"{level:g}")

    def share_dashboards(self, dashboards: float, members: float) -> None:
        """State a number of dashboards, and the number of users who share each of them."""
        for number in (dashboards, members):
            if not number:
                raise PhraseError("", "0", "expected such as 200 dashboards shared by 5 users each")
        self.load(
            Model.CLOSED, dashboards * members, mix="shared dashboards", called="editors", connects=True
        )
        self.last.group = int(members)

    def deliver(self, rate: float) -> None:
        """State the messages per second that the service delivers to the connections.

        A population that publishes them is derived from the connections and the environment.
        """
        if not self.populations[0].connects:
            raise PhraseError(
                "",
                "delivered",
                "messages are delivered to connections: state them first, such as 1000 WebSocket connections",
            )
        if not rate:
            raise PhraseError("", "0", "expected such as 11000 messages are delivered per second")
        population = self._begin()
        population.model, population.level = Model.JOURNEYS, 0.0
        population.delivered, population.called = rate, "publications"
        self._require_another_name("delivered")

    def insert(self, rate: float, batch: float) -> None:
        """State the records that are inserted per second, and their number in each request."""
        for count, example in ((rate, "1100 metric inserts per second"), (batch, "in batches of 50")):
            if not count:
                raise PhraseError("", "0", f"expected such as {example}")
        self.load(Model.REQUESTS, rate / batch, mix="inserts", called="inserts")
        self.last.arguments, self.last.records = (("batch", f"{batch:g}"),), batch

    def analyse(self, users: float, records: float) -> None:
        """State users who query the database, and the number of records that it must have."""
        self.load(Model.CLOSED, users, mix="analysts", called="analysts")
        self.last.records_needed = records

    def send_more(self, tenant: str, times: float) -> None:
        """State that a tenant sends a multiple of its share of the first population."""
        if self.populations[0].level is None:
            raise PhraseError(
                "",
                "usual",
                "its usual load is a share of another: state one before, such as 100 concurrent users",
            )
        if times <= 1:
            raise PhraseError("", f"{times:g}", "expected more than 1, such as 10 times its usual load")
        first, population = self.populations[0], self._begin()
        population.model, population.level, population.called = first.model, 0.0, f"{tenant} users"
        population.mix, population.journey, population.shares = first.mix, first.journey, first.shares
        population.arguments, population.records = first.arguments, first.records
        population.tenant, population.times, population.group = tenant, times, first.group
        self._require_another_name(tenant)

    def drop(self, share: float) -> None:
        """State the share of the connections that drop every minute and reconnect."""
        population = next((each for each in reversed(self.populations) if each.connects), None)
        if population is None:
            raise PhraseError(
                "", "connections", "state the connections before, such as 1000 WebSocket connections"
            )
        _only_once(population.churn, "drop", "how many connections drop was stated before")
        if not 0 < share <= 1:
            raise PhraseError("", f"{share * 100:g}%", "expected a share up to 100%, such as 10%")
        population.churn = share

    def load_named(self, level: str) -> None:
        """State a load level of the environment."""
        population = self._begin()
        if population.stages and population.model is not Model.CLOSED:
            raise PhraseError("", level, "it is a level of users, but the table before it states arrivals")
        population.model, population.level, population.named_level = Model.CLOSED, 0.0, level
        self._require_another_name(level)

    def arrive(self, seconds: float) -> None:
        """State the ramp: the seconds over which the users arrive."""
        last = self.last
        _only_once(last.arrival, "arrive", "their arrival was stated before")
        _only_once(last.stages or None, "arrive", "the load follows a table, which defines when they arrive")
        _only_once(last.curve or None, "arrive", "the load follows a curve, which defines when they arrive")
        last.arrival = seconds

    def hold_for(self, seconds: float) -> None:
        """State the hold: the seconds for which the load is constant."""
        last = self.last
        _only_once(last.hold, "holds", "the hold was stated before")
        _only_once(last.stages or None, "holds", "the load follows a table, which defines how long it holds")
        _only_once(last.curve or None, "holds", "the load follows a curve, which defines how long it lasts")
        last.hold = seconds

    def follow(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """State the stages by a table: linear changes from level to level."""
        last = self.last
        _only_once(last.stages or None, "follows", "the stages were stated before")
        _only_once(last.curve or None, "follows", "the load follows a curve, as stated before")
        _only_once(last.arrival, "follows", "their arrival was stated before, but the table states it too")
        _only_once(last.hold, "follows", "the hold was stated before, but the table states it too")
        _only_once(
            last.fall, "follows", "the fall of the load was stated before, but the table states it too"
        )
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
        if last.named_level and model is not last.model:
            raise PhraseError(
                "",
                headings[1],
                f"the {last.named_level} load is a number of users, but the table states arrivals; expected a "
                "table | for | users |",
            )
        last.stages, last.model = stages, model

    def follow_curve(self, name: str, seconds: float | None = None) -> None:
        """State a curve of the environment, up to the stated load, optionally with its duration."""
        last = self.last
        _only_once(last.curve or last.stages or None, "follows", "a table or curve was stated before")
        _only_once(last.arrival, "follows", "their arrival was stated before, but the curve states it too")
        _only_once(last.hold, "follows", "the hold was stated before, but the curve states it too")
        _only_once(
            last.fall, "follows", "the fall of the load was stated before, but the curve states it too"
        )
        if seconds == 0:
            raise PhraseError("", "over", "expected a time above 0, such as 10 minutes")
        last.curve, last.curve_seconds = name, seconds

    def happens(self, name: str, after: float | None = None) -> None:
        """State an action and its time in seconds into the hold; by default a third of it."""
        self.actions = (*self.actions, Action(name, at=after))

    def fall_back(self, level: float, after: float) -> None:
        """State a sudden fall of the load to a number of users, `after` seconds into the hold."""
        last = self.last
        if last.model not in {None, Model.CLOSED}:
            column = next(column for column, model in _LEVELS.items() if model is last.model)
            raise PhraseError(
                "",
                "users",
                f"the load falls back to a number of users, but {last.name} are arrivals; expected a table "
                f"| for | {column} |",
            )
        _only_once(last.fall, "falls", "the fall of the load was stated before")
        _only_once(last.stages or None, "falls", "the load follows a table, which defines when it falls")
        _only_once(last.curve or None, "falls", "the load follows a curve, which defines when it falls")
        last.fall = (level, after)

    def share(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """State the journeys of the users by a table of shares."""
        last = self.last
        _only_once(
            last.shares or last.mix or last.journey or None, "are", "the mix of the users was stated before"
        )
        if tuple(headings) not in {("share", "journey"), ("share", "journey", "region")}:
            raise PhraseError(
                "",
                f"| {' | '.join(headings)} |",
                "expected a table | share | journey | or | share | journey | region |",
            )
        if last.regions and "region" in headings:
            raise PhraseError("", "region", "the regions of the users were stated before")
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

    def spread(self, regions: Sequence[str]) -> None:
        """State the regions of the users; each has the same share of the users of each journey."""
        last = self.last
        _only_once(last.regions or None, "spread", "the regions of the users were stated before")
        if any(entry.region for entry in last.shares):
            raise PhraseError("", "spread", "the table of the users states their regions")
        doubled = next((name for name in regions if regions.count(name) > 1), "")
        if doubled:
            raise PhraseError("", doubled, "it is stated twice; expected such as Europe, Asia and America")
        last.regions = tuple(regions)

    def think_for(self, think: Think) -> None:
        """State the think time of a user after an answer."""
        _only_once(self.last.think, "thinks", "the think time was stated before")
        if think.distribution == "lognormal" and not 0 < think.low <= think.high:
            raise PhraseError(
                "",
                "median",
                "expected a median above 0 and a p95 that is no shorter, such as a median of 600 ms and "
                "a p95 of 2 s",
            )
        if think.low > think.high:
            raise PhraseError(
                "", "thinks", "the first time is longer than the second, expected such as 1 to 3 seconds"
            )
        self.last.think = think

    def stay_for(self, session: Lognormal) -> None:
        """State the distribution of session times; after a session, another user takes over."""
        _only_once(self.last.session, "last", "how long sessions last was stated before")
        if not 0 < session.median <= session.p95:
            raise PhraseError(
                "",
                "median",
                "expected a median above 0 and a p95 that is no shorter, such as a median of 1 minute and "
                "a p95 of 5 minutes",
            )
        self.last.session = session

    def pace_at(self, seconds: float) -> None:
        """State the pace: the seconds between the starts of a user's journeys."""
        _only_once(self.last.pace, "every", "the pace was stated before")
        if not seconds:
            raise PhraseError("", "every", "expected a pace above 0, such as 10 seconds")
        self.last.pace = seconds

    def cache_is(self, state: str) -> None:
        """State the cache: warm or cold."""
        _only_once(self.cache, state, "the cache was stated before")
        self.cache = state

    def _begin(self) -> PopulationDraft:
        """The population for a load: the first one if it has no load yet, or a new one."""
        if self.last.level is not None:
            self.populations.append(PopulationDraft())
        return self.last

    def _require_another_name(self, word: str) -> None:
        """Refuse a population with the name of an earlier one: a criterion would be ambiguous."""
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
    """The highest load of a table: "500 users"."""
    column = next(column for column, model in _LEVELS.items() if model is population.model)
    return f"{_peak(population.stages):g} {column}"
