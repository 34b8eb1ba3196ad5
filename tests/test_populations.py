"""Several loads in one run: what sentences say of each, and what they mean together."""

from dataclasses import replace

import pytest

from loadkit import grammar
from loadkit.environment.settings import Messages
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.planning.draft import Draft
from loadkit.planning.lint import require_population, require_reachable
from loadkit.planning.plan import beside, plan, without
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think
from tests.test_planning import JOURNEYS, KILL, LIVELY, lively, planned, shop

BROWSE, BUY = (MixEntry("shop:browse", 1.0),), (MixEntry("shop:buy", 1.0),)


def users_and_buyers(users: float = 1000, buyers: float = 50) -> Draft:
    """A thousand who do what is done anyway, and fifty who buy; what is said next is said of these."""
    draft = Draft()
    draft.load(Model.CLOSED, users)
    draft.load(Model.CLOSED, buyers, journey="buy")
    return draft


def stages_of(plan: Plan) -> list[tuple[Stage, ...]]:
    return [population.workload.stages for population in plan.populations]


# --- sentences


def test_each_load_that_is_stated_is_a_population() -> None:
    draft = Draft()
    draft.load(Model.REQUESTS, 1200)
    draft.load(Model.CLOSED, 50, mix="front page")
    draft.load(Model.JOURNEYS, 2)
    draft.load_named("peak")
    assert planned(draft).in_words == (
        "1200 requests per second + 50 front page users + 2 journeys per second + 1000 users"
    )


@pytest.mark.parametrize(
    ("model", "stated", "name"),
    [
        (Model.CLOSED, {}, "users"),
        (Model.CLOSED, {"mix": "Front PAGE"}, "front page users"),
        (Model.CLOSED, {"journey": "buy"}, '"buy" users'),
        (Model.CLOSED, {"called": "analysts", "journey": "buy"}, "analysts"),
        (Model.REQUESTS, {}, "requests"),
        (Model.REQUESTS, {"called": "inserts", "journey": "buy"}, "inserts"),
        (Model.JOURNEYS, {}, "journeys"),
        (Model.JOURNEYS, {"journey": "buy"}, '"buy" journeys'),
    ],
)
def test_a_population_is_called_after_what_tells_it_from_others(model: Model, stated, name: str) -> None:
    draft = Draft()
    draft.load(model, 10, **stated)
    assert [population.name for population in planned(draft).populations] == [name]


def test_the_mix_that_all_follow_anyway_is_named_only_beside_another_population() -> None:
    alone, beside_others = Draft(), users_and_buyers()
    alone.load(Model.CLOSED, 10, mix="API")
    beside_others.load(Model.CLOSED, 10, mix="api")
    assert planned(alone).in_words == "10 users"
    assert planned(beside_others).in_words == '1000 users + 50 "buy" users + 10 API users'


def test_what_is_said_after_a_load_is_said_of_it() -> None:
    draft = users_and_buyers()
    draft.think_for(Think(5, 10))
    draft.pace_at(60)
    draft.cache_is("cold")
    plan = planned(draft)
    users, buyers = (population.workload for population in plan.populations)
    assert (users.think, users.pace, buyers.think, buyers.pace) == (Think(), 0, Think(5, 10), 60)
    assert plan.cache == "cold"


def test_a_table_of_shares_is_of_the_population_before_it() -> None:
    draft = Draft()
    draft.load(Model.REQUESTS, 100)
    draft.load(Model.CLOSED, 10)
    draft.share(["share", "journey"], [["100%", "buy"]])
    requests, users = (population.workload for population in planned(draft).populations)
    assert ([entry.journey for entry in requests.mix], users.mix) == (["shop:browse", "shop:buy"], BUY)


def test_what_is_said_before_any_load_is_said_of_the_first() -> None:
    draft = Draft()
    draft.arrive(20)
    draft.think_for(Think(1, 3))
    draft.load(Model.CLOSED, 1000)
    draft.load(Model.CLOSED, 50, journey="buy")
    draft.think_for(Think(5, 10))
    assert [population.workload.think for population in planned(draft).populations] == [
        Think(1, 3),
        Think(5, 10),
    ]


def test_what_a_population_leaves_open_is_as_it_is_with_the_first() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100, mix="front page")
    draft.arrive(20)
    draft.hold_for(300)
    draft.think_for(Think(1, 3))
    draft.load(Model.CLOSED, 5, called="analysts")
    first, second = (population.workload for population in planned(draft).populations)
    assert second.stages == (Stage(20, 5), Stage(300, 5))
    assert (second.think, second.mix) == (Think(1, 3), BROWSE)
    assert first.mix == BROWSE


