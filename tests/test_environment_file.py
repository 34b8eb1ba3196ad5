"""Environment files say what may be loaded; a wrong one is one line."""

import ast
import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import Field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from loadkit.criterion import Unit
from loadkit.environment import environment
from loadkit.environment.settings import (
    Accounts,
    ActionCommand,
    Data,
    Database,
    Hosts,
    Measure,
    Messages,
    MixRow,
    Observer,
    Region,
    Settings,
)
from loadkit.errors import ConfigurationError, NotAllowedError
from loadkit.observers import observer_of
from loadkit.observers.observation import Reading
from loadkit.structuring import Stated, example_of, structure
from loadkit.target import Account, Address, Secret
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
    assert local.settings.levels["peak"] == 1000


def test_the_staging_example_can_be_read_and_allows_no_load() -> None:
    staging = environment.load("staging", ROOT)
    with pytest.raises(NotAllowedError, match="does not allow load"):
        staging.allow(plan())


def test_of_the_local_actions_the_kill_alone_restarts_an_instance() -> None:
    actions = environment.load("local", ROOT).settings.actions
    assert {name: action.restarts for name, action in actions.items() if action.restarts} == {
        "an instance is killed": 1
    }


def test_what_sentences_name_on_the_local_environment_the_staging_example_names_too() -> None:
    local, staging = environment.load("local", ROOT), environment.load("staging", ROOT)
    for names in ("mixes", "levels", "groups"):
        assert set(getattr(local.settings, names)) <= set(getattr(staging.settings, names)), names
    measures = {measure.name for measure in local.measures} - {local.settings.traffic}
    assert measures <= {measure.name for measure in staging.measures}
    assert staging.default_mix


def test_an_unknown_environment_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r'no environment "nowhere"; there are: .*local'):
        environment.load("nowhere", ROOT)


