"""The product's sentences: each is read by exactly one step, and means what it says."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from behave.parser import parse_feature
from behave.runner import the_step_registry
from behave.runner_util import load_step_modules

from loadkit import grammar
from loadkit.environment.environment import load
from loadkit.users.discovery import find
from loadkit.workload.plan import Action
from steps.suite import parameters
from steps.suite.reading import Page, Reading, read
from steps.suite.scenarios import scenarios

ROOT = Path(__file__).parent.parent

GIVEN = [
    "1000 concurrent users",
    "1,000 concurrent users",
    "1 concurrent user",
    "1000 concurrent users of the API",
    "1000 concurrent users of the dashboard",
    '1000 concurrent users following the "ingest events" journey',
    "500 concurrent users following complete workflows",
    "1200 requests arriving per second",
    "20 journeys starting per second",
    "1000 WebSocket connections",
    "1 WebSocket connection",
    "1000 WebSocket connections subscribed to live metrics",
    "200 dashboards shared by 5 users each",
    "11000 messages are delivered per second",
    "10% of the connections drop every minute",
    "1100 metric inserts per second",
    "1 metric insert per second",
    "1100 metric inserts per second in batches of 50",
    "50 analysts querying 10 million records",
    "1 analyst querying 1,000,000 records",
    'tenant "globex" sends 10 times its usual load',
    "the peak load",
    "they arrive over 2 minutes",
    "the load holds for 5 minutes",
    "the load follows",
    'the load follows the "peak hour" curve',
    'the load follows the "peak hour" curve over 10 minutes',
    "the users are",
    "the users are spread over Europe, Asia and America",
    "the users are spread over Asia",
    "each user thinks for 1 to 3 seconds",
    "each user thinks for 0.3 to 1.3 seconds",
    "each user thinks for 2 seconds",
    "each user thinks for 2 seconds on average",
    "each user thinks for a median of 600 ms and a p95 of 2 s",
    "sessions last a median of 1 minute and a p95 of 5 minutes",
    "each user starts a journey every 10 seconds",
    "the cache is warm",
    "the cache is cold",
]
WHEN = [
    "the load runs",
    "an instance is killed",
    "an instance is killed after 1 minute",
    "the database is restarted",
    "the database is restarted after 1 minute",
    "the cache is emptied",
    "the cache is emptied after 2 minutes",
    "all connections drop",
    "all connections drop after 1 minute",
    "the load falls back to 100 users after 2 minutes",
]
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
    "the p95 message latency for users in Asia is below 300 ms",
    "the p95 response time for users in Asia is below 700 ms",
    "the workflow success rate is above 99%",
    "the p95 workflow time is below 5 s",
    "no tenant ever sees another tenant's data",
    "the p99 connection time for users in Asia is below 1 s",
    "the p95 response time for users in South-East Asia stays below 500 ms",
    'the p95 response time of tenant "acme" stays below 500 ms',
    "the p95 response time of the users stays below 500 ms",
    "the error rate of the dashboard users is below 1%",
    'availability of the "ingest events" users is at least 99.9%',
    "the mean response time is below 100 ms of the analysts",
    "throughput of the inserts stays above 1000 requests per second",
    "the p95 response time of the dashboard users is at most 2 times that at the baseline load",
    "the 99th percentile of the response time is below 500 ms",
    "the 95th percentile stays below 500 ms",
    "the median response time is below 100 ms",
    "the mean response time is below 100 ms",
    "p99.9 is below 2 minutes",
    "the error rate stays below 1 %",
    "uptime is above 99.9%",
    "memory usage stays below 512 MiB",
    'the Prometheus query "sum(up)" stays below 5',
    "the service recovers within 30 seconds",
    "the p95 response time is at most 2 times that at the baseline load",
    "the p95 response time of the auth endpoints is at most 2 times that at the baseline load, or below 50 ms",
    "the mean response time is at most 1.5 times that at the normal load",
    "the p99 response time is at most 2 times that at the baseline load, or below 50 ms",
    "throughput is at least 1.5 times that at the baseline load",
    'throughput of "GET /x" is at least 1.5 times that at the baseline load',
    'the "HighLatency" alert fires within 1 minute',
    "no alert fires",
    "the p95 message latency is below 100 ms",
    "the p95 message latency of the connections stays below 100 ms",
    "the 99th percentile of the message latency is below 100 ms",
    "the p99 connection time stays below 1 s",
    "the p95 time to reconnect is below 10 s",
    "the p99 ping round trip is below 100 ms",
    "the p95 message round trip stays below 100 ms",
    "the connection success rate is above 99%",
    "at least 1000 connections stay open",
    "at least 1 connection stay open",
    "99.9% of the connections stay open for 30 minutes",
    "throughput stays above 10000 messages per second",
    "reach is above 99.9%",
    "no message is lost",
    "no message is delivered twice",
    "messages arrive in order",
    "no message carries another tenant's data",
    "95% of the clients are back within 10 seconds",
    "an event reaches every dashboard within 100 ms",
    "99% of the events reach every dashboard within 100 ms",
    "all users see the same dashboard",
    'the mean query time of "tenant overview" is below 100 ms',
    "the p95 query time of the key queries stays below 200 ms",
    "the p95 query time of the analysts is below 200 ms",
    "the p95 pool wait is below 5 ms",
    "throughput stays above 1000 records per second",
    "throughput of the inserts stays above 1000 records per second",
    "connection pool efficiency is above 90%",
    "cache hit ratio is above 99%",
    "database connections stays below 100",
    "lock waits never exceeds 10",
    "dead tuples stays below 100000",
    "index utilization of the key queries is above 95%",
    'the p95 query time of tenant "acme" is at most 1.5 times that without tenant "globex"',
    'the p95 response time is at most 1.5 times that without tenant "globex"',
    "no deadlock occurs",
    "every acknowledged write is stored exactly once",
    "no rejected write is stored",
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
    return read(scenario, registry, environment, find(environment.settings.journeys, ROOT), seed=1)


@pytest.mark.parametrize(("keyword", "sentence"), SENTENCES)
def test_each_sentence_is_read_by_exactly_one_step(keyword: str, sentence: str, registry) -> None:
    kind = keyword.lower()
    matching = [
        step.pattern for step in registry.steps[kind] + registry.steps["step"] if step.match(sentence)
    ]
    assert len(matching) == 1, matching


def test_the_steps_are_those_of_the_grammar(registry) -> None:
    assert sorted(step.pattern for step in registry.steps["given"]) == sorted(grammar.GIVEN)
    assert sorted(step.pattern for step in registry.steps["when"]) == sorted(grammar.WHEN)
    assert sorted(step.pattern for step in registry.steps["then"]) == sorted(grammar.THEN)
    assert registry.steps["step"] == []


@pytest.mark.parametrize("sentence", THEN)
def test_a_promise_is_read_once_for_dry_run_step_report_and_command_line(sentence: str, registry) -> None:
    page = Page(sentence=sentence)
    next(match for step in registry.steps["then"] if (match := step.match(sentence))).run(page)
    assert page.criteria[0] is grammar.criterion(sentence)


def outside_quotes(old: str, new: str) -> Callable[[str], str]:
    def pasted(sentence: str) -> str:
        parts = sentence.split('"')
        return '"'.join(part if number % 2 else part.replace(old, new) for number, part in enumerate(parts))

    return pasted


def quoted_by(before: str, after: str) -> Callable[[str], str]:
    return lambda sentence: re.sub('"([^"]*)"', rf"{before}\1{after}", sentence)


PASTED = {
    "two spaces": outside_quotes(" ", "  "),
    "tabs": outside_quotes(" ", "\t"),
    "spaces that do not break": outside_quotes(" ", "\u00a0"),
    "narrow spaces that do not break": outside_quotes(" ", "\u202f"),
    "thin spaces": outside_quotes(" ", "\u2009"),
    "zero-width spaces": outside_quotes(" ", " \u200b"),
    "hyphens that do not break": outside_quotes("-", "\u2011"),
    "English quotes": quoted_by("“", "”"),
    "English single quotes": quoted_by("‘", "’"),
    "German quotes": quoted_by("„", "“"),
    "French quotes": quoted_by("«\u00a0", "\u00a0»"),
    "a full stop": "{}.".format,
    "a colon": "{}:".format,
    "a byte order mark": "\ufeff{}".format,
}
"""What a word processor, a chat or a web page makes of a sentence."""


@pytest.mark.parametrize("paste", PASTED.values(), ids=PASTED)
def test_a_pasted_sentence_is_read_by_the_same_step_and_means_the_same(paste, registry) -> None:
    for keyword, sentence in SENTENCES:
        pasted = paste(sentence)
        steps = [
            [step for step in registry.steps[keyword.lower()] if step.match(text)]
            for text in (sentence, pasted)
        ]
        assert steps[0] == steps[1], pasted
        values = [[part.value for part in steps[0][0].match(text).arguments] for text in (sentence, pasted)]
        assert values[0] == values[1], pasted
        assert grammar.explain(pasted) is None
        if keyword == "Then":
            assert replace(grammar.criterion(pasted), sentence=sentence) == grammar.criterion(sentence)


@pytest.mark.parametrize(
    "given",
    [
        each
        for each in GIVEN
        if each not in {"the load follows", "the users are"}
        and not each.endswith(("delivered per second", "drop every minute", "usual load"))
    ],
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


def test_tables_are_read_as_pasted(registry) -> None:
    reading = reading_of(
        """
    Given the load follows:
      | for        | requests\u00a0per  second |
      | 2\u00a0min | 1\u202f000              |
    And the users are:
      | share      | journey                   |
      | 100\u00a0% | watch\u00a0a  dashboard   |
    Then p95 is below 1 s
