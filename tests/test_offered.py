"""What a plan offers at most, and what a throughput needs: one rule for planning and for judging."""

import dataclasses
import math

import pytest

from loadkit.workload.offered import needed, offered
from loadkit.workload.workload import Model, Think
from tests.builders import plan_of


@pytest.mark.parametrize(
    ("model", "changes", "most", "least"),
    [
        (Model.CLOSED, {}, 125, 100),  # 100 users who think for 0.8 s
        (Model.CLOSED, {"think": Think(0, 0)}, math.inf, 100),
        (Model.CLOSED, {"pace": 10.0}, math.inf, 100),  # how many requests a journey makes is not in the plan
        (Model.REQUESTS, {}, 100, 105),
        (Model.JOURNEYS, {}, math.inf, 105),
    ],
)
def test_a_load_offers_what_its_model_allows_and_arrivals_must_exceed_the_limit(model, changes, most, least):
    workload = dataclasses.replace(plan_of(60, level=100, model=model).workload, **changes)
    assert offered(workload, 100) == most
    assert needed([workload], 100) == least