def test_arrivals_do_not_take_the_pace_of_users() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100)
    draft.pace_at(10)
    draft.load(Model.JOURNEYS, 2)
    assert [population.workload.pace for population in planned(draft).populations] == [10, 0]


def test_users_whose_think_time_is_stated_do_not_take_the_pace_of_the_first() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100)
    draft.pace_at(60)
    draft.load(Model.CLOSED, 50, called="analysts")
    draft.think_for(Think(1, 3))
    draft.load(Model.CLOSED, 5, called="admins")
    assert [population.workload.pace for population in planned(draft).populations] == [60, 0, 60]


@pytest.mark.parametrize("model", [Model.REQUESTS, Model.JOURNEYS, Model.CLOSED])
def test_a_think_time_that_nobody_has_is_refused(model: Model) -> None:
    alone, beside_users, first = Draft(), Draft(), Draft()
    alone.load(model, 10)
    alone.think_for(Think(1, 3))
    beside_users.load(Model.CLOSED, 100)
    beside_users.load(model, 10, called="buyers")
    beside_users.think_for(Think(1, 3))
    for draft in (alone, beside_users):
        if model is Model.REQUESTS:
            with pytest.raises(ConfigurationError, match="begin whenever they are due"):
                planned(draft)
        else:
            planned(draft)
    first.load(model, 10, called="arrivals")
    first.think_for(Think(1, 3))
    first.load(Model.CLOSED, 5)
    assert planned(first).populations[1].workload.think == Think(1, 3)


def test_a_population_follows_the_stages_of_the_first_at_its_own_level() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.follow(["for", "users"], [["1 min", "500"], ["2 min", "500"], ["1 min", "1000"], ["2 min", "1000"]])
    draft.load(Model.REQUESTS, 10)
    assert stages_of(planned(draft))[1] == (Stage(60, 5), Stage(120, 5), Stage(60, 10), Stage(120, 10))


def test_a_population_follows_the_curve_of_the_first_at_its_own_level() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.follow_curve("peak hour", 120)
    draft.load(Model.CLOSED, 10, journey="buy")
    assert stages_of(lively(draft))[1] == (Stage(30, 5), Stage(30, 10), Stage(60, 5))


@pytest.mark.parametrize(
    "state",
    [
        lambda draft: draft.load(Model.CLOSED, 5),
        lambda draft: draft.load(Model.CLOSED, 5, called="Users"),
        lambda draft: draft.load(Model.CLOSED, 5, journey="buy"),
        lambda draft: draft.load_named("peak"),
    ],
)
def test_two_populations_of_one_name_are_refused_with_what_would_tell_them_apart(state) -> None:
    draft = users_and_buyers()
    with pytest.raises(PhraseError, match="was stated before; a second population needs a name of its own"):
        state(draft)


def test_a_table_does_not_make_the_users_of_a_level_arrivals() -> None:
    draft = Draft()
    draft.load(Model.REQUESTS, 100)
    draft.load_named("peak")
    with pytest.raises(PhraseError, match="the table states arrivals"):
        draft.follow(["for", "requests per second"], [["1 min", "1000"]])


@pytest.mark.parametrize(("model", "level"), [(Model.CLOSED, 50), (Model.REQUESTS, 500)])
def test_a_load_that_differs_from_the_table_before_it_is_refused(model: Model, level: float) -> None:
    draft = Draft()
    draft.follow(["for", "users"], [["1 min", "500"]])
    with pytest.raises(PhraseError, match="state 500 users before the table"):
        draft.load(model, level)


def test_a_table_of_arrivals_and_a_level_of_users_contradict_each_other() -> None:
    draft = Draft()
    draft.follow(["for", "requests per second"], [["1 min", "1000"]])
    with pytest.raises(PhraseError, match="a level of users"):
        draft.load_named("peak")


def test_a_load_after_the_table_that_states_it_is_no_second_population() -> None:
    draft = Draft()
    draft.follow(["for", "users"], [["1 min", "500"]])
    draft.load(Model.CLOSED, 500)
    assert planned(draft).in_words == "500 users"


def test_a_mix_after_the_table_of_users_is_refused() -> None:
    draft = Draft()
    draft.share(["share", "journey"], [["100%", "buy"]])
    with pytest.raises(PhraseError, match="the mix of the users was stated before"):
        draft.load(Model.CLOSED, 5, mix="API")


# --- together