def refusal(tmp_path: Path, text: str, base: str = 'base = "http://x"\n') -> str:
    with pytest.raises(ConfigurationError) as caught:
        environment.load("here", written(tmp_path, base + text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


MEASURE = '[observer]\nurl = "http://p"\n[observer.measures."CPU use"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("load_alowed = true", "load_alowed: unknown key; did you mean load_allowed? expected such as load_allowed = true"),
        ('cache = "x"', "cache: unknown key; known: base, websocket, name, "),
        ('database = "x"', 'database = "x": expected a table, such as database = { dsn = "env:STAGING_DATABASE" }'),
        ('[database]\ndsn = "env:X"\nrecord = 2', 'database.record: unknown key; did you mean records? expected such as records = "metric_events"'),
        ('[database]\ndsn = "env:X"\nclean = "clean"', 'database.clean = "clean": expected a verb and its arguments, such as clean = ["clean", "--all"]'),
        (
            '[database]\ndsn = "env:X"\nclean = ["clean"]',
            "database.clean: this is a verb of the control command, but there is none; expected such as control = ",
        ),
        ('[database]\ndsn = "env:X"\nrecords = "events; DROP"', 'database.records = "events; DROP": expected the name of a table, such as records = "metric_events"'),
        ("regions = []", "regions = []: expected a table"),
        ("[regions]\nAsia = { jitter = 0.1 }", "regions.Asia.latency: missing; expected such as latency = 0.08"),
        (
            '[regions]\nAsia = { latency = "80 ms" }',
            'regions.Asia.latency = "80 ms": expected a number of seconds above 0, such as latency = 0.08',
        ),
        (
            "[regions]\nAsia = { latency = 0.1, jiter = 0 }",
            "regions.Asia.jiter: unknown key; did you mean jitter? expected such as jitter = 0.005",
        ),
        ("[regions]\nAsia = { latency = 0.1, jitter = 0.2 }", "regions.Asia: jitter = 0.2: expected at most the"),
        ("[regions]\nAsia = { latency = 0.1, loss = 1 }", "regions.Asia: loss = 1: expected a ratio below 1, such"),
        ('[messages]\nlatency = "rtt"', 'messages.latency = "rtt": expected "creation" or "round trip"'),
        ('share_accounts = "no"', 'share_accounts = "no": expected true or false, such as share_accounts = true'),
        ('load_allowed = "true"', 'load_allowed = "true": expected true or false, such as load_allowed = true'),
        ('hold = "5 minutes"', 'hold = "5 minutes": expected a number of seconds above 0, such as hold = 300'),
        ("timeout = inf", "timeout = Infinity: expected a number of seconds above 0, such as timeout = 10"),
        ("users_scale = 0", "users_scale = 0: expected a number above 0 and at most 1, such as users_scale = 0.1"),
        ("max_users = true", "max_users = true: expected a whole number, at least 0, such as max_users = 1000"),
        ("instances = 2.5", "instances = 2.5: expected a whole number, at least 0, such as instances = 2"),
        ('ready = "readyz"', 'ready = "readyz": expected a path that begins with "/", such as ready = "/readyz"'),
        ("control = []", 'control = []: expected a command, such as control = ["python", "-m", "environments.local"]'),
        ('mixes = "many"', 'mixes = "many": expected a table'),
        (
            '[mixes]\ndefault = [{ journey = "a" }]',
            "mixes.default[0].share: missing; expected such as share = 40",
        ),
        (
            '[mixes]\ndefault = [{ journey = "a", share = 1, regoin = "x" }]',
            'mixes.default[0].regoin: unknown key; did you mean region? expected such as region = "Europe"',
        ),
        (
            '[mixes]\ndefault = "a"',
            ('mixes.default = "a": expected a list of journeys with their shares, such as '
            'default = [{ journey = "watch a dashboard", share = 100 }]'),
        ),
        ("[mixes]\ndefault = []", "mixes.default = []: expected a list of journeys with their shares, such as "),
        (
            '[groups]\nauth = "* /auth/*"',
            'groups.auth = "* /auth/*": expected a list of operation labels, such as auth = ["* /api/v1/auth/*"]',
        ),
        ('[levels]\npeak = "many"', 'levels.peak = "many": expected a whole number, at least 0, such as peak = 1000'),
        (
            '[actions]\nx = { do = ["y"] }',
            "actions: these are verbs of the control command, but there is none; expected such as control = ",
        ),
        (
            'control = ["x"]\n[actions]\nx = { undo = ["y"] }',
            'actions.x.do: missing; expected such as do = ["kill", "--any"]',
        ),
        ("[curves]\nx = [[60, -1]]", "curves.x[0][1] = -1: expected a number, at least 0, such as 0.5"),
        ("[curves]\nx = [[60, 0]]", "curves.x = [[60, 0]]: expected a list of [seconds, share of the load], with a"),
        ("[curves]\nx = [[0, 1]]", "curves.x = [[0, 1]]: expected a list of [seconds, share of the load], with a"),
        ("[observer.measures]", 'observer.url: missing; expected such as url = "http://127.0.0.1:9090"'),
        (
            '[observer]\nurl = "http://p"\nkind = "graphite"',
            'observer.kind = "graphite": expected "prometheus", such as kind = "prometheus"',
        ),
        (
            '[observer]\nurl = "http://p"\nscrapeinterval = 1',
            "observer.scrapeinterval: unknown key; did you mean scrape_interval? expected such as scrape_interval = 15",
        ),
        (
            '[observer]\nurl = "http://p"\nscrape_interval = "1s"',
            'observer.scrape_interval = "1s": expected a number of seconds above 0, such as scrape_interval = 15',
        ),
        (
            MEASURE + 'gauge = "x"\njudged = "p99"',
            'observer.measures."CPU use".judged = "p99": expected "p95", "max" or "mean", such as judged = "max"',
        ),
        (
            MEASURE + 'gauge = "x"\nunit = "seconds"',
            'observer.measures."CPU use".unit = "seconds": expected "s", "ratio", ',
        ),
        (MEASURE + 'query = "x"', 'observer.measures."CPU use".query: unknown key; known: gauge, counter, of, '),
        (
            MEASURE + 'unit = "bytes"',
            'observer.measures."CPU use": expected one of gauge and counter, such as gauge = ',
        ),
        (
            MEASURE + 'gauge = "x"\ncounter = "y"',
            'observer.measures."CPU use": expected one of gauge and counter, such as gauge = ',
        ),
        (
            'traffic = "requests servd"\n' + MEASURE + 'gauge = "x"',
            'traffic = "requests servd": no such measure; there are: CPU use',
        ),
        ("[accounts]", 'accounts.file: missing; expected such as file = "accounts.json"'),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_one_line_with_the_key_path(
    tmp_path: Path, text: str, said: str
) -> None:
    line = refusal(tmp_path, text)
    assert line.startswith(f"environments/here.toml: {said}"), line


def test_a_file_without_an_address_or_that_is_no_toml_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path, 'name = "x"', base="") == (
        'environments/here.toml: base: missing; expected such as base = "https://metrics.staging.example.com"'
    )
    assert refusal(tmp_path, "base = [", base="").startswith("environments/here.toml: Invalid")
    (tmp_path / "environments" / "here.toml").write_bytes(b"name = '\xff'")
    with pytest.raises(ConfigurationError, match=r"^environments/here\.toml: 'utf-8' codec can't decode"):
        environment.load("here", tmp_path)


def test_everything_that_is_wrong_is_told_at_once_a_line_each(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        environment.load("here", written(tmp_path, 'hold = "x"\nramp = "y"\nholdd = 1'))
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == [
        " base", ' ramp = "y"', ' hold = "x"', " holdd",
    ]  # fmt: skip


def tables(kind: type = Settings) -> Iterator[type]:
    """A table of the file, and all below it."""
    yield kind
    for field in fields(kind):
        yield from (table for each in inner(field.type) for table in tables(each))


def inner(kind: Any) -> Iterator[type]:
    """The tables that a type speaks of."""
    if isinstance(kind, type) and is_dataclass(kind):
        yield kind
    for part in get_args(kind):
        yield from inner(part)


SAID = [(table, field) for table in dict.fromkeys(tables()) for field in fields(table)]


def test_all_tables_are_looked_at() -> None:
    assert {table for table, _ in SAID} == {
        Settings,
        Accounts,
        Database,
        Observer,
        Hosts,
        Measure,
        MixRow,
        Messages,
        Data,
        Region,
        ActionCommand,
    }


@pytest.mark.parametrize(
    ("table", "field"), SAID, ids=lambda each: each.name if isinstance(each, Field) else each.__name__
)
def test_the_example_of_every_setting_works(table: type, field: Field[Any]) -> None:
    example = example_of(table, field.name)
    if get_origin(field.type) is Mapping:  # of titles that users choose: each entry has the example
        example = f"{field.name} = {{ title = {example_of_entry(field.type)} }}"
    value = tomllib.loads(example)[field.name]
    assert structure(field.type, value, field.name)


def example_of_entry(kind: Any) -> str:
    return next(each.example for each in get_args(get_args(kind)[1]) if isinstance(each, Stated))


@pytest.mark.parametrize("name", sorted({field.name for _, field in SAID}))
def test_every_setting_is_read_by_something_and_explained_in_the_staging_example(name: str) -> None:
    def is_read(path: Path) -> bool:
        nodes = ast.walk(ast.parse(path.read_text()))
        return any(isinstance(node, ast.Attribute) and node.attr == name for node in nodes)

    sources = [path for place in ("loadkit", "steps") for path in (ROOT / place).rglob("*.py")]
    assert any(is_read(path) for path in sources if path.name != "settings.py")
    assert re.search(rf"\b{name}\b", (ROOT / "environments" / "staging.toml").read_text())


def test_the_figures_of_other_machines_are_asked_of_the_observer(tmp_path: Path) -> None:
    text = """base = "http://x"\n[observer]\nurl = "http://p"\n[observer.hosts]\nsteal = 'avg(s)'"""
    settings = environment.load("here", written(tmp_path, text)).resolved({}).observer
    assert settings is not None
    assert settings.hosts == {"steal": "avg(s)"}
    observer = observer_of(settings)
    assert observer is not None
    assert list(observer.names) == ["other machines: steal"]


@pytest.mark.parametrize("stated", ["7", ["7"], [True], [1]])
def test_the_control_commands_processes_are_process_ids(tmp_path: Path, stated: object) -> None:
    text = 'base = "http://x"\ncontrol = ["true"]'
    here = environment.load("here", written(tmp_path, text))
    assert here.target({"processes": [4711]}).processes == (4711,)
    with pytest.raises(ConfigurationError, match=r'"processes": .*; expected a list of process ids, such as'):
        here.target({"processes": stated})


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


# --- references

REFERRING = """
base = "env:BASE_OF_TEST"
websocket = "control:websocket"
version = "control:version"
control = ["x"]
[observer]
url = "env:PROMETHEUS_OF_TEST"
"""
FACTS = {"websocket": "ws://127.0.0.1:1/", "version": "7.1"}


@pytest.fixture
def referring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> environment.Environment:
    monkeypatch.setenv("BASE_OF_TEST", "http://127.0.0.1:1/")
    monkeypatch.setenv("PROMETHEUS_OF_TEST", "http://viewer:hunter2@127.0.0.1:9090/")
    return environment.load("here", written(tmp_path, REFERRING))


def test_all_references_are_looked_up_at_once(referring: environment.Environment) -> None:
    testbed = referring.resolved(FACTS)
    assert testbed.target.base == referring.target(FACTS).base == "http://127.0.0.1:1"
    assert testbed.target.websocket.reveal() == "ws://127.0.0.1:1"
    assert testbed.version == "7.1"
    assert testbed.observer.url == Address("http://viewer:hunter2@127.0.0.1:9090")
    assert "hunter2" not in repr(testbed)
    assert (testbed.environment, testbed.facts) == (referring, FACTS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'base = "env:NOT_SET_IN_TEST"',
            ('base = "env:NOT_SET_IN_TEST": the environment variable NOT_SET_IN_TEST is not set; '
            'expected such as export NOT_SET_IN_TEST="https://metrics.staging.example.com"'),
        ),
        ('base = "env:"', 'base = "env:": it names no variable; expected such as export NAME="https://'),
        (
            'base = "control:base"',
            'base = "control:base": there is no control command to report it; expected such as control = ["python", ',
        ),
        (
            'base = "control:base"\ncontrol = ["x"]',
            'base = "control:base": the control command reports no "base"; it reports: version, websocket',
        ),
        ('base = "evn:X"', 'base = "***": it is not an address with http:// or https://; expected such as base = "https://'),
        ('base = "localhost:80"', 'base = "localhost:80": it is not an address with http:// or https://; expected'),
        ('base = ""', 'base = "": it is empty; expected such as base = "https://'),
        ('base = "env:URL_OF_TEST"', 'base = "env:URL_OF_TEST": http://***@x has credentials or a query, which would not be'),
        ('base = "http://x:y"', 'base = "http://x:y": it is not an address with'),
        (
            'base = "https://ann:hunter2@x"',
            ('base = "https://***@x": it has credentials or a query, which would not be sent; '
            'expected such as base = "https://metrics.staging.example.com", and [accounts] for credentials'),
        ),
        ('base = "https://x/?token=hunter2"', 'base = "https://x/?token=***": it has credentials or a query'),
        ('base = "http://x"\nwebsocket = "http://x"', 'websocket = "http://x": it is not an address with ws:// or wss://'),
        ('base = "http://x"\nversion = "env:NOT_SET_IN_TEST"', 'version = "env:NOT_SET_IN_TEST": the environment variable'),
        (
            'base = "http://x"\n[observer]\nurl = "env:NOT_SET_IN_TEST"',
            ('observer.url = "env:NOT_SET_IN_TEST": the environment variable NOT_SET_IN_TEST is not set; '
            'expected such as export NOT_SET_IN_TEST="http://127.0.0.1:9090"'),
        ),
        ('base = "http://x"\n[observer]\nurl = "http://x/?token=hunter2"', 'observer.url = "http://x/?token=***": it has a query, which'),
        ('base = "http://x"\n[accounts]\nfile = "none.json"', 'accounts.file = "none.json": there is no such file; expected'),
        ('base = "http://x"\nca_file = "none.pem"', 'ca_file = "none.pem": there is no such file; expected such as ca_file = '),
        ('base = "http://x"\nkey_file = "env:SECRET_OF_TEST"', 'key_file = "env:SECRET_OF_TEST": there is no such file'),
    ],
)  # fmt: skip
def test_a_reference_or_address_that_leads_nowhere_is_one_line_with_the_key_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("URL_OF_TEST", "http://hunter2@x")
    monkeypatch.setenv("SECRET_OF_TEST", "-----BEGIN PRIVATE KEY----- hunter2" + "x" * 4096)
    here = environment.load("here", written(tmp_path, text))
    with pytest.raises(ConfigurationError) as caught:
        here.resolved({"version": "1", "websocket": "ws://x"})
    line = str(caught.value)
    assert line.startswith(f"environments/here.toml: {said}"), line
    assert "\n" not in line
    assert "hunter2" not in line


