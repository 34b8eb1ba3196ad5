"""The product's sentences: each is read by exactly one step, and means what it says."""

from pathlib import Path

import pytest
from behave.parser import parse_feature
from behave.runner import the_step_registry
from behave.runner_util import load_step_modules

from loadkit import phrases
from loadkit.environment import load
from loadkit.journey import find
from steps.suite import parameters
from steps.suite.reading import Page, Reading, read

ROOT = Path(__file__).parent.parent

GIVEN = [
    "1000 concurrent users",
    "1,000 concurrent users",
    "1 concurrent user",
    "1000 concurrent users of the API",
    "1000 concurrent users of the dashboard",
    '1000 concurrent users following the "ingest events" journey',
    "1200 requests arriving per second",
    "20 journeys starting per second",
    "the peak load",
    "they arrive over 2 minutes",
    "the load holds for 5 minutes",
    "the load follows",
    "the users are",
    "each user thinks for 1 to 3 seconds",
    "each user thinks for 0.3 to 1.3 seconds",
    "the cache is warm",
    "the cache is cold",
]
WHEN = ["the load runs"]
THEN = [
    "p95 stays below 500ms",
    "the p95 response time of the auth endpoints stays below 500 ms",
    "the error rate of the auth endpoints stays below 1%",
    "throughput stays above 1000 requests per second",
    "database connection pool utilization stays below 80%",
    "CPU utilization stays below 70% on every instance",
    "memory usage stays below 2 GB per instance",
    "the p95 response time is below 500 ms",
    "the p95 response time is above 1 ms",
    "the p95 response time stays above 1 ms",
    "the p95 response time never exceeds 0.5 s",
    "throughput never falls below 900 requests per second",
    "the p95 response time is at most 500ms",
    "availability is at least 99.9%",
    'the p95 response time of "POST /api/v1/metrics/sessions" stays below 500 ms',
    "the p95 response time for users in Europe stays below 500 ms",
    'the p95 response time of tenant "acme" stays below 500 ms',
    "the 95th percentile stays below 500 ms",
    "the median response time is below 100 ms",
    "the mean response time is below 100 ms",
    "p99.9 is below 2 minutes",
    "the error rate stays below 1 %",
    "uptime is above 99.9%",
    "memory usage stays below 512 MiB",
    'the Prometheus query "sum(up)" stays below 5',
]
SENTENCES = [
    *(("Given", sentence) for sentence in GIVEN),
    *(("When", sentence) for sentence in WHEN),
    *(("Then", sentence) for sentence in THEN),
]


@pytest.fixture(scope="module")
def registry():
    the_step_registry.clear()
    parameters.register()
    load_step_modules([str(ROOT / "steps")])
    yield the_step_registry
    the_step_registry.clear()


def reading_of(text: str, registry) -> Reading:
    environment = load("local", ROOT)
    scenario = next(
        iter(parse_feature(f"Feature: F\n  Scenario: S\n{text}", filename="f.feature").walk_scenarios())
    )
    return read(scenario, registry, environment, find(environment.journeys, ROOT), seed=1)


@pytest.mark.parametrize(("keyword", "sentence"), SENTENCES)
def test_each_sentence_is_read_by_exactly_one_step(keyword: str, sentence: str, registry) -> None:
    kind = keyword.lower()
    matching = [
        step.pattern for step in registry.steps[kind] + registry.steps["step"] if step.match(sentence)
    ]
    assert len(matching) == 1, matching


def test_the_steps_are_those_of_the_grammar(registry) -> None:
    assert sorted(step.pattern for step in registry.steps["given"]) == sorted(phrases.GIVEN)
    assert sorted(step.pattern for step in registry.steps["when"]) == sorted(phrases.WHEN)
    assert sorted(step.pattern for step in registry.steps["then"]) == sorted(phrases.THEN)
    assert registry.steps["step"] == []


@pytest.mark.parametrize("sentence", THEN)
def test_a_step_and_the_grammar_give_a_sentence_one_meaning(sentence: str, registry) -> None:
    page = Page(sentence=sentence)
    next(match for step in registry.steps["then"] if (match := step.match(sentence))).run(page)
    assert page.criteria == [phrases.criterion(sentence)]


@pytest.mark.parametrize(
    "given", [each for each in GIVEN if each not in {"the load follows", "the users are"}]
)
def test_each_given_alone_makes_a_plan_on_the_local_environment(given: str, registry) -> None:
    reading = reading_of(f"    Given {given}\n    Then p95 is below 1 s\n", registry)
    assert reading.problems == ()
    assert reading.plan is not None


def test_the_tables_of_the_vocabulary_are_read(registry) -> None:
    reading = reading_of(
        """
    Given the load follows
      | for   | users |
      | 2 min | 500   |
      | 5 min | 500   |
    And the users are
      | share | journey           | region |
      | 60%   | watch a dashboard | Europe |
      | 40%   | ingest events     | Asia   |
    When the load runs
    Then the p95 response time for users in Europe stays below 500 ms
""",
        registry,
    )
    assert reading.problems == ()
    assert reading.plan is not None
    assert [stage.level for stage in reading.plan.workload.stages] == [500, 500]
    assert [entry.region for entry in reading.plan.workload.mix] == ["Europe", "Asia"]


@pytest.mark.parametrize(
    "later",
    [
        "Given 1000 WebSocket connections",
        "When all connections drop",
        "Then no message is lost",
        "Then the p95 message latency stays below 100 ms",
        "Then no measure has regressed",
    ],
)
def test_a_sentence_that_means_nothing_yet_is_unreadable_instead_of_green(later: str, registry) -> None:
    reading = reading_of(f"    {later}\n    Then p95 is below 1 s\n", registry)
    assert reading.plan is None
    assert reading.problems[0].startswith('f.feature:3: "')


def features() -> list[Path]:
    return sorted((ROOT / "features").rglob("*.feature"))


@pytest.mark.parametrize("file", features(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_scenario_of_the_suite_can_be_judged(file: Path, registry) -> None:
    environment = load("local", ROOT)
    journeys = find(environment.journeys, ROOT)
    for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios():
        reading = read(scenario, registry, environment, journeys, seed=1)
        assert reading.problems == ()
        assert reading.criteria


def test_the_example_of_the_vocabulary_shares_one_run(registry) -> None:
    environment = load("local", ROOT)
    journeys = find(environment.journeys, ROOT)
    file = ROOT / "features" / "api" / "peak.feature"
    readings = [
        read(scenario, registry, environment, journeys, seed=1)
        for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios()
    ]
    assert len({reading.plan.key for reading in readings if reading.plan}) == 1
    assert sum(len(reading.criteria) for reading in readings) == 12
