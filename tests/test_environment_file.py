"""Environment files say what may be loaded; a wrong one is one line."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from loadkit.criterion import Unit
from loadkit.environment import environment
from loadkit.environment.control import Control
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observers.observation import Reading
from loadkit.workload.plan import Plan, Population
from loadkit.workload.workload import MixEntry, Model, Stage, Workload

ROOT = Path(__file__).parent.parent


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "environments").mkdir(exist_ok=True)
    (tmp_path / "environments" / "here.toml").write_text(text)
    return tmp_path


def accounts_in(folder: Path) -> Path:
    file = folder / "accounts.json"
    file.write_text("[]")
    return file


def plan(model: Model = Model.CLOSED, level: float = 100) -> Plan:
    return Plan.of("here", Workload(model, (Stage(1, level), Stage(30, level)), (MixEntry("a:b", 1.0),)))


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
        (
            'base = "http://x"\n[observer.measures.CPU]\nquery = "x"',
            r'"CPU" .* does not say gauge; expected such',
        ),
        (
            'base = "http://x"\n[mixes]\ndefault = [{ journey = "a" }]',
            r"\[mixes\] .* does not say share; expected",
        ),
        ('base = "http://x"\n[mixes]\ndefault = "a"', r'\[mixes\] "default" .* of another kind; expected'),
        (
            'base = "http://x"\n[groups]\nauth = "* /auth/*"',
            r'\[groups\] "auth" .*; expected such as auth = ',
        ),
        ('base = "http://x"\n[levels]\npeak = "many"', r"\[levels\] .*; expected such as peak = 1000"),
        (
            'base = "http://x"\n[actions]\nx = { do = ["y"] }',
            r"\[actions\] .* control command, and there is none",
        ),
        ('base = "http://x"\n[curves]\nx = [[60, -1]]', r"\[curves\] .* none below 0"),
        ('base = "http://x"\nmixes = "many"', r"mixes is no table; expected \[mixes\]"),
        (
            'base = "http://x"\nhold = "5 minutes"',
            r'hold = "5 minutes": expected a number, such as hold = 300',
        ),
        (
            'base = "http://x"\nusers_scale = 0',
            r"users_scale = 0: expected a number above 0 and at most 1, such",
        ),
        ('base = "http://x"\nmax_users = true', r"max_users = true: expected a number"),
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


def test_what_all_populations_have_together_must_be_allowed(tmp_path: Path) -> None:
    text = 'base = "http://x"\nload_allowed = true\nmax_users = 100\nmax_rate = 50'
    here = environment.load("here", written(tmp_path, text))
    users, requests = plan(level=60).populations[0], plan(Model.REQUESTS, 30).populations[0]

    def together(*populations: Population) -> Plan:
        return Plan("here", populations)

    here.allow(together(users, requests))
    with pytest.raises(NotAllowedError, match=r"allows 100 users \(max_users\), the plan has 120"):
        here.allow(together(users, replace(users, name="admin users")))
    with pytest.raises(NotAllowedError, match=r"allows 50 arrivals per second \(max_rate\), the plan has 60"):
        here.allow(together(users, requests, replace(requests, name="inserts")))


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


def test_files_of_tls_are_looked_for_from_the_projects_root(tmp_path: Path) -> None:
    text = 'base = "https://x"\nca_file = "ca.pem"\ncert_file = "tls/us.pem"\nkey_file = "/etc/us.key"'
    target = environment.load("here", written(tmp_path, text)).target({})
    assert target.ca_file == str(tmp_path / "ca.pem")
    assert target.cert_file == str(tmp_path / "tls" / "us.pem")
    assert target.key_file == "/etc/us.key"
    assert (
        environment.load("local", ROOT)
        .target({"base": "http://x", "websocket": "", "accounts": str(accounts_in(tmp_path))})
        .ca_file
        == ""
    )


def test_time_outs_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'base = "http://x"\ntimeout = 30\nconnect_timeout = 3\nread_timeout = 5'
    here = environment.load("here", written(tmp_path, text))
    assert here.timeout == 30
    assert (here.target({}).connect_timeout, here.target({}).read_timeout) == (3, 5)
    bare = environment.load("here", written(tmp_path, 'base = "http://x"'))
    assert (bare.timeout, bare.target({}).connect_timeout) == (10, math.inf)


def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    here = environment.load("here", written(tmp_path, 'base = "https://ann:hunter2@x"'))
    with pytest.raises(ConfigurationError, match="base has a name or password") as caught:
        here.target({})
    assert "hunter2" not in str(caught.value)


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


def control(tmp_path: Path, program: str) -> Control:
    (tmp_path / "control.py").write_text(program)
    return Control(("python", "control.py"), tmp_path)


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