def test_populations_that_do_not_end_together_are_refused() -> None:
    draft = users_and_buyers()
    draft.hold_for(300)
    with pytest.raises(
        ConfigurationError, match=r'start and end together, but users last 70 s and "buy" users'
    ):
        planned(draft)


def test_a_load_that_changes_while_that_of_the_first_holds_is_refused() -> None:
    draft = users_and_buyers()
    draft.arrive(20)
    draft.hold_for(50)
    with pytest.raises(
        ConfigurationError, match="changes between 10 s and 70 s, while that of users is constant"
    ):
        planned(draft)


def test_another_population_than_the_first_cannot_fall_back() -> None:
    draft = users_and_buyers()
    draft.fall_back(10, 20)
    with pytest.raises(ConfigurationError, match='the load of "buy" users changes between'):
        planned(draft)


def test_a_load_that_holds_while_that_of_the_first_rises_goes_with_it() -> None:
    draft = users_and_buyers()
    draft.follow(["for", "users"], [["0 s", "50"], ["70 s", "50"]])
    assert planned(draft).seconds == 70


@pytest.mark.parametrize(
    ("model", "column"),
    [(Model.REQUESTS, "requests per second"), (Model.JOURNEYS, "journeys per second")],
)
def test_arrivals_do_not_fall_back_to_a_number_of_users(model: Model, column: str) -> None:
    draft, earlier = Draft(), Draft()
    draft.load(model, 1200)
    with pytest.raises(PhraseError, match=rf"are arrivals; expected a table \| for \| {column} \|"):
        draft.fall_back(100, 20)
    earlier.fall_back(100, 20)
    with pytest.raises(PhraseError, match="falls back to a number of users, as stated before"):
        earlier.load(model, 1200)


@pytest.mark.parametrize(
    "state",
    [
        lambda draft: draft.follow(["for", "users"], [["1 min", "500"]]),
        lambda draft: draft.follow_curve("peak hour"),
    ],
)
def test_a_table_or_curve_after_the_fall_of_the_load_is_refused(state) -> None:
    draft = Draft()
    draft.fall_back(100, 20)
    with pytest.raises(PhraseError, match="the fall of the load was stated before"):
        state(draft)


def test_when_the_first_load_falls_back_the_others_stay_what_they_are() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.fall_back(100, 20)
    draft.load(Model.CLOSED, 50, journey="buy")
    assert stages_of(lively(draft)) == [
        (Stage(10, 1000), Stage(20, 1000), Stage(0, 100), Stage(40, 100)),
        (Stage(10, 50), Stage(60, 50)),
    ]


def test_a_rehearsal_shortens_and_thins_all_populations() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.arrive(100)
    draft.hold_for(300)
    draft.load(Model.CLOSED, 4, journey="buy")
    draft.load(Model.REQUESTS, 5)
    plan = planned(draft, time_scale=0.1, users_scale=0.1)
    assert stages_of(plan) == [
        (Stage(10, 100), Stage(30, 100)),
        (Stage(10, 1), Stage(30, 1)),
        (Stage(10, 0.5), Stage(30, 0.5)),
    ]
    assert plan.rehearsed == (
        '100 of 1000 users and 1 of 4 "buy" users and 0.5 of 5 requests per second, 30 s of 5 min'
    )
    assert plan.scaling.users == pytest.approx(0.1)


@pytest.mark.parametrize("scale", [0.5, 0.1, 0.01])
def test_a_rehearsal_keeps_populations_together_whose_stages_differ(scale: float) -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.arrive(60)
    draft.hold_for(60)
    draft.load(Model.CLOSED, 50, journey="buy")
    draft.follow(["for", "users"], [["30 s", "50"], ["90 s", "50"]])
    users, buyers = (population.workload for population in planned(draft, time_scale=scale).populations)
    assert buyers.seconds == pytest.approx(users.seconds)
    assert buyers.stages[0].seconds == pytest.approx(users.stages[0].seconds / 2)


# --- criteria


def test_another_load_level_is_one_of_the_first_population() -> None:
    draft = users_and_buyers()
    draft.happens(KILL)
    other = beside("baseline", draft, shop(**LIVELY), JOURNEYS)
    assert (other.in_words, other.actions) == ('100 users + 50 "buy" users', ())


def test_at_another_load_level_each_connection_receives_as_much() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000, mix="front page", called="connections", connects=True)
    draft.deliver(11000)
    environment = shop(messages=Messages(journey="buy", reach=0.5))
    stated, other = plan(draft, environment, JOURNEYS), beside("baseline", draft, environment, JOURNEYS)
    assert stages_of(stated)[1] == stages_of(other)[1] == (Stage(10, 22), Stage(60, 22))
    assert (other.workload.peak, other.populations[1].delivers) == (100, pytest.approx(1100))


