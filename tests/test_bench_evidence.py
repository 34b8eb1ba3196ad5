"""The benchmark of examples and of the canary search: what it compares, and what it says."""

import json
import math
import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.bench.evidence import PARTS, Block, Cost, Switch, answer, cost_of, median_interval, order
from tests.bench.instructions import InstructionCounter

_, SEARCH = PARTS


def blocks(groups: int, costs: float, speed, noise: float = 0.0) -> list[Block]:
    """Blocks of a process to which a part costs a ratio; `speed` of the machine by block."""
    draws = random.Random(2)
    return [
        Block(is_on, 1000, speed(number) * (1 + costs * is_on) * draws.lognormvariate(0, noise))
        for number, is_on in enumerate(order(groups, 1))
    ]


def cpu(block: Block) -> float:
    return block.cpu


def test_each_group_has_both_states_and_begins_with_either() -> None:
    states = order(100, 1)
    groups = {tuple(states[place : place + 4]) for place in range(0, 400, 4)}
    assert groups == {(True, False, False, True), (False, True, True, False)}


@pytest.mark.parametrize("costs", [0.0, 0.04])
def test_a_machine_that_becomes_slower_changes_no_ratio(costs: float) -> None:
    found = cost_of(blocks(30, costs, lambda number: 1 + 0.01 * number), cpu)
    assert found.middle == pytest.approx(costs, abs=1e-9)


def test_what_occurs_each_fourth_block_changes_the_median_by_chance_alone() -> None:
    found = cost_of(blocks(80, 0.04, lambda number: 1.3 if number % 4 == 1 else 1.0, 0.01), cpu)
    assert found.low < 0.04 < found.high


def test_a_few_blocks_that_took_ten_times_as_long_do_not_matter() -> None:
    found = cost_of(blocks(80, 0.04, lambda number: 10.0 if number % 50 == 7 else 1.0, 0.02), cpu)
    assert found.middle == pytest.approx(0.04, abs=0.01)
    assert found.high - found.low < 0.03


@pytest.mark.parametrize("count", [6, 20, 80])
def test_the_interval_holds_the_median_in_95_percent_whatever_the_distribution(count: int) -> None:
    draws = np.random.default_rng(1)
    held = [
        low <= 1.0 <= high
        for low, high in (median_interval(draws.lognormal(0.0, 2.0, count)) for _ in range(2000))
    ]
    assert np.mean(held) > 0.94


def test_five_values_have_no_interval() -> None:
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0]) == (-math.inf, math.inf)
    assert median_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == (1.0, 6.0)


@pytest.mark.parametrize(
    ("cost", "said"),
    [
        (Cost(0.02, 0.03, 0.04), "+3.0 % (+2.0 to +4.0), target 5 %: within it"),
        (Cost(0.04, 0.05, 0.06), "+5.0 % (+4.0 to +6.0), target 5 %: undecided"),
        (Cost(0.06, 0.07, 0.08), "+7.0 % (+6.0 to +8.0), target 5 %: above it"),
        (Cost(-0.02, -0.01, 0.01), "-1.0 % (-2.0 to +1.0), target 5 %: within it"),
        (Cost(-0.2, -0.1, 0.01), "-10.0 % (-20.0 to +1.0), target 5 %: within it"),
    ],
)
def test_a_cost_is_said_with_its_interval_and_its_aim(cost: Cost, said: str) -> None:
    assert cost.words(0.05, is_rate=False) == said


def test_the_aim_of_a_rate_is_its_loss() -> None:
    assert Cost(0.01, 0.02, 0.025).words(0.03, is_rate=True) == "-2.0 % (-2.4 to -1.0), target 3 %: within it"
    assert Cost(0.02, 0.03, 0.05).words(0.03, is_rate=True).endswith("undecided")
    assert Cost(0.04, 0.05, 0.06).words(0.03, is_rate=True).endswith("above it")
    assert Cost(-0.06, -0.05, -0.04).words(0.03, is_rate=True).endswith("within it")


@pytest.mark.parametrize("size", [300, 8192])
def test_an_answer_is_json_of_its_size_with_the_canary_of_its_tenant(size: int) -> None:
    content = answer(size)
    assert 0.8 * size < len(content) <= size
    assert json.loads(content)["rows"][0]["tenant_key"].startswith("tk-")


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_a_switch_leaves_out_its_own_part_and_puts_it_back(part) -> None:
    client: Any = SimpleNamespace(
        _search="search", _traces=iter([b"trace"] * 9), _slow_from={"GET /file": 1.0}
    )
    switch = Switch(part)
    switch.add(client)
    for on in (True, False, True):
        switch.turn(on=on)
        is_slowest_wanted = client._slow_from["GET /file"] == 1.0
        found = (client._search == "search", next(client._traces) == b"trace", is_slowest_wanted)
        assert found == ((on, True, True) if part is SEARCH else (False, on, on))


def test_a_counter_of_the_kernel_grows_or_the_kernel_has_none() -> None:
    try:
        counter = InstructionCounter(kind=1, event=1)  # the time of the task, which most kernels count
    except OSError:
        return
    with counter:
        before = counter.read()
        sum(range(100_000))
        assert counter.read() > before
