"""Plain data becomes dataclasses as their fields say, or one line says where it does not."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from loadkit.errors import ConfigurationError
from loadkit.structuring import Stated, example_of, structure
from loadkit.target import Address, Secret


class Unit(enum.StrEnum):
    RATIO = "ratio"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Measure:
    gauge: Annotated[str, Stated('"pool_used"')] = ""
    counter: str = ""
    unit: Unit = Unit.RATIO
    judged: Annotated[Literal["p95", "max"], Stated('"max"')] = "p95"
    of: Annotated[float | str, Stated("2", what="a number above 0, or a selector", above=0)] = 1.0

    def __post_init__(self) -> None:
        if self.gauge and self.counter:
            raise ValueError("expected one of gauge and counter, such as gauge = ...")


@dataclass(frozen=True, slots=True)
class Observer:
    url: Annotated[Address, Stated('"http://127.0.0.1:9090"')]
    scrape_interval: Annotated[float, Stated("1", unit="seconds", above=0)] = 15.0
    measures: Mapping[str, Measure] = field(default_factory=dict)


Patterns = Annotated[tuple[str, ...], Stated('["* /auth/*"]', what="a list of patterns", holds=bool)]


@dataclass(frozen=True, slots=True)
class Settings:
    observer: Observer | None = None
    is_shared: Annotated[bool, Stated("true")] = False
    instances: Annotated[int, Stated("2", at_least=0)] = 0
    scale: Annotated[float, Stated("0.1", above=0, at_most=1)] = 1.0
    limit: float = math.inf
    groups: Mapping[str, Patterns] = field(default_factory=dict)
    curves: Mapping[str, tuple[tuple[float, bool], ...]] = field(default_factory=dict)
    password: Annotated[Secret, Stated('"hunter2"')] = Secret("")  # noqa: RUF009
    rest: Any = None


def of(**data: object) -> Settings:
    return structure(Settings, data, "here.toml")


def refusal(**data: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        of(**data)
    return str(caught.value)


def test_plain_data_becomes_the_tree_that_its_fields_say():
    made = of(
        observer={
            "url": "http://ann:secret@x",
            "scrape_interval": 5,
            "measures": {"CPU": {"gauge": "cpu", "unit": "bytes", "judged": "max", "of": "whole"}},
        },
        groups={"auth": ["a", "b"]},
        curves={"peak": [[1, True], [0.5, False]]},
        rest={"any": ["thing"]},
    )
    assert made.observer is not None
    assert made.observer.url.reveal() == "http://ann:secret@x"
    assert made.observer.measures["CPU"] == Measure("cpu", "", Unit.BYTES, "max", "whole")
    assert made.groups == {"auth": ("a", "b")}
    assert made.curves == {"peak": ((1.0, True), (0.5, False))}
    assert made.rest == {"any": ["thing"]}
    assert made.scale == 1.0


def test_a_whole_number_stands_for_any_number_and_becomes_one():
    value = of(scale=1).scale
    assert (value, type(value)) == (1.0, float)
    assert of(limit=math.inf).limit == math.inf


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"is_shared": "no"}, 'is_shared = "no": expected true or false, such as is_shared = true'),
        ({"is_shared": 1}, "is_shared = 1: expected true or false, such as is_shared = true"),
        ({"instances": True}, "instances = true: expected a whole number, at least 0, such as instances = 2"),
        ({"instances": 2.0}, "instances = 2.0: expected a whole number, at least 0, such as instances = 2"),
        ({"instances": -1}, "instances = -1: expected a whole number, at least 0, such as instances = 2"),
        ({"scale": 0}, "scale = 0: expected a number above 0 and at most 1, such as scale = 0.1"),
        ({"scale": 1.5}, "scale = 1.5: expected a number above 0 and at most 1, such as scale = 0.1"),
        (
            {"scale": math.nan},
            "scale = NaN: expected a number above 0 and at most 1, such as scale = 0.1",
        ),
        ({"limit": "many"}, 'limit = "many": expected a number'),
        ({"limit": True}, "limit = true: expected a number"),
        ({"groups": "auth"}, 'groups = "auth": expected a table'),
        (
            {"groups": {"auth": "* /auth/*"}},
            'groups.auth = "* /auth/*": expected a list of patterns, such as auth = ["* /auth/*"]',
        ),
        (
            {"groups": {"the auth": []}},
            'groups."the auth" = []: expected a list of patterns, such as "the auth" = ["* /auth/*"]',
        ),
        (
            {"groups": {"auth": ["a", 3]}},
            'groups.auth[1] = 3: expected text, such as auth = ["* /auth/*"]',
        ),
        ({"curves": {"x": [[1]]}}, "curves.x[0] = [1]: expected a list of 2 values"),
        ({"curves": {"x": [[1, 1]]}}, "curves.x[0][1] = 1: expected true or false"),
        ({"observer": 3}, "observer = 3: expected a table"),
        ({"observer": {}}, 'observer.url: missing; expected such as url = "http://127.0.0.1:9090"'),
        (
            {"observer": {"url": "http://x", "scrape_interval": "1s"}},
            'observer.scrape_interval = "1s": expected a number of seconds above 0, such as scrape_interval = 1',
        ),
    ],
)
def test_what_is_of_another_type_or_out_of_bounds_is_one_line_with_path_value_and_example(data, line):
    assert refusal(**data) == f"here.toml: {line}"


@pytest.mark.parametrize(
    ("measure", "line"),
    [
        ({"judged": "p99"}, 'judged = "p99": expected "p95" or "max", such as judged = "max"'),
        ({"judged": ["p95"]}, 'judged = ["p95"]: expected "p95" or "max", such as judged = "max"'),
        ({"unit": "byte"}, 'unit = "byte": expected "ratio" or "bytes"'),
        ({"of": True}, "of = true: expected a number above 0, or a selector, such as of = 2"),
        ({"of": 0}, "of = 0: expected a number above 0, or a selector, such as of = 2"),
    ],
)
def test_the_values_that_are_known_are_listed(measure, line):
    data = {"url": "http://x", "measures": {"CPU use": measure}}
    assert refusal(observer=data) == f'here.toml: observer.measures."CPU use".{line}'


def test_a_key_that_is_unknown_is_refused_at_every_level_with_the_nearest_one():
    data = {"url": "http://x", "scrapeinterval": 1, "measures": {"CPU": {"guage": "x"}}}
    assert refusal(observer=data, instancs=2).splitlines() == [
        'here.toml: observer.measures.CPU.guage: unknown key; did you mean gauge? expected such as gauge = "pool_used"',
        "here.toml: observer.scrapeinterval: unknown key; did you mean scrape_interval? expected such as scrape_interval = 1",
        "here.toml: instancs: unknown key; did you mean instances? expected such as instances = 2",
    ]
    assert "here.toml: database: unknown key; known: observer, is_shared, " in refusal(database="x")


def test_keys_of_others_are_left_aside_where_a_file_is_theirs_too():
    assert structure(Measure, {"gauge": "x", "more": 1}, "here.json", allow_unknown=True) == Measure("x")
    with pytest.raises(ConfigurationError, match=r"here\.json: gauge = 1: expected text"):
        structure(Measure, {"gauge": 1, "more": 1}, "here.json", allow_unknown=True)


def test_what_a_dataclass_says_of_several_of_its_fields_has_its_place():
    measures = {"CPU": {"gauge": "x", "counter": "y"}}
    assert refusal(observer={"url": "http://x", "measures": measures}) == (
        "here.toml: observer.measures.CPU: expected one of gauge and counter, such as gauge = ..."
    )


def test_data_of_another_shape_altogether_is_told_without_a_path():
    with pytest.raises(ConfigurationError, match=r"^here\.toml: expected a table$"):
        structure(Settings, ["observer"], "here.toml")
    with pytest.raises(ConfigurationError, match=r"^here\.json: \[1\]\.judged = 1: expected"):
        structure(tuple[Measure, ...], [{}, {"judged": 1}], "here.json")


def test_an_error_repeats_no_secret_and_no_credentials_of_an_address():
    assert (
        refusal(password=1234) == 'here.toml: password = "***": expected text, such as password = "hunter2"'
    )
    assert refusal(observer={"url": ["http://ann:secret@x"]}).startswith(
        'here.toml: observer.url = ["http://***@x"]: expected text'
    )
    assert refusal(limit="http://ann:secret@x") == 'here.toml: limit = "http://***@x": expected a number'


def test_an_error_of_a_secret_file_repeats_nothing_of_it():
    rows = [{"gauge": 1234}, {"secret": "x"}, {"gauge": "secret", "counter": "secret"}, "secret"]
    with pytest.raises(ConfigurationError) as caught:
        structure(tuple[Measure, ...], rows, "accounts.json", is_secret=True)
    assert str(caught.value).splitlines() == [
        'accounts.json: [0].gauge: expected text, such as gauge = "pool_used"',
        "accounts.json: [1]: unknown key; known: gauge, counter, unit, judged, of",
        "accounts.json: [2]: cannot be used",
        "accounts.json: [3]: expected a table",
    ]


def test_a_long_value_is_cut():
    assert len(refusal(limit="x" * 1000)) < 120


def test_another_form_of_a_type_is_read_by_a_hook_and_its_trouble_has_a_place():
    arrays = {"a": Measure("x")}
    made = structure(tuple[Measure, ...], ["a"], "here.json", hooks={Measure: arrays.__getitem__})
    assert made == (Measure("x"),)
    with pytest.raises(ConfigurationError, match=r"here\.json: \[0\]: cannot be read: KeyError: 'b'"):
        structure(tuple[Measure, ...], ["b"], "here.json", hooks={Measure: arrays.__getitem__})


def test_the_example_of_a_field_is_told_by_its_name():
    assert example_of(Settings, "instances") == "instances = 2"
    assert example_of(Settings, "limit") == ""
