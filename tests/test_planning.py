"""Drafts and the plans they mean."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadkit import grammar
from loadkit.environment.environment import Environment
from loadkit.environment.settings import ActionCommand, Database, MixRow, Settings
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.planning.draft import Draft, PopulationDraft
from loadkit.planning.lint import require_known, require_reachable
from loadkit.planning.plan import beside, plan
from loadkit.structuring import structure
from loadkit.target import Address
from loadkit.workload.plan import Plan
from loadkit.workload.workload import MixEntry, Model, Stage, Think

JOURNEYS = {"browse": "shop:browse", "buy": "shop:buy"}
SHOP = Environment(
    root=Path(),
    file=Path("environments/shop.toml"),
    settings=Settings(
        base=Address("http://127.0.0.1:1"),
        journeys="shop",
        default_mix="API",
        mixes={"API": (MixRow("browse", 75), MixRow("buy", 25)), "front page": (MixRow("browse", 1),)},
        levels={"baseline": 100, "peak": 1000},
    ),
)


def shop(**said: object) -> Environment:
    """The shop, with other settings."""
    return replace(SHOP, settings=replace(SHOP.settings, **said))  # type: ignore[arg-type]


def planned(draft: Draft, **said: object) -> Plan:
    return plan(draft, shop(**said), JOURNEYS)


def drafted(**stated: object) -> Draft:
    """A draft whose only population has these things said of it."""
    return Draft([PopulationDraft(**stated)])  # type: ignore[arg-type]


def users(count: float = 1000, **stated: object) -> Draft:
    draft = drafted(**stated)
    draft.load(Model.CLOSED, count)
    return draft


def test_the_shortest_form_takes_mix_and_times_from_the_environment() -> None:
    made = planned(users())
    assert made.workload.stages == (Stage(10, 1000), Stage(60, 1000))
    assert made.workload.mix == (MixEntry("shop:browse", 0.75), MixEntry("shop:buy", 0.25))
    assert made.workload.think == Think()
    assert made.cache == "warm"
    assert not made.scaling.is_rehearsal


def test_without_any_given_the_environment_says_how_many_users() -> None:
    assert planned(Draft(), default_load=70).workload.peak == 70


def test_what_is_stated_replaces_what_the_environment_says() -> None:
    draft = users(200)
    draft.arrive(120)
    draft.hold_for(300)
    draft.think_for(Think(1, 3))
    draft.cache_is("cold")
    made = planned(draft)
    assert made.workload.stages == (Stage(120, 200), Stage(300, 200))
    assert made.workload.think == Think(1, 3)
    assert made.cache == "cold"


def test_a_pace_is_part_of_the_plan_and_replaces_the_pause_between_journeys() -> None:
    draft = users(200)
    draft.pace_at(10)
    assert planned(draft).workload.pace == 10
    assert planned(users(200)).workload.pace == 0
    with pytest.raises(PhraseError, match="stated before"):
        draft.pace_at(5)
    with pytest.raises(PhraseError, match="expected a pace above 0"):
        users(200).pace_at(0)


def test_users_of_an_open_load_have_no_pace_of_their_own() -> None:
    draft = drafted(pace=10)
    draft.load(Model.JOURNEYS, 20)
    with pytest.raises(ConfigurationError, match="arrivals set a pace too; expected one of the two"):
        planned(draft)


def test_endpoints_of_a_group_that_the_environment_does_not_know_are_told_with_those_there_are() -> None:
    known = shop(groups={"auth": ("* /auth/*",)})
    require_known(grammar.criterion("p95 of the auth endpoints is below 1 s"), known)
    asked = grammar.criterion("p95 of the payment endpoints is below 1 s")
    with pytest.raises(
        ConfigurationError, match=r'payment endpoints.*: no group "payment" in .*; there are: auth'
    ):
        require_known(asked, known)


@pytest.mark.parametrize(("queries", "is_known"), [("queries", True), ("", False)])
def test_key_queries_are_known_only_where_the_environment_names_their_folder(queries, is_known) -> None:
    database = Database(Address("postgresql://u@h/d"), queries=queries)
    known = shop(groups={"auth": ("* /auth/*",)}, database=database)
    asked = grammar.criterion("the p95 query time of the key queries stays below 200 ms")
    if is_known:
        require_known(asked, known)
        asked = grammar.criterion("p95 of the payment endpoints is below 1 s")
    there_are = "auth, key queries" if is_known else "auth"
    with pytest.raises(ConfigurationError, match=f"there are: {there_are}$"):
        require_known(asked, known)


def test_a_throughput_that_a_pace_allows_is_not_refused_for_the_pauses_within_journeys() -> None:
    draft = users(100, think=Think(10, 10))
    asked = grammar.criterion("throughput stays above 100 requests per second")
    with pytest.raises(ConfigurationError, match="out of reach"):
        require_reachable(asked, planned(draft))
    draft.pace_at(1)
    require_reachable(asked, planned(draft))


def test_saying_the_default_and_saying_nothing_is_one_plan() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 1000, mix="API")
    draft.arrive(10)
    draft.hold_for(60)
    draft.cache_is("warm")
    assert planned(draft).key == planned(users()).key


def test_a_named_level_is_the_number_that_the_environment_gives_it() -> None:
    draft = Draft()
    draft.load_named("peak")
    assert planned(draft).key == planned(users(1000)).key


def test_open_loads_have_their_own_models() -> None:
    draft = Draft()
    draft.load(Model.REQUESTS, 1200)
    assert planned(draft).workload.model is Model.REQUESTS
    assert planned(draft).key != planned(users(1200)).key


def test_a_mix_is_found_whatever_its_capitals() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 10, mix="Front Page")
    assert planned(draft).workload.mix == (MixEntry("shop:browse", 1.0),)


def test_one_journey_is_followed_by_all() -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 10, journey="buy")
    assert planned(draft).workload.mix == (MixEntry("shop:buy", 1.0),)


def test_a_table_of_stages_is_straight_lines_between_levels() -> None:
    draft = Draft()
    draft.follow(["for", "users"], [["2 min", "500"], ["5 min", "500"], ["30 s", "1,000"]])
    made = planned(draft)
    assert made.workload.stages == (Stage(120, 500), Stage(300, 500), Stage(30, 1000))
    assert made.scaling.stated_hold == 300


def test_a_table_of_arrivals_is_an_open_load() -> None:
    draft = Draft()
    draft.follow(["for", "requests per second"], [["1 min", "50"]])
    assert planned(draft).workload.model is Model.REQUESTS


def test_a_table_of_users_says_who_does_what_and_where() -> None:
    draft = users(100)
    draft.share(["share", "journey", "region"], [["60%", "browse", "Europe"], ["40 %", "buy", "Asia"]])
    assert planned(draft).workload.mix == (
        MixEntry("shop:browse", 0.6, "Europe"),
        MixEntry("shop:buy", 0.4, "Asia"),
    )


@pytest.mark.parametrize(
    ("hold", "scale", "held"),
    [(300, 0.5, 150), (300, 0.01, 30), (60, 0.1, 30), (20, 0.1, 20), (300, 1.0, 300), (300, 2.0, 300)],
)
def test_a_rehearsal_shortens_a_hold_to_thirty_seconds_at_least_and_lengthens_none(
    hold: float, scale: float, held: float
) -> None:
    draft = users()
    draft.hold_for(hold)
    assert planned(draft, time_scale=scale).workload.stages[-1].seconds == held


def test_a_rehearsal_says_what_it_scaled() -> None:
    draft = users(1000)
    draft.arrive(100)
    draft.hold_for(300)
    made = planned(draft, time_scale=0.1, users_scale=0.1)
    assert made.workload.stages == (Stage(10, 100), Stage(30, 100))
    assert made.scaling.is_rehearsal
    assert (made.scaling.users, made.scaling.time) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (made.populations[0].stated_level, made.scaling.stated_hold) == (1000, 300)


def test_a_scale_that_shortens_nothing_is_no_rehearsal() -> None:
    draft = users(100)
    draft.arrive(0)
    draft.hold_for(30)
    assert not planned(draft, time_scale=0.1).scaling.is_rehearsal


def test_few_users_are_never_scaled_to_none() -> None:
    assert planned(users(3), users_scale=0.01).workload.peak == 1


def test_no_scale_adds_users() -> None:
    assert planned(users(100), users_scale=2.0).workload.peak == 100


def test_arrivals_are_scaled_without_rounding() -> None:
    draft = Draft()
    draft.load(Model.JOURNEYS, 5)
    assert planned(draft, users_scale=0.1).workload.peak == pytest.approx(0.5)


def test_think_times_are_never_scaled() -> None:
    draft = users()
    draft.think_for(Think(1, 3))
    assert planned(draft, time_scale=0.1).workload.think == Think(1, 3)


def test_a_plan_survives_json() -> None:
    draft = users(100)
    draft.share(["share", "journey"], [["100%", "buy"]])
    made = planned(draft, time_scale=0.5)
    kept = structure(Plan, json.loads(json.dumps(made.to_json())), "run.json")
    assert (kept, kept.key) == (made, made.key)


def test_equal_plans_have_equal_keys_however_their_numbers_were_written() -> None:
    made = planned(users(100))
    as_integers = made.with_workloads(lambda load: replace(load, stages=(Stage(10, 100), Stage(60, 100))))
    written = replace(as_integers, timeout=10)
    assert (written, written.key) == (made, made.key)
    assert replace(made, timeout=11).key != made.key


@pytest.mark.parametrize(
    ("contradict", "reason"),
    [
        (lambda draft: draft.load(Model.CLOSED, 5, mix="API"), "a load of API users was stated before"),
        (lambda draft: draft.arrive(5), "stated before"),
        (lambda draft: draft.hold_for(5), "stated before"),
        (lambda draft: draft.follow(["for", "users"], [["1 s", "100"]]), "stated before"),
        (lambda draft: draft.think_for(Think(1, 2)), "stated before"),
        (lambda draft: draft.cache_is("warm"), "stated before"),
        (lambda draft: draft.share(["share", "journey"], [["100%", "buy"]]), "stated before"),
    ],
)
def test_a_sentence_that_contradicts_an_earlier_one_is_refused(contradict, reason: str) -> None:
    draft = Draft()
    draft.load(Model.CLOSED, 100, mix="API")
    draft.arrive(5)
    draft.hold_for(30)
    draft.think_for(Think(1, 2))
    draft.cache_is("cold")
    with pytest.raises(PhraseError, match=reason):
        contradict(draft)


@pytest.mark.parametrize(
    ("headings", "rows", "reason"),
    [
        (["time", "users"], [], r"expected a table \| for \| users \|"),
        ([], [], "expected a table"),
        (["for", "users"], [], "expected rows"),
        (["for", "users"], [["1 min", "0"]], "expected rows"),
        (["for", "users"], [["1", "100"]], "a time with its unit"),
        (["for", "users"], [["1 min", "many"]], "a whole number"),
        (["for", "users"], [["1 min", "900"]], "highest level differs"),
        (["for", "requests per second"], [["1 min", "1000"]], "highest level differs"),
    ],
)
def test_a_table_of_stages_that_cannot_be_read_is_refused(headings, rows, reason: str) -> None:
    with pytest.raises(PhraseError, match=reason):
        users(1000).follow(headings, rows)


@pytest.mark.parametrize(
    ("headings", "rows", "reason"),
    [
        (["journey", "share"], [], "expected a table"),
        (["share", "journey"], [["60", "buy"]], "such as 1%"),
        (["share", "journey"], [["60%", "buy"]], "add up to 60%, expected 100%"),
    ],
)
def test_a_table_of_users_that_cannot_be_read_is_refused(headings, rows, reason: str) -> None:
    with pytest.raises(PhraseError, match=reason):
        users().share(headings, rows)


def test_think_times_run_from_the_shorter_to_the_longer() -> None:
    with pytest.raises(PhraseError, match="longer than the second"):
        Draft().think_for(Think(3, 1))


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"mix": "basket"}, 'no mix "basket" in environments/shop.toml; there are: API, front page'),
        ({"journey": "sell"}, 'no journey "sell" in shop; there are: browse, buy'),
        ({"named_level": "summit"}, 'no level "summit" in environments/shop.toml; there are: baseline, peak'),
        ({"level": 0.0}, "a load of 0 cannot"),
        ({"hold": 0.0}, "holds for 0 s"),
    ],
)
def test_what_the_environment_does_not_know_is_refused_with_what_it_knows(stated, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        planned(drafted(**{"level": 10.0, **stated}))


def test_a_table_that_peaks_elsewhere_than_the_named_level_is_refused() -> None:
    draft = Draft()
    draft.load_named("peak")
    draft.follow(["for", "users"], [["1 min", "900"]])
    with pytest.raises(ConfigurationError, match=r"peak load of shop\.toml is 1000"):
        planned(draft)


def requests(rate: float) -> Draft:
    draft = Draft()
    draft.load(Model.REQUESTS, rate)
    return draft


@pytest.mark.parametrize(
    ("draft", "sentence"),
    [
        (users(100), "throughput stays above 126 requests per second"),
        (requests(100), "throughput is at least 96 requests per second"),
    ],
)
def test_a_throughput_that_an_instant_service_could_not_give_is_refused(draft: Draft, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match="out of reach, however fast the service is"):
        require_reachable(grammar.criterion(sentence), planned(draft))


@pytest.mark.parametrize(
    ("draft", "sentence", "scale"),
    [
        (users(100), "throughput stays above 125 requests per second", 1.0),
        (users(100), "throughput stays above 1000 requests per second", 0.5),
        (users(100), "throughput is below 1000 requests per second", 1.0),
        (users(100), "p95 is above 1000 s", 1.0),
        (users(100, think=Think(0, 0)), "throughput stays above 9000 requests per second", 1.0),
        (requests(100), "throughput is at least 95 requests per second", 1.0),
    ],
)
def test_what_a_plan_can_bring_about_or_a_rehearsal_does_not_judge_is_not_refused(
    draft: Draft, sentence: str, scale: float
) -> None:
    require_reachable(grammar.criterion(sentence), planned(draft, users_scale=scale))


# --- what happens meanwhile, curves, other loads

KILL = "an instance is killed"
LIVELY = {
    "control": ("python", "control.py"),
    "actions": {KILL: ActionCommand(("kill",))},
    "curves": {"peak hour": ((60, 0.25), (60, 0.5), (120, 0.25))},
}


def lively(draft: Draft, **said: object) -> Plan:
    return planned(draft, **LIVELY, **said)


def test_an_action_that_the_environment_does_not_know_is_refused_with_what_it_knows() -> None:
    draft = users()
    draft.happens("the cache is emptied")
    with pytest.raises(ConfigurationError, match=r"the cache is emptied.*it defines: an instance is killed"):
        lively(draft)


def test_a_plan_knows_how_many_instances_its_actions_restart() -> None:
    draft = users()
    draft.happens(KILL)
    assert lively(draft).actions[0].restarts == 0
    killing = planned(draft, **{**LIVELY, "actions": {KILL: ActionCommand(("kill",), restarts=1)}})
    assert killing.actions[0].restarts == 1


def test_an_action_after_the_hold_is_refused() -> None:
    draft = users()
    draft.happens(KILL, 60)
    with pytest.raises(ConfigurationError, match=r"holds for 60 s, which is over before"):
        lively(draft)


def test_a_rehearsal_leaves_the_delays_of_actions_and_time_to_recover() -> None:
    draft = users()
    draft.hold_for(600)
    draft.happens(KILL, 120)
    made = lively(draft, time_scale=0.1)
    assert made.actions[0].at == 120
    assert made.workload.stages[1].seconds == 180
    unhurried = users()
    unhurried.hold_for(600)
    unhurried.happens(KILL)
    assert lively(unhurried, time_scale=0.01).workload.stages[1].seconds == 90


def test_a_curve_reaches_the_load_stated_at_its_highest() -> None:
    draft = users(1000)
    draft.follow_curve("peak hour")
    assert lively(draft).workload.stages == (Stage(60, 500), Stage(60, 1000), Stage(120, 500))


def test_a_curve_takes_the_time_stated() -> None:
    draft = users(1000)
    draft.follow_curve("peak hour", 120)
    assert [stage.seconds for stage in lively(draft).workload.stages] == [30, 30, 60]


def test_a_rehearsed_curve_says_how_long_all_of_it_was_to_take() -> None:
    draft = users(100)
    draft.follow_curve("peak hour")
    assert lively(draft, time_scale=0.5).scaling.stated_hold == 240.0


def test_a_load_at_full_figures_is_no_rehearsal_although_a_stated_level_is_not_exactly_whole() -> None:
    table = users(100)
    table.follow(["for", "users"], [["30 s", "100"], ["3 minutes", "100"]])
    table.analyse(14, 0)
    curve = users(3)
    curve.follow_curve("night")
    said = {"mixes": {**SHOP.settings.mixes, "analysts": (MixRow("buy", 1),)}}
    said |= {"curves": {"night": ((60, 0.1), (60, 0.7))}}
    for draft, stated in ((table, 14.000000000000002), (curve, 3 * 0.7 / 0.7)):
        made = planned(draft, **said)
        assert made.populations[-1].stated_level == stated
        assert not made.scaling.is_rehearsal
        assert made.rehearsed == ""
        assert planned(draft, time_scale=0.5, **said).scaling.users == 1.0
    assert planned(table, users_scale=0.5, **said).scaling.users == pytest.approx(0.5)


def test_the_stated_hold_is_that_of_the_highest_level_which_the_rehearsal_is_compared_with() -> None:
    table = users(1000)
    table.follow(["for", "users"], [["30 s", "300"], ["10 min", "300"], ["0 s", "1000"], ["2 min", "1000"]])
    falling = users(1000)
    falling.hold_for(600)
    falling.fall_back(100, 120)
    for draft in (table, falling):
        made = planned(draft, time_scale=0.5)
        assert made.scaling.stated_hold == 120
        assert made.rehearsed == "60 s of 2 min"


def test_an_unknown_curve_is_refused_with_those_known() -> None:
    draft = users()
    draft.follow_curve("rush")
    with pytest.raises(ConfigurationError, match=r'no curve "rush".*peak hour'):
        lively(draft)


@pytest.mark.parametrize("contradiction", ["arrive", "hold_for", "follow_curve"])
def test_a_curve_says_when_users_come_and_for_how_long(contradiction: str) -> None:
    draft = users()
    draft.follow_curve("peak hour")
    with pytest.raises(PhraseError):
        getattr(draft, contradiction)("rush" if contradiction == "follow_curve" else 10)


def test_a_table_does_not_replace_a_curve_or_the_users_of_a_level() -> None:
    table = [["1 min", "200"]]
    draft = users(200)
    draft.follow_curve("peak hour")
    with pytest.raises(PhraseError, match="curve"):
        draft.follow(["for", "users"], table)
    level = Draft()
    level.load_named("peak")
    with pytest.raises(
        PhraseError, match="the peak load is a number of users, but the table states arrivals"
    ):
        level.follow(["for", "requests per second"], table)
    level.follow(["for", "users"], table)


def test_a_load_falls_back_within_its_hold_and_to_less() -> None:
    draft = users(1000)
    draft.fall_back(100, 20)
    stages = (Stage(10, 1000), Stage(20, 1000), Stage(0, 100), Stage(40, 100))
    assert lively(draft).workload.stages == stages
    for level, after in ((1000, 20), (100, 60)):
        wrong = users(1000)
        wrong.fall_back(level, after)
        with pytest.raises(ConfigurationError, match="fall back"):
            lively(wrong)


def test_beside_is_the_same_plan_at_another_level_with_nothing_happening() -> None:
    draft = users(1000, think=Think(1, 2))
    draft.happens(KILL)
    other = users(100, think=Think(1, 2))
    assert beside("baseline", draft, shop(**LIVELY), JOURNEYS) == lively(other)


def test_beside_scales_the_stages_of_a_table() -> None:
    draft = Draft()
    draft.follow(("for", "users"), (("1 min", "500"), ("1 min", "1000")))
    other = beside("baseline", draft, shop(**LIVELY), JOURNEYS)
    assert [stage.level for stage in other.workload.stages] == [50, 100]


def test_arrivals_do_not_compare_with_levels_of_users() -> None:
    draft = Draft()
    draft.load(Model.REQUESTS, 50)
    with pytest.raises(ConfigurationError, match="do not compare"):
        beside("baseline", draft, shop(**LIVELY), JOURNEYS)
