"""Values in labels and in the texts of checks do not grow the record."""

import pytest

from loadkit.recording.labels import (
    MOST_LABELS,
    MOST_OUTCOMES,
    OTHER_FAILURES,
    OTHER_LABELS,
    LabelLimit,
    advice,
    most_common_shape,
)
from loadkit.recording.recorder import Recorder
from loadkit.recording.sample import OK, Sample


def recorded(samples) -> tuple[list[str], list[str]]:
    """The labels and outcomes that a worker's second holds."""
    recorder = Recorder(0, 0.0)
    recorder.population("users").requests.samples += samples
    table = recorder.report().table
    return table.labels(), table.outcomes


def test_beyond_some_hundred_labels_the_rest_is_counted_together_and_nothing_is_lost() -> None:
    samples = [Sample(f"GET /products/shirt-{number}", OK, 0.0, 0.0, 0.1, 1) for number in range(3346)]
    recorder = Recorder(0, 0.0)
    recorder.population("users").requests.samples += samples
    table = recorder.report().table
    assert len(table.labels()) == MOST_LABELS + 1
    assert OTHER_LABELS in table.labels()
    _, _, sums = table.totals([f"label:{label}" for label in table.labels()], 0, 10)
    assert sums[:, 0].sum() == 3346


def test_a_label_that_was_admitted_keeps_its_name_in_later_seconds() -> None:
    recorder = Recorder(0, 0.0)
    for second in range(2):
        recorder.population("users").requests.samples += [
            Sample(f"GET /{second}/{number}", OK, float(second), float(second), second + 0.1, 1)
            for number in range(MOST_LABELS)
        ]
        table = recorder.report().table
    assert table.labels() == [OTHER_LABELS]


def test_texts_of_checks_with_values_in_them_are_bounded_too() -> None:
    samples = [Sample("GET /", f"check: order {number} is there", 0.0, 0.0, 0.1, 1) for number in range(500)]
    _, outcomes = recorded(samples)
    assert len(outcomes) == MOST_OUTCOMES + 2
    assert outcomes[-1] == OTHER_FAILURES


@pytest.mark.parametrize(
    ("labels", "shape"),
    [
        (["GET /products/a", "GET /products/b", "GET /cart"], "GET /products/*"),
        (["GET /u/a/x", "GET /u/b/x", "GET /u/c/x", "GET /u/a/y"], "GET /u/*/x"),
        (["no path"], ""),
    ],
)
def test_the_commonest_shape_is_the_path_that_most_labels_share(labels: list[str], shape: str) -> None:
    assert most_common_shape(labels)[0] == shape


def test_the_advice_names_the_commonest_shape_and_the_label_that_mends_it() -> None:
    labels = [f"GET /products/{number}-shirt" for number in range(300)] + ["GET /cart", OTHER_LABELS]
    (said,) = advice(labels, [OK])
    assert 'Most labels look like "GET /products/*"' in said
    assert 'label="GET /products/{name}"' in said


def test_the_advice_on_failures_shows_a_check() -> None:
    (said,) = advice(["GET /"], [OK, "check: order 17 is there", OTHER_FAILURES])
    assert 'Do not put variable values in the text of a check, such as "check: order 17 is there"' in said


def test_where_all_is_well_there_is_no_advice() -> None:
    assert advice(["GET /"], [OK, "timeout"]) == ()


def test_the_limit_admits_what_it_admitted_before() -> None:
    limit = LabelLimit(2)
    assert [limit.admit(name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER_LABELS, "a"]