def test_a_target_needs_no_reference_but_its_own(tmp_path: Path) -> None:
    text = 'base = "http://x"\n[observer]\nurl = "env:NOT_SET_IN_TEST"'
    assert environment.load("here", written(tmp_path, text)).target({}).base == "http://x"


def test_files_of_tls_are_looked_for_from_the_projects_root(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    for name in ("ca.pem", "tls/us.pem", "us.key"):
        (tmp_path / name).touch()
    text = f'base = "https://x"\nca_file = "ca.pem"\ncert_file = "tls/us.pem"\nkey_file = "{tmp_path}/us.key"'
    target = environment.load("here", written(tmp_path, text)).target({})
    assert target.ca_file == str(tmp_path / "ca.pem")
    assert target.cert_file == str(tmp_path / "tls" / "us.pem")
    assert target.key_file == str(tmp_path / "us.key")
    facts = {
        "base": "http://x",
        "websocket": "ws://x",
        "database": "postgresql://a@localhost/b",
        "accounts": str(accounts_in(tmp_path)),
    }
    assert environment.load("local", ROOT).target(facts).ca_file == ""


def test_time_outs_are_those_of_the_file(tmp_path: Path) -> None:
    text = 'base = "http://x"\ntimeout = 30\nconnect_timeout = 3\nread_timeout = 5'
    here = environment.load("here", written(tmp_path, text))
    assert here.settings.timeout == 30
    assert (here.target({}).connect_timeout, here.target({}).read_timeout) == (3, 5)
    bare = environment.load("here", written(tmp_path, 'base = "http://x"'))
    assert (bare.settings.timeout, bare.target({}).connect_timeout) == (10, math.inf)


def test_the_shares_of_a_mix_become_ratios(tmp_path: Path) -> None:
    rows = '{ journey = "a", share = 1, region = "Europe" }, { journey = "b", share = 3 }'
    here = environment.load("here", written(tmp_path, f'base = "http://x"\n[mixes]\ndefault = [{rows}]'))
    assert here.default_mix == (MixEntry("a", 0.25, "Europe"), MixEntry("b", 0.75))
    bare = environment.load("here", written(tmp_path, 'base = "http://x"\ndefault_mix = "API"'))
    with pytest.raises(ConfigurationError, match='no mix "API"; there are: none'):
        bare.default_mix  # noqa: B018


# --- accounts


def accounts(tmp_path: Path, text: str | bytes, *more: str) -> tuple[Account, ...]:
    lines = ('base = "http://x"', "[accounts]", 'file = "accounts.json"', *more)
    root = written(tmp_path, "\n".join(lines))
    (tmp_path / "accounts.json").write_bytes(text.encode() if isinstance(text, str) else text)
    return environment.load("here", root).target({}).accounts


def test_accounts_are_read_and_their_passwords_do_not_show(tmp_path: Path) -> None:
    row = {"username": "ann", "password": "hunter2", "tenant": "acme", "more": "for others"}
    (account,) = accounts(tmp_path, json.dumps([row]))
    assert account == Account("ann", Secret("hunter2"), "acme", "")
    assert "hunter2" not in repr(account)
    assert account.password.reveal() == "hunter2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hunter2", "it is not JSON; expected such as"),
        (b"\xffhunter2", "it is not JSON; expected such as"),
        ('{"hunter2": "hunter2"}', "expected a list"),
        ('["hunter2"]', "[0]: expected a table"),
        ('[{"user": "hunter2", "password": "hunter2"}]', "[0].username: missing"),
        ('[{"username": "hunter2", "password": ["hunter2"]}]', "[0].password: expected text"),
        ('[{"username": "a", "password": "hunter2", "role": {"hunter2": 1}}]', "[0].role: expected text"),
    ],
)
def test_an_accounts_file_that_cannot_be_used_is_told_without_its_content(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        accounts(tmp_path, text)
    line = str(caught.value)
    assert f"cannot read accounts from accounts.json: {said}" in line
    assert line.startswith("environments/here.toml: ")
    assert "hunter2" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("keys", "is_refused"),
    [(("k1", "k2", ""), True), (("k1", "k2", "k3"), False), (("", "", ""), False)],
)
def test_accounts_of_tenants_of_which_only_some_have_a_canary_are_refused(
    tmp_path: Path, keys: tuple[str, ...], is_refused: bool
) -> None:
    rows = [
        {"username": f"u{number}", "password": "p", "tenant": f"t{number}", **({"key": key} if key else {})}
        for number, key in enumerate(keys)
    ]
    rows.append({"username": "root", "password": "p"})  # of no tenant
    if not is_refused:
        found = accounts(tmp_path, json.dumps(rows), 'canary = "key"')
        assert [each.canary.reveal() for each in found] == [*keys, ""]
        return
    with pytest.raises(ConfigurationError) as caught:
        accounts(tmp_path, json.dumps(rows), 'canary = "key"')
    assert '1 of 3 accounts of tenants have no "key"' in str(caught.value)
    assert "k1" not in str(caught.value)