""",
        registry,
    )
    assert reading.problems == ()
    assert reading.plan is not None
    assert [stage.level for stage in reading.plan.workload.stages] == [1000]


def test_a_number_with_two_meanings_is_refused_in_a_table_too(registry) -> None:
    table = "Given the load follows\n| for | users |\n| 2 min | 1.000 |\n"
    reading = reading_of(f"    {table}    Then p95 is below 1 s\n", registry)
    assert reading.problems == (
        'f.feature:3: "the load follows": cannot read "1.000"; it may mean 1 or 1000: write 1 or 1000',
    )


def test_the_example_of_several_populations_is_one_run(registry) -> None:
    reading = reading_of(
        """
    Given 1100 requests arriving per second
    And the load holds for 5 minutes
    And 50 concurrent users of the dashboard
    And each user thinks for 5 to 10 seconds
    And 20 concurrent users following the "administer" journey
    Then throughput stays above 1000 requests per second
    And the error rate of the requests stays below 1%
    And the mean response time of the dashboard users is below 100 ms
    And the p95 response time of the "administer" users is below 500 ms
""",
        registry,
    )
    assert reading.problems == ()
    assert reading.plan is not None
    assert reading.plan.in_words == '1100 requests per second + 50 dashboard users + 20 "administer" users'
    assert {population.workload.seconds for population in reading.plan.populations} == {310}
    assert [population.workload.think.mean for population in reading.plan.populations] == [0.8, 7.5, 0.8]


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("p95 of the analysts is below 1 s", 'no population "analysts" in this load; there are: users,'),
        ('throughput of the "administer" users is above 99 requests per second', "out of reach"),
        ("p95 of the auth endpint is below 1 s", 'write an endpoint group such as "of the auth endpoints"'),
    ],
)
def test_a_criterion_that_no_population_can_answer_is_told_before_any_load(
    sentence: str, said: str, registry
) -> None:
    load = '    Given 1000 concurrent users\n    And 50 concurrent users following the "administer" journey\n'
    reading = reading_of(f"{load}    Then {sentence}\n", registry)
    assert reading.plan is None
    assert said in reading.problems[0]


@pytest.mark.parametrize(
    "later",
    [
        "Then no measure has regressed",
    ],
)
def test_a_sentence_that_means_nothing_yet_is_unreadable_instead_of_green(later: str, registry) -> None:
    reading = reading_of(f"    {later}\n    Then p95 is below 1 s\n", registry)
    assert reading.plan is None
    assert reading.problems[0].startswith('f.feature:3: "')


PAGE = (ROOT / "features" / "README.md").read_text()
EXAMPLES = [block for block in re.findall(r"```gherkin\n(.*?)```", PAGE, re.DOTALL) if "Then" in block]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_page_for_writers_can_be_copied(example: str, registry) -> None:
    reading = reading_of(example.partition("Scenario: ")[2].partition("\n")[2] or example, registry)
    assert reading.problems == ()
    assert reading.criteria


def features() -> list[Path]:
    return sorted((ROOT / "features").rglob("*.feature"))


@pytest.mark.parametrize("file", features(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_scenario_of_the_suite_can_be_judged(file: Path, registry) -> None:
    environment = load("local", ROOT)
    journeys = find(environment.settings.journeys, ROOT)
    for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios():
        reading = read(scenario, registry, environment, journeys, seed=1)
        assert reading.problems == ()
        assert reading.criteria


def test_the_example_of_the_vocabulary_shares_one_run(registry) -> None:
    environment = load("local", ROOT)
    journeys = find(environment.settings.journeys, ROOT)
    file = ROOT / "features" / "api" / "peak.feature"
    readings = [
        read(scenario, registry, environment, journeys, seed=1)
        for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios()
    ]
    assert len({reading.plan.key for reading in readings if reading.plan}) == 1
    assert sum(len(reading.criteria) for reading in readings) == 13


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        (("system/smoke", "api/smoke"), 1),
        (("system/peak_hour",), 2),  # the day and its peak hour
        (("system/consistency", "system/recovery"), 5),  # two disturbances are shared
    ],
)
def test_scenarios_of_one_load_share_a_run_across_features(
    files: tuple[str, ...], runs: int, registry
) -> None:
    environment = load("local", ROOT)
    journeys = find(environment.settings.journeys, ROOT)
    keys = set()
    for name in files:
        file = ROOT / "features" / f"{name}.feature"
        for scenario in parse_feature(file.read_text(), filename=str(file)).walk_scenarios():
            reading = read(scenario, registry, environment, journeys, seed=1)
            assert reading.plan is not None, reading.problems
            keys.add(reading.plan.key)
    assert len(keys) == runs


def test_the_smoke_test_has_criteria_of_each_area() -> None:
    tags = [set(row["tags"]) for row in scenarios(ROOT / "features") if "smoke" in row["tags"]]
    assert {"api", "websocket", "database", "system"} <= set().union(*tags)


# --- what happens meanwhile, and other loads


WHILE = [
    ("an instance is killed", Action("an instance is killed", restarts=1)),
    ("an instance is killed after 10 seconds", Action("an instance is killed", at=10.0, restarts=1)),
    ("the cache is emptied after 10 seconds", Action("the cache is emptied", at=10.0)),
]


@pytest.mark.parametrize(("sentence", "action"), WHILE)
def test_what_happens_meanwhile_is_part_of_the_plan(sentence: str, action: Action, registry) -> None:
    reading = reading_of(f"    When {sentence}\n    Then the service recovers within 30 seconds\n", registry)
    assert reading.problems == ()
    assert reading.plan is not None
    assert reading.plan.actions == (action,)


def test_a_load_that_falls_back_is_a_stage_of_the_plan(registry) -> None:
    reading = reading_of(
        """
    Given 1000 concurrent users
    And they arrive over 1 minute
    And the load holds for 5 minutes
    When the load falls back to 100 users after 2 minutes
    Then p95 is below 1 s
