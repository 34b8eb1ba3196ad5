"""`loadkit run` and `loadkit judge`: what they refuse, each in one line; what they write; what they keep."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import loadkit
from loadkit import cli
from loadkit.cli.run import plan_of, without_secrets
from loadkit.recording.archive import find, load
from loadkit.workload.plan import Plan
from loadkit.workload.schedule import arrivals
from loadkit.workload.workload import MixEntry, Model, Stage, Workload
from tests.bad_servers import always_says, in_a_thread
from tests.evidence import steady_run
from tests.test_tls import asking_for_certificates_of, certificate

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
NOWHERE = "http://127.0.0.1:1/"
BRIEFLY = ("--users=2", "--for=2s", "--ramp=0", "--think=0.05s..0.1s")
SCHEMA = json.loads((Path(loadkit.__file__).parent / "reports" / "run.schema.json").read_text())


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["localhost:8080/"], 'cannot read "localhost:8080/" as an address; expected such as http://127.0.0.1:8080/'),
        (["http://[::1/"], 'cannot read "http://[::1/" as an address'),
        (["http://127.0.0.1:http/"], "as an address; expected such as http://127.0.0.1:8080/path"),
        (["http://ann:hunter2@127.0.0.1/"], "the address http://***@127.0.0.1/ contains a user name or password"),
        (["ftp://127.0.0.1/?key=hunter2"], 'cannot read "ftp://127.0.0.1/?key=***" as an address'),
        (["http://example.com/"], "load on example.com is not allowed; if you are permitted to load it: --allow-"),
        ([NOWHERE], "http://127.0.0.1:1 does not answer"),
        (["http://" + 70 * "a", "--allow-host=" + 70 * "a"], "does not answer"),
        ([NOWHERE, "--for=30"], 'cannot read "30"; expected a time with its unit, such as 5 minutes'),
        ([NOWHERE, "--for=0"], "--for 0: expected a time above 0, such as --for 10s"),
        ([NOWHERE, "--timeout=0"], "--timeout 0: expected a time above 0"),
        ([NOWHERE, "--connect-timeout=0"], "--connect-timeout 0: expected a time above 0"),
        ([NOWHERE, "--read-timeout=0"], "--read-timeout 0: expected a time above 0"),
        ([NOWHERE, "--users=0"], "cannot run a load of 0; expected such as --users 10 or --rate 100"),
        ([NOWHERE, "--rate=inf"], "cannot run a load of inf"),
        ([NOWHERE, "--even"], "--even spaces arrivals, but users do not arrive; expected such as --rate 100 --even"),
        ([NOWHERE, "--think=3s..1s"], "--think 3s..1s: the first time is longer than the second; expected such as 1s"),
        ([NOWHERE, "--workers=0"], "--workers 0: expected at least 1"),
        ([NOWHERE, "--header=Bearer hunter2"], '--header: expected a name, a colon and a value, such as "Accept: '),
        ([NOWHERE, "--header=: hunter2"], '--header: expected a name, a colon and a value, such as "Accept: '),
        ([NOWHERE, "--header=content-Length: 3"], '--header: the header "content-length" cannot be set, the client'),
        ([NOWHERE, "--header=Transfer-Encoding: chunked"], "as json=, data= or content="),
        ([NOWHERE, "--header=Connection: close"], 'the header "connection" cannot be set'),
        ([NOWHERE, "--header=X: a\nb: c"], "a header must not contain a line break: ['x']"),
        ([NOWHERE, "--header=X-Price: 5 €"], '--header "X-Price": expected Latin-1 characters only'),
        ([NOWHERE, "--body=@absent"], "cannot read the body from absent"),
        ([NOWHERE, "--that=p95 stays bellow 5 ms"], 'cannot read "bellow"; did you mean "below"?'),
        ([NOWHERE, "--that=throughput is above 1.000 requests per second"], "it may mean 1 or 1000: write 1 or 1000"),
        ([NOWHERE, "--for=1,5 min"], "it may mean 1.5 or 15: write 1.5 or 15"),
        ([NOWHERE, "--plot=a.png"], "--plot a.png: expected an SVG file, such as percentiles.svg"),
        (["https://127.0.0.1:1/", "--ca-file=absent.pem"], "cannot read the certificate authority in absent.pem"),
        (["https://127.0.0.1:1/", "--cert-file=absent.pem"], "cannot use the client certificate in absent.pem"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_before_any_load(arguments, said, capsys):
    assert cli.main(["run", *arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert said in told[-1]
    assert told[-1].startswith("loadkit: ")
    assert not [line for line in told if "hunter2" in line]


@pytest.mark.parametrize(
    ("criteria", "code"),
    [([], 2), (["p95 is below 500 ms"], 2), (["p95 is below 500 ms", "p95 is below 20 ms"], 1)],
)
def test_a_run_that_cannot_be_archived_is_shown_and_judged(criteria, code, folder, capsys, monkeypatch):
    done = steady_run(60, 0)
    monkeypatch.setattr("loadkit.engine.run.run", lambda *_, **__: done)
    (folder / "reports").write_text("in the way")
    assert cli.main(["run", NOWHERE, *(f"--that={each}" for each in criteria)]) == code
    told = capsys.readouterr()
    assert "reports/runs" in told.err.splitlines()[-1]
    assert "response time" in told.out
    assert told.out.count("is below") == len(criteria)
    assert "archived in" not in told.out


@pytest.mark.slow
def test_a_run_prints_writes_and_keeps_the_same_figures(folder, capsys):
    with in_a_thread(always_says(OK)) as server:
        code = cli.main(
            ["run", f"{server.base}/hello", *BRIEFLY, "--json=run.json", "--plot=run.svg", "--that", "p50 is below 30 s"]
        )  # fmt: skip
    told = capsys.readouterr()
    assert "response time" in told.out
    figures = json.loads((folder / "run.json").read_text())
    jsonschema.validate(figures, SCHEMA)
    assert list(figures["by_label"]) == ["GET /hello"]
    assert (figures["verdicts"][0]["status"] == "pass") == (code == 0)
    assert "response time (judged)" in (folder / "run.svg").read_text()
    judged = cli.main(
        ["judge", "last", "p50  is\u00a0below 30\u202fs.", "--json=again.json", "--plot=again.svg"]
    )
    assert judged == code
    again = json.loads((folder / "again.json").read_text())
    assert again["response_time"] == figures["response_time"]
    assert (folder / "again.svg").read_bytes() == (folder / "run.svg").read_bytes()


def test_json_on_standard_output_is_all_there_is_on_it(capsys):
    with in_a_thread(always_says(OK)) as server:
        assert cli.main(["run", f"{server.base}/", *BRIEFLY, "--json=-"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)


@pytest.mark.parametrize(
    ("rate", "expected"), [("1.000", "write 1 or 1000"), ("1,5", "write 1.5 or 15"), ("1.0005", "")]
)
def test_a_rate_with_two_readings_is_refused_as_in_sentences(rate, expected, capsys):
    if not expected:
        assert cli.parser(["run"]).parse_args(["run", NOWHERE, "--rate", rate]).rate == float(rate)
        return
    with pytest.raises(SystemExit) as left:
        cli.main(["run", NOWHERE, "--rate", rate])
    assert left.value.code == 2
    assert f'cannot read "{rate}"; it may mean' in (said := capsys.readouterr().err)
    assert expected in said


def test_arrivals_are_random_unless_they_are_asked_to_be_evenly_spaced():
    def plan(*arguments):
        return plan_of(cli.parser(["run"]).parse_args(["run", NOWHERE, *arguments]))

    assert plan("--rate=100").workload.is_poisson
    spaced = plan("--rate=100", "--even", "--ramp=0", "--for=1s").workload
    moments = [arrival.at for arrival in arrivals(spaced, 1)]
    assert np.diff(moments) == pytest.approx(0.01)


def test_a_service_that_asks_for_a_certificate_can_be_loaded(folder, capsys):
    (ours, its_key), (client, key) = certificate(folder, "ours"), certificate(folder, "client")
    with in_a_thread(always_says(OK), tls=asking_for_certificates_of(client, ours, its_key)) as server:
        base = f"https://localhost:{server.port}/"
        shown = [f"--ca-file={ours}", f"--cert-file={client}", f"--key-file={key}"]
        assert cli.main(["run", base, *BRIEFLY, *shown]) == 0
        assert cli.main(["run", base, *BRIEFLY, shown[0]]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_time_outs_of_the_parts_are_counted_apart(folder):
    async def asks_and_is_silent(server, reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        if b"loadkit" in request:
            await reader.read()
        writer.write(OK)
        await writer.drain()

    with in_a_thread(asks_and_is_silent) as server:
        code = cli.main(["run", f"{server.base}/", *BRIEFLY, "--timeout=60s", "--read-timeout=0.2s"])
    assert code == 3, "no answer came at all"
    (run,) = (folder / "reports" / "runs").iterdir()
    assert "read timeout" in load(find(run.name, run.parent)).table.outcomes


def test_what_may_let_somebody_in_is_not_kept_wherever_it_stood():
    arguments = {
        "path": "/hooks?api_key=S3&page=S3&S3",
        "body": '{"password": "S3"}',
        "method": "POST",
        "Authorization": "Bearer S3",
        "X-Signature": "S3",
        "X-Anything": "S3",
        "Accept": "text/html",
    }
    mix = (MixEntry("loadkit.journey:fetch", 1.0, arguments=tuple(arguments.items())),)
    plan = Plan.of("address", Workload(Model.CLOSED, (Stage(1, 1),), mix))
    kept = dict(without_secrets(plan).workload.mix[0].arguments)
    assert "S3" not in json.dumps(kept)
    assert kept["path"] == "/hooks?api_key=***&page=***&***"
    assert kept["body"] == "*** (18 bytes)"
    assert (kept["method"], kept["Accept"]) == ("POST", "text/html")


def test_a_header_replaces_the_default_of_its_name():
    given = {"host": "shop.example", "USER-AGENT": "mine", "accept": "text/html", "X-Run-Id": "7"}
    with in_a_thread(always_says(OK)) as server:
        cli.main(
            [
                "run",
                f"{server.base}/x",
                *BRIEFLY,
                *(f"--header={name}: {said}" for name, said in given.items()),
            ]
        )
    asked = [request.decode() for request in server.requests if b"shop.example" in request]
    assert asked
    for request in asked:
        fields = [line.lower().split(": ", 1) for line in request.split("\r\n")[1:] if line]
        assert len(dict(fields)) == len(fields), request
        assert {name.lower(): said for name, said in given.items()}.items() <= dict(fields).items()


def test_a_header_never_takes_the_place_of_what_is_asked_for(capsys):
    with in_a_thread(always_says(OK)) as server:
        cli.main(["run", f"{server.base}/right", *BRIEFLY, "--header=path: /wrong", "--header=user: ann"])
    asked = [request for request in server.requests if b"loadkit" in request]
    assert asked
    assert all(request.startswith(b"GET /right ") and b"user: ann" in request.lower() for request in asked)


def test_a_command_whose_output_nobody_reads_does_not_leave_as_a_pass():
    reading, writing = os.pipe()
    os.close(reading)
    code = "import loadkit.cli.gate as g; g.execute = lambda _: print('x' * 100_000) or 0; "
    code += "from loadkit import cli; raise SystemExit(cli.main(['gate']))"
    try:
        left = subprocess.run(
            [sys.executable, "-c", code], check=False, stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
    finally:
        os.close(writing)
    assert (left.returncode, left.stderr) == (141, b"")


@pytest.mark.parametrize("error", [FileNotFoundError("no folder for temporary files"), KeyError("x")])
def test_an_error_of_loadkit_is_no_verdict_on_the_service(monkeypatch, capsys, error):
    def fail(_options):
        raise error

    monkeypatch.setattr("loadkit.cli.run.execute", fail)
    assert cli.main(["run", NOWHERE]) == 2
    assert type(error).__name__ in capsys.readouterr().err


def test_sigterm_has_the_effect_of_ctrl_c(monkeypatch, capsys):
    monkeypatch.setattr("loadkit.cli.run.execute", lambda _: signal.raise_signal(signal.SIGTERM))
    assert cli.main(["run", NOWHERE]) == 2
    assert capsys.readouterr().err == "loadkit: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
