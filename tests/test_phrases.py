"""Sentences and the values they mean."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadkit import grammar
from loadkit.criterion import Comparison, Family, ScopeKind, Unit
from loadkit.errors import PhraseError
from loadkit.grammar.sentences import pattern
from loadkit.workload.workload import Think

RESPONSE = "response time"


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("500 ms", 0.5, Unit.SECONDS),
        ("500ms", 0.5, Unit.SECONDS),
        ("0.5 s", 0.5, Unit.SECONDS),
        ("1,000 ms", 1.0, Unit.SECONDS),
        ("2 minutes", 120.0, Unit.SECONDS),
        ("2 min", 120.0, Unit.SECONDS),
        ("1 hour", 3600.0, Unit.SECONDS),
        ("1%", 0.01, Unit.RATIO),
        ("1 %", 0.01, Unit.RATIO),
        ("99.95%", 0.9995, Unit.RATIO),
        ("2 GB", 2e9, Unit.BYTES),
        ("512 MiB", 512 * 1024**2, Unit.BYTES),
        ("1000 requests per second", 1000.0, Unit.PER_SECOND),
        ("1,000 requests per second", 1000.0, Unit.PER_SECOND),
        ("5", 5.0, Unit.NUMBER),
        ("12,345,678.5", 12_345_678.5, Unit.NUMBER),
        ("12 345 678.5", 12_345_678.5, Unit.NUMBER),
        ("1 000 requests per second", 1000.0, Unit.PER_SECOND),
        ("0.005", 0.005, Unit.NUMBER),
        ("0.125 s", 0.125, Unit.SECONDS),
        ("1.0005", 1.0005, Unit.NUMBER),
        ("1,000.125", 1000.125, Unit.NUMBER),
        ("1000.125", 1000.125, Unit.NUMBER),
        ("99.999%", 0.99999, Unit.RATIO),
    ],
)
def test_quantities_are_kept_in_one_unit(text: str, value: float, unit: Unit) -> None:
    quantity = grammar.read("limit", text)
    assert quantity.value == pytest.approx(value, rel=1e-12)
    assert (quantity.unit, quantity.text) == (unit, text)


@pytest.mark.parametrize("text", ["-5 ms", ".5 s", "5 m", "5 gb", "1e3", "1,000,00", "1.2.3", "٥ ms", ""])
def test_a_quantity_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(PhraseError, match="such as"):
        grammar.read("limit", text)


@pytest.mark.parametrize(
    ("text", "word", "readings"),
    [
        ("1.000 requests per second", "1.000", "it may mean 1 or 1000: write 1 or 1000"),
        ("2.500 GB", "2.500", "it may mean 2.5 or 2500: write 2.5 or 2500"),
        ("10.000 ms", "10.000", "10 or 10000"),
        ("100.000", "100.000", "100 or 100000"),
        ("1.000,5 ms", "1.000,5", "1000.5 or 1.0005"),
        ("1\u202f000,5 ms", "1 000,5", "1000.5 or 10005"),
        ("1,5s", "1,5", "it may mean 1.5 or 15: write 1.5 or 15"),
        ("1,00", "1,00", "1 or 100"),
        ("1,0000 ms", "1,0000", "1 or 10000"),
        ("9,5%", "9,5%", "9.5% or 95%"),
        ("0,5%", "0,5%", "expected it written as 0.5%"),
        ("0,500 s", "0,500", "expected it written as 0.5"),
        ("99,9 %", "99,9 %", "expected it written as 99.9 %"),
        ("1,000%", "1,000%", "expected it written as 1%"),
        ("1.000.000 requests per second", "1.000.000", "expected it written as 1000000"),
    ],
)
def test_a_number_with_two_meanings_is_refused_with_both(text: str, word: str, readings: str) -> None:
    with pytest.raises(PhraseError) as refused:
        grammar.read("limit", text)
    assert refused.value.word == word
    assert refused.value.expected.endswith(readings)


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("throughput is above 1.000 requests per second", "1.000"),
        ("1.000 concurrent users", "1.000"),
        ("each user thinks for 1 to 2.000 ms", "2.000"),
        ("the p95 response time is at most 1.500 times that at the baseline load", "1.500"),
        ("p99,9 is below 1 s", "p99,9"),
        ("the 99,9th percentile is below 1 s", "99,9th"),
    ],
)
def test_a_number_with_two_meanings_is_refused_wherever_it_stands(sentence: str, word: str) -> None:
    error = grammar.explain(sentence)
    assert error is not None
    assert (error.sentence, error.word) == (sentence, word)


@pytest.mark.parametrize(
    "sentence",
    [
        "p99.999 is bellow 1 s",
        'the p95 response time of "GET /v1.000" is bellow 1 s',
        "availability is bellow 99.999%",
    ],
)
def test_a_number_with_one_meaning_is_not_blamed_for_another_word(sentence: str) -> None:
    error = grammar.explain(sentence)
    assert error is not None
    assert error.word == "bellow"


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("p95  stays\t below   500 ms", "p95 stays below 500 ms"),
        ("p95 stays\u00a0below\u2009500\u202fms", "p95 stays below 500 ms"),
        (" p95 stays below 500 ms. ", "p95 stays below 500 ms"),
        ("the users are:", "the users are"),
        ("\ufeffp95 stays\u200b below 500\u2060ms", "p95 stays below 500ms"),
        ("for users in South\u2011East Asia", "for users in South-East Asia"),
        ("for users in South–East Asia", "for users in South-East Asia"),
        ("for users in Côte d’Ivoire", "for users in Côte d'Ivoire"),
        ("of “acme”", 'of "acme"'),
        ("of „acme“", 'of "acme"'),
        ("of ”acme”", 'of "acme"'),
        ("of «\u00a0acme\u00a0»", 'of "acme"'),
        ("of »acme«", 'of "acme"'),
        ("of ‘acme’", 'of "acme"'),
        ("of ‚acme‘", 'of "acme"'),
        ("of ‹acme›", 'of "acme"'),
        ("of 'acme'", 'of "acme"'),
        ('of “acme"', 'of "acme"'),
        ('of "acme”', 'of "acme"'),
        ("of “acme”.", 'of "acme"'),
        ("of “a  –\u00a0‘b’.” is", 'of "a  –\u00a0‘b’." is'),
        ('of "a  – “b”" is', 'of "a  – “b”" is'),
        ("query “up{job='a'}” of 'it’s  so' is", 'query "up{job=\'a\'}" of "it’s  so" is'),
    ],
)
def test_a_pasted_sentence_is_normalized_and_its_text_in_quotes_is_kept(pasted: str, meant: str) -> None:
    assert grammar.normalize(pasted) == meant


def test_what_is_wrong_with_a_pasted_sentence_is_told_with_the_sentence_as_written() -> None:
    sentence = "p95  stays bellow\u00a0500 ms."
    error = grammar.explain(sentence)
    assert error is not None
    assert (error.sentence, error.word) == (sentence, "bellow")


def test_an_error_is_one_line_also_where_the_sentence_is_of_two() -> None:
    with pytest.raises(PhraseError) as refused:
        grammar.criterion("p95 stays\nbellow 500 ms")
    assert str(refused.value).startswith('"p95 stays bellow 500 ms": cannot read "bellow"')


@pytest.mark.parametrize(
    ("text", "statistic", "quantile"),
    [
        ("p95", "p95", 0.95),
        ("the p95", "p95", 0.95),
        ("the p95 response time", "p95", 0.95),
        ("p99.9", "p99.9", 0.999),
        ("the p99.9 response time", "p99.9", 0.999),
        ("the 95th percentile", "p95", 0.95),
        ("the 95th percentile response time", "p95", 0.95),
        ("the 99.9th percentile of the response time", "p99.9", 0.999),
        ("the 1st percentile", "p1", 0.01),
        ("median", "median", 0.5),
        ("the median response time", "median", 0.5),
        ("mean", "mean", None),
        ("the mean response time", "mean", None),
        ("the maximum response time", "max", None),
    ],
)
def test_a_statistic_alone_means_response_time(text: str, statistic: str, quantile: float | None) -> None:
    measure = grammar.read("measure", text)
    assert (measure.name, measure.family, measure.unit) == (RESPONSE, Family.TIME, Unit.SECONDS)
    assert (measure.statistic, measure.quantile) == (statistic, quantile)


@pytest.mark.parametrize(
    ("text", "family", "unit"),
    [
        ("the error rate", Family.ERROR_RATE, Unit.RATIO),
        ("availability", Family.AVAILABILITY, Unit.RATIO),
        ("uptime", Family.UPTIME, Unit.RATIO),
        ("throughput", Family.THROUGHPUT, Unit.PER_SECOND),
        ("CPU utilization", Family.GAUGE, Unit.RATIO),
        ("memory usage", Family.GAUGE, Unit.BYTES),
        ("the database connection pool utilization", Family.GAUGE, Unit.RATIO),
    ],
)
def test_measures_are_named_as_environments_name_them(text: str, family: Family, unit: Unit) -> None:
    measure = grammar.read("measure", text)
    assert (measure.name, measure.family, measure.unit) == (text.removeprefix("the "), family, unit)
    assert not grammar.is_query(measure)


def test_a_prometheus_query_is_its_own_measure() -> None:
    criterion = grammar.criterion("the Prometheus query \"sum(up{job='service'})\" is at least 2")
    assert criterion.measure.name == "sum(up{job='service'})"
    assert grammar.is_query(criterion.measure)
    assert criterion.limit == 2


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("of the auth endpoints", ScopeKind.GROUP, "auth"),
        ('of "POST /api/v1/metrics/sessions"', ScopeKind.LABEL, "POST /api/v1/metrics/sessions"),
        ('of tenant "acme"', ScopeKind.TENANT, "acme"),
        ("for users in Europe", ScopeKind.REGION, "Europe"),
        ("of the users", ScopeKind.POPULATION, "users"),
        ("of the front page users", ScopeKind.POPULATION, "front page users"),
        ('of the "ingest events" users', ScopeKind.POPULATION, '"ingest events" users'),
        ("of the analysts", ScopeKind.POPULATION, "analysts"),
        ("for users in South-East Asia", ScopeKind.REGION, "South-East Asia"),
        ("on every instance", ScopeKind.INSTANCE, ""),
        ("per instance", ScopeKind.INSTANCE, ""),
    ],
)
def test_scopes(text: str, kind: ScopeKind, name: str) -> None:
    scope = grammar.read("scope", text)
    assert (scope.kind, scope.name) == (kind, name)


@pytest.mark.parametrize(
    ("text", "think"),
    [
        ("1 to 3 seconds", Think(1, 3)),
        ("0.3 to 1.3 s", Think(0.3, 1.3)),
        ("500 ms to 2 s", Think(0.5, 2)),
        ("200 to 400ms", Think(0.2, 0.4)),
        ("2 seconds", Think(2, 2)),
        ("1 to 2 minutes", Think(60, 120)),
    ],
)
def test_think_times_take_the_unit_of_the_second_number(text: str, think: Think) -> None:
    read = grammar.read("think", text)
    assert (read.low, read.high) == (pytest.approx(think.low), pytest.approx(think.high))
    assert read.distribution == "uniform"


def test_a_think_time_on_average_is_exponential() -> None:
    assert grammar.read("think", "2 seconds on average") == Think(2, 2, "exponential")
    with pytest.raises(PhraseError, match="a time or a span of time"):
        grammar.read("think", "1 to 3 seconds on average")


@pytest.mark.parametrize("comparison", Comparison)
def test_every_comparison_is_read(comparison: Comparison) -> None:
    criterion = grammar.criterion(f"the p95 response time of the auth endpoints {comparison} 500 ms")
    assert criterion.comparison is comparison
    assert (criterion.limit, criterion.scope.name) == (0.5, "auth")


def test_a_scope_may_stand_on_either_side_of_the_limit() -> None:
    before = grammar.criterion("CPU utilization on every instance stays below 70%")
    after = grammar.criterion("CPU utilization stays below 70% on every instance")
    assert before.scope == after.scope
    assert before.scope.kind is ScopeKind.INSTANCE


@pytest.mark.parametrize(
    "text", ["of the endpoints", "of the auth endpoint", "of the auth v1 endpoints", "of the response time"]
)
def test_neither_endpoints_nor_a_measure_are_a_population(text: str) -> None:
    with pytest.raises(PhraseError):
        grammar.read("scope", text)


def test_a_population_of_a_percentile_of_the_response_time_is_read() -> None:
    criterion = grammar.criterion("the 99th percentile of the response time of the users is below 1 s")
    assert (criterion.measure.statistic, criterion.scope.name) == ("p99", "users")


def test_a_criterion_keeps_its_sentence() -> None:
    sentence = "the error rate stays below 1%"
    assert grammar.criterion(sentence).sentence == sentence


@pytest.mark.parametrize(
    ("sentence", "word", "expected"),
    [
        ("p95 stays bellow 500 ms", "bellow", 'did you mean "below"?'),
        ("1000 concurent users", "concurent", 'did you mean "concurrent"?'),
        ("p95 stays below 500", "500", "it needs a unit, such as 500 ms"),
        ("throughput stays above 1000", "1000", "it needs a unit, such as 1000 requests per second"),
        ("p95 stays below 500 msec", "500 msec", "such as 500 ms"),
        ("the error rate stays below 500 ms", "500 ms", "error rate is a share, such as 1%"),
        ("memory usage stays below 70%", "70%", "memory usage is a size, such as 2 GB"),
        ("the error rate stays below 110%", "110%", "at most 100%"),
        ("the eror rate stays below 1%", "the eror rate", 'did you mean "the error rate"?'),
        ("the p95 latency stays below 1 s", "the p95 latency", "the p95 message latency"),
        ("p95 of the auth endpoint stays below 1 s", "of the auth endpoint", "of the auth endpoints"),
        ("p95 of the admin users stay below 1 s", "stay", 'did you mean "stays"?'),
        ('p95 of the "ingest events" users is bellow 1 s', "bellow", 'did you mean "below"?'),
        ("p95 for users in South America stay below 1 s", "stay", 'did you mean "stays"?'),
        ("p95 of the admin users is below 5", "5", "it needs a unit, such as 5 ms"),
        ("p95 of admin users is below 5 s", "of admin users", 'did you mean "of the dashboard users"?'),
        ("CPU utilization of the users is below 1%", "the users", "every instance"),
        ("they arrive over 2", "2", "such as 5 minutes"),
        ("the load hold for 5 minutes", "hold", 'did you mean "holds"?'),
        ("1000 concurrent users please", "please", "nothing more is expected there"),
        ("the load holds for", "for", "a time with its unit, such as 5 minutes after it"),
        ("CPU utilization of the auth endpoints is below 1%", "the auth endpoints", "every instance"),
        ("p95 stays below 1 s per instance", "every instance", "applies to operations"),
        ("uptime of the auth endpoints is above 99%", "the auth endpoints", "as a whole"),
        ("the maximum response time is below 1 s", "is below", "never exceeds"),
        ("p0 is below 1 s", "p0", "above p0"),
        ("all is well", "all is well", "no sentence is similar"),
        ("the cache hit rate is above 90%", "the cache hit rate", "this measure is not built yet"),
        ("cache hit rate stays above 90%", "cache hit rate", "this measure is not built yet"),
        ("cache hit rato stays above 99%", "cache hit rato", 'did you mean "cache hit ratio"?'),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(sentence: str, word: str, expected: str) -> None:
    error = grammar.explain(sentence)
    assert error is not None
    assert error.word == word
    assert expected in error.expected
    assert sentence in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("sentence", ["p95 stays below 500ms", "1000 concurrent users", "the load runs"])
def test_nothing_is_wrong_with_a_sentence_that_can_be_read(sentence: str) -> None:
    assert grammar.explain(sentence) is None


def test_no_part_captures_groups_since_its_whole_text_is_converted() -> None:
    for parameter in grammar.PARAMETERS.values():
        assert re.compile(parameter.regexp).groups == 0, parameter.name


def test_the_example_of_every_part_can_be_read() -> None:
    for parameter in grammar.PARAMETERS.values():
        grammar.read(parameter.name, parameter.example)


WORDS = st.sampled_from(
    sorted({word for sentence in (*grammar.GIVEN, *grammar.THEN) for word in sentence.split()})
    + [
        word
        for parameter in grammar.PARAMETERS.values()
        for word in (parameter.example, *parameter.example.split())
    ]
)
SENTENCES = st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join))


@settings(deadline=None)
@given(SENTENCES)
def test_reading_a_criterion_raises_nothing_but_a_phrase_error(sentence: str) -> None:
    with contextlib.suppress(PhraseError):
        assert grammar.criterion(sentence).sentence == sentence


@settings(deadline=None)
@given(SENTENCES)
def test_a_sentence_is_either_read_or_explained(sentence: str) -> None:
    expressions, meant = (*grammar.GIVEN, *grammar.WHEN), grammar.normalize(sentence)
    if grammar.explain(sentence) is None and not any(pattern(each).fullmatch(meant) for each in expressions):
        assert grammar.criterion(sentence)


@settings(deadline=None)
@given(st.sampled_from(sorted(grammar.PARAMETERS)), SENTENCES)
def test_reading_a_part_raises_nothing_but_a_phrase_error(name: str, text: str) -> None:
    with contextlib.suppress(PhraseError):
        grammar.read(name, text)
