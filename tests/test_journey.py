"""How journeys are found, and what a user is to them."""

from pathlib import Path

import pytest

from loadkit.drivers.http.paths import label_of
from loadkit.errors import ConfigurationError
from loadkit.users.discovery import arrival_of, find, resolve
from loadkit.users.journey import Journey

ROOT = Path(__file__).parent.parent
PACKAGE = "tests.sample_journeys"


def test_journeys_are_found_by_their_titles_in_all_modules_of_a_package():
    found = find(PACKAGE, ROOT)
    assert found["two steps"] == "tests.sample_journeys:two_steps"
    assert found["work"] == "tests.sample_journeys.arriving:work"


def test_a_journey_is_resolved_with_its_role():
    journey = resolve("tests.sample_journeys:administer", ROOT)
    assert (journey.title, journey.role) == ("administer", "admin")
    assert journey.path == "tests.sample_journeys:administer"


def package(folder: Path, name: str, source: str) -> str:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    return name


def test_two_journeys_of_one_title_are_refused(tmp_path):
    source = "from loadkit.journey import journey\n" + "".join(
        f'@journey("same")\nasync def {name}(user): ...\n' for name in ("one", "two")
    )
    with pytest.raises(
        ConfigurationError, match='two journeys have the title "same": twins:one and twins:two'
    ):
        find(package(tmp_path, "twins", source), tmp_path)


def test_a_module_that_cannot_be_imported_is_refused_with_its_error(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot import the journeys in broken: ValueError: no"):
        find(package(tmp_path, "broken", "raise ValueError('no')"), tmp_path)


def test_a_function_without_the_decorator_is_no_journey(tmp_path):
    name = package(tmp_path, "plain", "async def walk(user): ...")
    assert find(name, tmp_path) == {}
    with pytest.raises(ConfigurationError, match="with @journey"):
        resolve("plain:walk", tmp_path)


def test_journeys_that_a_module_only_imports_are_not_its_own(tmp_path):
    name = package(tmp_path, "importing", "from loadkit.journey import fetch")
    assert find(name, tmp_path) == {}


def test_only_a_package_that_has_it_makes_users_arrive():
    assert arrival_of("tests.sample_journeys.arriving", ROOT) is not None
    assert arrival_of(PACKAGE, ROOT) is None
    assert arrival_of("", ROOT) is None


def test_a_journey_can_be_called_as_part_of_another():
    async def function(user, **arguments): ...

    Journey("inner", function)("user", path="/").close()


LABELS = [
    ("/api/v1/widgets/7", "GET /api/v1/widgets/{id}"),
    ("/api/v1/widgets/7/parts/12?fresh=1", "GET /api/v1/widgets/{id}/parts/{id}"),
    ("/x/123e4567-e89b-12d3-a456-426614174000", "GET /x/{id}"),
    ("/x/0123456789abcdef0123", "GET /x/{id}"),
    ("/api/v1/users", "GET /api/v1/users"),
    ("/v2/abc1", "GET /v2/abc1"),
    ("/7", "GET /{id}"),
    ("/", "GET /"),
    ("/events?from=1&to=2", "GET /events"),
]


@pytest.mark.parametrize(("path", "label"), LABELS)
def test_a_label_names_the_operation_not_the_thing(path, label):
    assert label_of("GET", path) == label
    assert label_of("POST", path) == label.replace("GET", "POST")
    assert label_of("GET", path) == label
