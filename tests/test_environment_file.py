"""Environment files say what may be loaded; a wrong one is one line."""

from pathlib import Path

import pytest

from loadkit import environment
from loadkit.criterion import Unit
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observation import Reading
from loadkit.workload import MixEntry, Model, Plan, Stage, Workload

ROOT = Path(__file__).parent.parent


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "environments").mkdir(exist_ok=True)
    (tmp_path / "environments" / "here.toml").write_text(text)
    return tmp_path


def plan(model: Model = Model.CLOSED, level: float = 100) -> Plan:
    return Plan("here", Workload(model, (Stage(1, level), Stage(30, level)), (MixEntry("a:b", 1.0),)))


def test_the_local_file_can_be_read_and_names_its_measures() -> None:
    local = environment.load("local", ROOT)
    assert local.control is not None
    measures = {measure.name: measure for measure in local.measures}
    assert measures["CPU utilization"].reading is Reading.COUNTER
    assert measures["CPU utilization"].capacity_value == 1.0
    assert measures["memory usage"].unit is Unit.BYTES
    assert measures["database connection pool utilization"].capacity
    assert sum(entry.share for entry in local.default_mix) == pytest.approx(1)
    assert local.levels["peak"] == 1000


def test_the_staging_example_can_be_read_and_allows_no_load() -> None:
    staging = environment.load("staging", ROOT)
    with pytest.raises(NotAllowedError, match="does not allow load"):
        staging.allow(plan())


def test_an_unknown_environment_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r'no environment "nowhere"; there are: .*local'):
        environment.load("nowhere", ROOT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base = [", "here.toml: "),
        ('name = "x"', "needs base"),
        ('base = "http://x"\nload_alowed = true', "unknown key load_alowed"),
        ('base = "http://x"\n[observer.measures."CPU"]\nquery = "x"', "here.toml: KeyError"),
        ('base = "http://x"\n[mixes]\ndefault = [{ journey = "a" }]', "here.toml: KeyError"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        environment.load("here", written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_no_load_goes_where_no_file_allows_it(tmp_path: Path) -> None:
    here = environment.load("here", written(tmp_path, 'base = "http://x"'))
    with pytest.raises(NotAllowedError, match="does not allow load"):
        here.allow(plan())


def test_no_more_load_than_the_file_allows(tmp_path: Path) -> None:
    text = 'base = "http://x"\nload_allowed = true\nmax_users = 100\nmax_rate = 50'
    here = environment.load("here", written(tmp_path, text))
    here.allow(plan())
    with pytest.raises(NotAllowedError, match="allows 100 users"):
        here.allow(plan(level=101))
    with pytest.raises(NotAllowedError, match="allows 50 arrivals per second"):
        here.allow(plan(Model.REQUESTS, 51))


def test_references_are_resolved_and_missing_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environment.load(
        "here", written(tmp_path, 'base = "env:BASE_OF_TEST"\ndatabase = "control:database"')
    )
    monkeypatch.setenv("BASE_OF_TEST", "http://127.0.0.1:1/")
    assert here.target({}).base == "http://127.0.0.1:1"
    assert str(here.database({"database": "postgresql://u:secret@h/d"})) == "***"
    with pytest.raises(ConfigurationError, match='tells no "database"'):
        here.database({})
    monkeypatch.delenv("BASE_OF_TEST")
    with pytest.raises(ConfigurationError, match="BASE_OF_TEST is not set"):
        here.target({})


def test_accounts_are_read_and_their_passwords_do_not_show(tmp_path: Path) -> None:
    root = written(tmp_path, 'base = "http://x"\n[accounts]\nfile = "accounts.json"')
    (tmp_path / "accounts.json").write_text('[{"username": "ann", "password": "hunter2", "tenant": "acme"}]')
    target = environment.load("here", root).target({})
    assert target.accounts[0].tenant == "acme"
    assert "hunter2" not in repr(target)
    assert target.accounts[0].password.reveal() == "hunter2"
    (tmp_path / "accounts.json").write_text('[{"user": "ann"}]')
    with pytest.raises(ConfigurationError, match=r"cannot read accounts from accounts\.json"):
        environment.load("here", root).target({})


def control(tmp_path: Path, program: str) -> environment.Control:
    (tmp_path / "control.py").write_text(program)
    return environment.Control(("python", "control.py"), tmp_path)


def test_a_control_commands_last_line_is_its_answer_and_stderr_its_progress(tmp_path: Path) -> None:
    program = 'import sys\nprint("starting", file=sys.stderr)\nprint("noise" * 99999)\nprint(\'{"base": "http://x"}\')'
    heard: list[str] = []
    assert control(tmp_path, program).call("up", progress=heard.append) == {"base": "http://x"}
    assert heard == ["starting"]


def test_a_control_command_that_fails_gives_its_last_line(tmp_path: Path) -> None:
    program = 'import sys\nprint("starting", file=sys.stderr)\nsys.exit("port 80 is taken")'
    with pytest.raises(ConfigurationError, match=r"^port 80 is taken$"):
        control(tmp_path, program).call("up")
    with pytest.raises(ConfigurationError, match="printed no JSON object"):
        control(tmp_path, "print('hello')").call("up")