@pytest.mark.parametrize("named", [True, False], ids=["a named load", "users"])
def test_users_beside_connections_do_what_users_do_by_default(*, named: bool) -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 90, journey="buy", called="connections", connects=True)
    if named:
        draft.load_named("baseline")
    else:
        draft.load(Model.CLOSED, 100)
    environment = shop(tenants={"globex": 0.11})
    alone = Draft()
    alone.load_named("baseline")
    (expected,) = plan(alone, environment, JOURNEYS).populations
    connections, users = plan(draft, environment, JOURNEYS).populations
    assert users.workload.mix == expected.workload.mix != connections.workload.mix
    draft.send_more("globex", 10)
    assert plan(draft, environment, JOURNEYS).populations[2].workload.mix == connections.workload.mix


def test_at_another_load_level_a_noisy_tenant_keeps_its_users() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.send_more("globex", 10)
    other = beside("baseline", draft, shop(tenants={"globex": 0.11}), JOURNEYS)
    assert stages_of(other) == [(Stage(10, 100), Stage(60, 100)), (Stage(10, 990), Stage(60, 990))]


@pytest.mark.parametrize(("mix", "name"), [("API", "API users"), ("", "users")])
def test_without_a_tenant_the_others_keep_the_names_that_criteria_know_them_by(mix: str, name: str) -> None:
    environment, draft = shop(tenants={"globex": 0.11}), Draft()
    draft.load(Model.CLOSED, 200, mix=mix)
    draft.send_more("globex", 10)
    stated, reference = (
        plan(draft, environment, JOURNEYS),
        without("globex", draft, environment, JOURNEYS),
    )
    criterion = grammar.criterion(
        f'the p95 response time of the {name} is at most 1.5 times that without tenant "globex"'
    )
    for each in (stated, reference):
        require_population(criterion, each)
    assert reference.populations == stated.populations[:1]


def test_without_a_tenant_a_load_is_the_run_that_others_have_too() -> None:
    environment, draft, alone = shop(tenants={"globex": 0.11}), Draft(), Draft()
    for each in (draft, alone):
        each.load(Model.CLOSED, 200)
    draft.send_more("globex", 10)
    assert without("globex", draft, environment, JOURNEYS).key == plan(alone, environment, JOURNEYS).key


def reachable(draft: Draft, sentence: str) -> None:
    require_reachable(grammar.criterion(sentence), planned(draft))


def mixed() -> Draft:
    """At most 1250 requests per second of users, and 100 that arrive."""
    draft = Draft()
    draft.load(Model.CLOSED, 1000)
    draft.load(Model.REQUESTS, 100)
    return draft


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (
            "throughput stays above 1400 requests per second",
            r"1000 users who think for 0\.8 s between requests and 100 requests per second make at most 1350",
        ),
        ("throughput of the users stays above 1300 requests per second", "make at most 1250 per second"),
        (
            "throughput of the requests stays above 99 requests per second",
            "expected at least 104 to judge it",
        ),
    ],
)
def test_a_throughput_that_its_populations_could_not_make_is_refused(sentence: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        reachable(mixed(), sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "throughput stays above 1350 requests per second",
        "throughput of the users stays above 1250 requests per second",
        "throughput of the requests stays above 95 requests per second",
    ],
)
def test_a_throughput_that_its_populations_can_make_is_not_refused(sentence: str) -> None:
    reachable(mixed(), sentence)


def test_journeys_that_arrive_bound_no_throughput() -> None:
    draft = mixed()
    draft.load(Model.JOURNEYS, 1)
    reachable(draft, "throughput stays above 5000 requests per second")


def test_a_population_that_the_load_does_not_have_is_refused_with_those_it_has() -> None:
    plan = planned(users_and_buyers())
    require_population(grammar.criterion('p95 of the "buy" users is below 1 s'), plan)
    require_population(grammar.criterion("p95 of the buy endpoints is below 1 s"), plan)
    with pytest.raises(
        ConfigurationError, match='no population "buyers" in this load; there are: users, "buy" users'
    ):
        require_population(grammar.criterion("p95 of the buyers is below 1 s"), plan)


def test_a_plan_of_one_population_is_the_same_whether_its_mix_is_said_or_not() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000, mix="API")
    said, unsaid = planned(draft), Draft()
    unsaid.load(Model.CLOSED, 1000)
    assert planned(unsaid) == said
    assert replace(said, seed=2).key != said.key