""",
        registry,
    )
    assert reading.plan is not None
    stages = [(stage.seconds, stage.level) for stage in reading.plan.workload.stages]
    assert stages == [(60, 1000), (120, 1000), (0, 100), (180, 100)]


def test_two_loads_need_two_runs_and_the_other_is_what_its_own_scenario_would_have(registry) -> None:
    reading = reading_of(
        """
    Given the peak load
    And the load holds for 2 minutes
    Then p95 is at most 2 times that at the baseline load
""",
        registry,
    )
    alone = reading_of(
        "    Given 100 concurrent users of the API\n    And the load holds for 2 minutes\n    Then p95 is below 1 s\n",
        registry,
    )
    assert reading.plan is not None
    assert reading.plan.workload.peak == 1000
    assert dict(reading.references) == {"at the baseline load": alone.plan}


@pytest.mark.parametrize(
    ("load", "is_reachable"),
    [
        ("1100 metric inserts per second", True),
        ("1100 metric inserts per second in batches of 50", True),
        ("900 metric inserts per second", False),
        ("1000 concurrent users", False),
    ],
)
def test_records_per_second_that_no_load_writes_are_refused(load: str, is_reachable: bool, registry) -> None:
    text = f"    Given {load}\n    Then throughput stays above 1000 records per second\n"
    problems = reading_of(text, registry).problems
    assert not problems if is_reachable else "out of reach" in problems[0]


def test_a_noisy_tenant_is_compared_with_the_load_of_the_others(registry) -> None:
    compare = '    Then p95 of tenant "acme" is at most 1.5 times that without tenant "globex"\n'
    others = "    Given 100 concurrent users\n"
    reading = reading_of(
        f'{others}    And tenant "globex" sends 10 times its usual load\n{compare}', registry
    )
    assert reading.plan is not None
    alone = reading_of(f"{others}    Then p95 is below 1 s\n", registry)
    assert dict(reading.references) == {'without tenant "globex"': alone.plan}
    (problem,) = reading_of(f"{others}{compare}", registry).problems
    assert 'no population is that of tenant "globex"' in problem


STREAM = "    Given 1000 WebSocket connections subscribed to live metrics\n"


def test_messages_that_are_delivered_are_published_by_a_population_of_the_right_rate(registry) -> None:
    reading = reading_of(
        f"{STREAM}    And 11000 messages are delivered per second\n"
        "    And 10% of the connections drop every minute\n    Then no message is lost\n",
        registry,
    )
    assert reading.plan is not None
    connections, publications = reading.plan.populations
    assert (connections.name, connections.workload.peak) == ("connections", 1000)
    assert connections.workload.churn == pytest.approx(0.1 / 60)
    # A publication reaches half of the connections on the local environment.
    assert publications.workload.peak == pytest.approx(22)
    assert not publications.workload.is_poisson
    assert publications.in_words == "22 publications per second, 11,000 messages delivered per second"


def test_shared_dashboards_have_so_many_users_who_know_how_many_share_one(registry) -> None:
    reading = reading_of(
        "    Given 200 dashboards shared by 5 users each\n    Then all users see the same dashboard\n",
        registry,
    )
    assert reading.plan is not None
    assert reading.plan.in_words == "1000 editors"
    assert reading.plan.populations[0].group == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "    Given 11000 messages are delivered per second\n    Then no message is lost\n",
            "state them first",
        ),
        (
            "    Given 10% of the connections drop every minute\n    Then no message is lost\n",
            "state the connections before",
        ),
        (f"{STREAM}    Then at least 1001 connections stay open\n", "the load has 1000 connections"),
        (
            f"{STREAM}    Then 99.9% of the connections stay open for 30 minutes\n",
            "the load holds for 60 s; expected at least 30 min",
        ),
        (
            (
                f"{STREAM}    And 9000 messages are delivered per second\n"
                "    Then throughput stays above 10000 messages per second\n"
            ),
            "the load has 9000 messages per second",
        ),
        (f"{STREAM}    Then 101% of the clients are back within 10 s\n", "expected a share up to 100%"),
        (
            (
                f"{STREAM}    And 9000 messages are delivered per second\n"
                "    And the users are spread over Europe and Asia\n    Then no message is lost\n"
            ),
            "messages are published from one place",
        ),
        (
            (
                f"{STREAM}    And 9000 messages are delivered per second\n"
                "    And each user thinks for 1 to 3 seconds\n    Then no message is lost\n"
            ),
            "publications begin whenever they are due",
        ),
        (f"{STREAM}    Then no message is lots\n", 'did you mean "lost"?'),
    ],
)
def test_what_connections_cannot_answer_is_told_before_any_load(text: str, said: str, registry) -> None:
    reading = reading_of(text, registry)
    assert reading.plan is None
    assert said in reading.problems[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            (
                "    Given 1000 concurrent users\n      | share | journey |\n      | 100% | ingest events |\n"
                "    Then p95 stays below 500 ms\n"
            ),
            'f.feature:3: "1000 concurrent users" does not read the table below it',
        ),
        (
            '    Given 1000 concurrent users\n    Then p95 stays below 500 ms\n      """\n      of all\n      """\n',
            'f.feature:4: "p95 stays below 500 ms" does not read the text below it',
        ),
    ],
)
def test_a_table_or_text_that_no_sentence_reads_is_a_problem(text: str, said: str, registry) -> None:
    reading = reading_of(text, registry)
    assert reading.plan is None
    assert reading.problems[0].startswith(said)


def test_a_share_is_the_number_that_it_is() -> None:
    for tenths in range(1001):
        limit = grammar.criterion(f"reach is at least {tenths / 10}%").limit
        assert limit == tenths / 1000, tenths


UNREADABLE = [
    ("Then the error rate is at most 2 times that at the baseline load", '"error rate"'),
    ("Then p95 is at most 0 times that at the baseline load", '"0 times"'),
    ("Then p95 is at most 2 times that at the baseline load, or below 50", '"50"'),
    ("Then CPU utilization is at most 2 times that at the baseline load", '"CPU utilization"'),
]


@pytest.mark.parametrize(("sentence", "word"), UNREADABLE)
def test_loads_are_compared_by_times_and_throughput_alone(sentence: str, word: str, registry) -> None:
    reading = reading_of(f"    {sentence}\n", registry)
    assert f"cannot read {word}" in reading.problems[0]


def test_an_unknown_level_to_compare_with_is_told_before_any_load(registry) -> None:
    reading = reading_of("    Then p95 is at most 2 times that at the base load\n", registry)
    assert 'no level "base"' in reading.problems[0]
