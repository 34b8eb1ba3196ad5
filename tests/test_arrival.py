"""When users come and go, and when open arrivals start."""

import math
import statistics
from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.workload.schedule import arrivals, entry_of, stays
from loadkit.workload.workload import MixEntry, Model, Stage, Workload

STAYS = [
    # stages, the stays of each user, and the sentence
    ([Stage(10, 2)], [[(2.5, 10)], [(7.5, 10)]], "two users over 10 s join at a quarter and three quarters"),
    ([Stage(0, 2), Stage(5, 2)], [[(0, 5)], [(0, 5)]], "a jump brings all at once"),
    (
        [Stage(10, 1), Stage(10, 1), Stage(10, 0)],
        [[(5, 25)]],
        "a user leaves where the level falls through the half",
    ),
    (
        [Stage(10, 1), Stage(10, 0), Stage(10, 1)],
        [[(5, 15), (25, 30)]],
        "a user who left comes back when the level rises again",
    ),
    (
        [Stage(5, 3), Stage(0, 1), Stage(5, 1)],
        [[(5 / 6, 10)], [(2.5, 5)], [(25 / 6, 5)]],
        "a fall can be a jump",
    ),
    ([Stage(10, 0.4)], [], "less than half a user is none"),
    ([], [], "no stages, no users"),
]


@pytest.mark.parametrize(("stages", "expected", "sentence"), STAYS, ids=[row[2] for row in STAYS])
def test_users_join_and_leave_where_the_level_crosses_their_half(stages, expected, sentence):
    found = [[(stay.join, stay.leave) for stay in one] for one in stays(stages)]
    assert found == [[pytest.approx(stay) for stay in one] for one in expected], sentence


LEVELS = st.lists(
    st.builds(Stage, st.floats(0.1, 100), st.integers(0, 40).map(float)), min_size=1, max_size=6
)


@given(LEVELS, st.floats(0, 0.999))
def test_the_users_present_are_the_level_rounded(stages, share):
    workload = Workload(Model.CLOSED, tuple(stages), ())
    moment = share * workload.seconds
    level = workload.level_at(moment)
    present = sum(any(stay.join <= moment < stay.leave for stay in one) for one in stays(stages))
    assert abs(present - level) <= 0.5 + 1e-6


@given(LEVELS)
def test_stays_of_a_user_follow_each_other(stages):
    for one in stays(stages):
        moments = [moment for stay in one for moment in (stay.join, stay.leave)]
        assert moments == sorted(moments)


def shares(*parts: float) -> tuple[MixEntry, ...]:
    return tuple(MixEntry(f"m:f{number}", part) for number, part in enumerate(parts))


@pytest.mark.parametrize("users", [10, 57, 100, 1000])
def test_any_first_users_have_the_shares_of_the_mix(users):
    mix = shares(0.4, 0.3, 0.15, 0.1, 0.05)
    counts = Counter(entry_of(number, mix) for number in range(users))
    for number, entry in enumerate(mix):
        assert abs(counts[number] - entry.share * users) <= 2


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
def test_each_workers_users_have_the_shares_of_the_mix(workers):
    mix = shares(0.5, 0.5)
    for index in range(workers):
        mine = Counter(entry_of(number, mix) for number in range(index, 1000, workers))
        assert abs(mine[0] - mine[1]) <= 6


def open_load(*stages: Stage, is_poisson: bool = True) -> Workload:
    return Workload(Model.REQUESTS, stages, shares(0.75, 0.25), is_poisson=is_poisson)


def test_evenly_spaced_arrivals_stand_in_the_middle_of_their_slots():
    moments = [arrival.at for arrival in arrivals(open_load(Stage(0, 4), Stage(1, 4), is_poisson=False), 1)]
    assert moments == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_a_rising_rate_brings_arrivals_closer_together():
    # The integral of 2t is t²: arrivals where it is ½, 1½, 2½ …
    moments = [arrival.at for arrival in arrivals(open_load(Stage(3, 6), is_poisson=False), 1)]
    assert moments == pytest.approx([math.sqrt(count + 0.5) for count in range(9)])


def test_poisson_arrivals_come_at_the_rate_with_exponential_gaps():
    moments = [arrival.at for arrival in arrivals(open_load(Stage(0, 100), Stage(300, 100)), 7)]
    stalls = [after - before for before, after in pairwise(moments)]
    assert len(moments) == pytest.approx(30_000, rel=0.02)
    assert statistics.mean(stalls) == pytest.approx(0.01, rel=0.02)
    assert statistics.stdev(stalls) == pytest.approx(0.01, rel=0.05)


def test_arrivals_draw_their_entry_by_the_shares():
    drawn = Counter(arrival.entry for arrival in arrivals(open_load(Stage(0, 100), Stage(100, 100)), 1))
    assert drawn[0] / drawn.total() == pytest.approx(0.75, abs=0.02)


@pytest.mark.slow
@given(LEVELS, st.booleans(), st.integers(0, 5))
def test_arrivals_rise_lie_within_the_plan_and_are_as_many_as_the_rate_says(stages, is_poisson, seed):
    workload = open_load(*stages, is_poisson=is_poisson)
    found = list(arrivals(workload, seed))
    moments = [arrival.at for arrival in found]
    assert moments == sorted(moments)
    assert all(0 <= moment <= workload.seconds + 1e-6 for moment in moments)
    assert [arrival.number for arrival in found] == list(range(len(found)))
    if not is_poisson:
        levels = [0.0, *(stage.level for stage in stages)]
        area = sum(
            stage.seconds * (before + stage.level) / 2 for before, stage in zip(levels, stages, strict=False)
        )
        assert abs(len(found) - area) <= 0.5 + 1e-6


def test_the_same_seed_gives_the_same_arrivals_and_another_one_others():
    load = open_load(Stage(0, 100), Stage(10, 100))
    first, again, other = (list(islice(arrivals(load, seed), 50)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