def test_accounts_whose_canaries_stand_under_their_own_name_are_refused_by_it(tmp_path: Path) -> None:
    rows = [{"username": name, "password": "p", "tenant": name, "canary": name[2:]} for name in ("t-1", "t-")]
    with pytest.raises(ConfigurationError) as caught:
        accounts(tmp_path, json.dumps(rows), "")
    assert '1 of 2 accounts of tenants have no "canary"; expected' in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "trouble"),
    [
        (
            {"a": ("acme", "k1"), "b": ("globex", "k2"), "c": ("initech", "k1")},
            'the tenants "acme" and "initech" have the same "key"',
        ),
        (
            {"a": ("acme", "k1"), "b": ("acme", "k1"), "c": ("globex", "k2"), "d": ("globex", "k3")},
            'the accounts of the tenant "globex" differ in "key"',
        ),
        (
            {"a": ("acme", "tk-1"), "b": ("globex", "tk-2"), "c": ("initech", "tk-12")},
            'the text of the tenant "initech" contains that of "acme" in "key"',
        ),
        (
            {"a": ("acme", "k-1"), "b": ("globex", 'k"2')},
            'the tenant "globex" has a character that JSON may escape in its "key"',
        ),
        (
            {"a": ("acme", "cl\u00e9"), "b": ("globex", "k2")},
            'the tenant "acme" has a character that JSON may escape in its "key"',
        ),
        (
            {"a": ("acme", "k1"), "b": ("globex", "k<2")},
            'the tenant "globex" has a character that JSON may escape in its "key"',
        ),
    ],
    ids=["one for two tenants", "two for one tenant", "one in another", "a quote", "an accent", "a bracket"],
)
def test_canaries_that_do_not_tell_tenants_apart_are_refused_by_the_tenants_names(
    tmp_path: Path, keys: dict[str, tuple[str, str]], trouble: str
) -> None:
    rows = [
        {"username": name, "password": "p", "tenant": tenant, "key": key}
        for name, (tenant, key) in keys.items()
    ]
    with pytest.raises(ConfigurationError) as caught:
        accounts(tmp_path, json.dumps(rows), 'canary = "key"')
    assert str(caught.value) == (
        f"environments/here.toml: cannot read accounts from accounts.json: {trouble}, which `canary` names; "
        "expected one text for each tenant, which no other tenant has"
    )


def test_all_accounts_of_a_tenant_may_share_its_canary(tmp_path: Path) -> None:
    rows = [
        {"username": name, "password": "p", "tenant": name[0], "canary": f"k-{name[0]}"}
        for name in ("a1", "a2", "b1")
    ]
    assert len(accounts(tmp_path, json.dumps(rows))) == 3


def test_the_path_that_tells_the_services_time_reaches_the_target(tmp_path: Path) -> None:
    text = 'base = "http://127.0.0.1:1"\n[messages]\nclock = "/healthz"\n'
    target = environment.load("here", written(tmp_path, text)).target({})
    assert target.clock == "/healthz"
    assert not target.shares_clock  # a tunnel has a loopback address, too


@pytest.mark.parametrize(("latency", "judges"), [("", False), ("creation", False), ("round trip", True)])
def test_what_message_latency_is_judged_on_reaches_the_target(
    tmp_path: Path, latency: str, judges: bool
) -> None:
    stated = f'latency = "{latency}"\n' if latency else ""
    text = f'base = "http://127.0.0.1:1"\n[messages]\n{stated}'
    assert environment.load("here", written(tmp_path, text)).target({}).judges_round_trips is judges
