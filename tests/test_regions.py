"""Users of several regions: their plan, their connections, and what a run says when the relay dies."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from loadkit.drivers import network
from loadkit.engine import relays
from loadkit.engine.relays import Relays, relayed
from loadkit.engine.run import run
from loadkit.environment.environment import load
from loadkit.errors import ConfigurationError, PhraseError
from loadkit.network.process import RelayFigures
from loadkit.planning.draft import Draft
from loadkit.planning.plan import plan
from loadkit.recording.ending import Ending, EndingKind
from loadkit.recording.slices import Kind, label_series, region_series
from loadkit.recording.timing import CONNECT, MESSAGE
from loadkit.target import Address, NetworkPath, Target
from loadkit.users.data import used_up
from loadkit.verdict import Status
from loadkit.workload.workload import MixEntry, Model, Think
from tests import builders
from tests.bad_servers import always_says, in_a_thread
from tests.builders import judge, response_time, run_of, samples_of, worker_seconds_of
from tests.suites import command_of
from tests.virtual_time import plan_of

ROOT = Path(__file__).parent.parent
ANSWERS = always_says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
ASIA = NetworkPath(0.08, jitter=0.004)
JOURNEYS = {"browse": "m:browse", "buy": "m:buy"}


def environment_in(tmp_path: Path):
    folder = tmp_path / "environments"
    folder.mkdir()
    (folder / "here.toml").write_text(
        'base = "http://x"\n[mixes]\ndefault = [{ journey = "browse", share = 3 }, { journey = "buy", share = 1 }]\n'
        "[regions]\nEurope = { latency = 0.02 }\nAsia = { latency = 0.2 }\n"
    )
    return load("here", tmp_path)


def draft_of(*regions: str) -> Draft:
    draft = Draft()
    draft.load(Model.CLOSED, 100)
    draft.spread(regions)
    return draft


def test_users_are_spread_evenly_over_regions_within_each_journey(tmp_path: Path) -> None:
    mix = plan(draft_of("Europe", "asia"), environment_in(tmp_path), JOURNEYS).workload.mix
    assert [(entry.journey, entry.region, entry.share) for entry in mix] == [
        ("m:browse", "Europe", 0.375),
        ("m:browse", "Asia", 0.375),
        ("m:buy", "Europe", 0.125),
        ("m:buy", "Asia", 0.125),
    ]


def test_a_table_with_regions_keeps_them_beside_users_who_are_spread(tmp_path: Path) -> None:
    draft = draft_of("Europe")
    draft.load(Model.CLOSED, 20, called="others")
    draft.share(["share", "journey", "region"], [["100%", "browse", "Asia"]])
    draft.load(Model.CLOSED, 5, called="more")
    regions = [
        {entry.region for entry in each.workload.mix}
        for each in plan(draft, environment_in(tmp_path), JOURNEYS).populations
    ]
    assert regions == [{"Europe"}, {"Asia"}, {"Europe"}]


def test_a_region_that_the_environment_does_not_have_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(draft_of("Europe", "Mars"), environment_in(tmp_path), JOURNEYS)
    assert str(caught.value) == 'no region "Mars" in environments/here.toml; there are: Asia, Europe'


def test_regions_are_stated_once() -> None:
    with pytest.raises(PhraseError, match="stated before"):
        draft_of("Asia").spread(["Europe"])
    with pytest.raises(PhraseError, match="stated twice"):
        draft_of("Asia", "Asia")
    with pytest.raises(PhraseError, match="stated before"):
        draft_of("Asia").share(["share", "journey", "region"], [["100%", "browse", "Asia"]])


MIX = tuple(MixEntry("loadkit.journey:fetch", 0.5, region) for region in ("Asia", "Nowhere"))


def short(seconds: float = 3):
    return plan_of(mix=MIX, level=6, seconds=seconds, think=Think(0.05, 0.15), drain=1.0)


def relays_here() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "spawn_main" in " ".join(command_of(each))]


def test_users_of_a_region_have_its_network_and_others_connect_directly() -> None:
    with in_a_thread(ANSWERS) as server:
        done = run(short(), Target("t", server.base, regions={"Asia": ASIA}), root=ROOT)
    assert done.is_complete
    times = {
        name: done.table.totals([region_series(name)], 0, 99)[2].sum(axis=0) for name in ("Asia", "Nowhere")
    }
    count, total = times["Asia"][0], times["Asia"][1]
    assert count > 10
    assert total / count > 0.07  # never faster than the network
    assert times["Nowhere"][0] > 10
    assert done.table.histograms(Kind.RESPONSE, [label_series("GET /")], 0, 99)
    assert done.facts["regions"] == {"Asia": {"latency": 0.08, "jitter": 0.004, "loss": 0.0}}
    assert done.facts["relay"]["connections"] == 3
    assert done.facts["relay"]["cpu_seconds"] > 0
    host = f"host: {server.base.removeprefix('http://')}".encode()
    assert all(host in request.lower() for request in server.requests)


def test_a_plan_without_users_in_a_known_region_starts_no_relay() -> None:
    target = Target("t", "http://127.0.0.1:1", regions={"Europe": ASIA})
    with relayed(short(), target) as relays:
        assert relays.target is target
        assert relays.facts(0.0) == {}


def when_the_relay_has_users(do: Callable[[int], None]) -> threading.Thread:
    """Call a function with the process number of the relay, some seconds into the load."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for each in relays_here():
                try:
                    if any(c.status == psutil.CONN_ESTABLISHED for c in each.net_connections("tcp")) and any(
                        c.status == psutil.CONN_LISTEN for c in each.net_connections("tcp")
                    ):
                        time.sleep(2.5)  # into the load
                        do(each.pid)
                        return
                except psutil.Error:
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_a_relay_that_dies_ends_the_run_and_makes_it_invalid() -> None:
    killer = when_the_relay_has_users(lambda process: os.kill(process, signal.SIGKILL))
    with in_a_thread(ANSWERS) as server:
        done = run(short(30), Target("t", server.base, regions={"Asia": ASIA}), root=ROOT)
    killer.join()
    assert done.ended.kind is EndingKind.RELAY_DIED
    assert str(done.ended) == "the network relay of the regions died: exit code -9"
    verdict = judge(response_time(), done)
    assert verdict.status in {Status.INVALID, Status.INCONCLUSIVE}
    assert done.ended_at < 30


@pytest.mark.slow
def test_a_relay_that_stands_still_says_when_and_for_how_long() -> None:
    stopped: list[float] = []

    def stop(process: int) -> None:
        os.kill(process, signal.SIGSTOP)
        time.sleep(2)
        os.kill(process, signal.SIGCONT)
        stopped.append(time.time())

    stopper = when_the_relay_has_users(stop)
    with in_a_thread(ANSWERS) as server:
        done = run(short(20), Target("t", server.base, regions={"Asia": ASIA}), root=ROOT)
    stopper.join()
    late = dict(done.facts["relay"]["late"])
    until = int(stopped[0] - done.started)
    longest = max(late.get(second, 0.0) for second in range(until - 1, until + 2))
    assert longest >= 1.5
    assert set(late) <= set(range(-5, 40))


def test_the_relay_ends_with_the_run() -> None:
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, regions={"Asia": ASIA})
        with relayed(short(), target) as relays:
            (process,) = relays_here()
            assert list(relays.target.relays) == [("Asia", "127.0.0.1", int(server.base.rpartition(":")[2]))]
        assert not process.is_running()


@pytest.mark.parametrize(
    "ending",
    [Ending(EndingKind.RELAY_DIED, "exit code -9"), Ending(EndingKind.ROWS_USED_UP, used_up("x"))],
)
@pytest.mark.parametrize("seconds", [0.02, 2.0])
def test_a_run_that_its_own_relay_or_data_ended_neither_passes_nor_fails(
    ending: Ending, seconds: float
) -> None:
    starts = np.arange(0, 40, 0.02)
    samples = samples_of(starts, np.full(len(starts), seconds))
    cut = run_of(
        samples, builders.plan_of(60), worker_seconds=worker_seconds_of(40), ended=str(ending), ended_at=40.0
    )
    verdict = judge(response_time(), cut)
    assert verdict.status is Status.INVALID
    assert str(ending)[1:] in verdict.reason


def test_a_relay_without_sockets_is_a_warning_of_the_run() -> None:
    figures = RelayFigures(1.0, 0.001, 1000, out_of_descriptors=20)
    (warning,) = Relays(Target("t", "http://127.0.0.1:1"), {"Asia": ASIA}, figures=figures).warnings
    assert warning.startswith(
        "the network relay of the regions had no socket or file descriptor for 20 of 1,000 connections"
    )
    assert Relays(Target("t", ""), {}, figures=RelayFigures(1.0, 0.001, 1000)).warnings == ()


@pytest.mark.parametrize(
    ("allowed", "is_enough"), [(105, False), (106, True), (resource.RLIM_INFINITY, True)]
)
def test_a_relay_that_may_not_open_two_sockets_for_each_of_its_users_is_not_started(
    monkeypatch: pytest.MonkeyPatch, allowed: int, is_enough: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (allowed, allowed))
    monkeypatch.setattr(relays, "SPARE_FILES", 100)
    load = short()  # three of its six users are in Asia
    if is_enough:
        relays._require_files(load, {"Asia": ASIA})
        return
    target = Target("t", "http://127.0.0.1:1", regions={"Asia": ASIA})
    with (
        pytest.raises(
            ConfigurationError,
            match=r"needs 106 open files, .* 3 users; the system allows it 105 .*LimitNOFILE=106",
        ),
        relayed(load, target),
    ):
        pass


def test_users_that_need_no_relay_need_none_of_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    with relayed(short(), Target("t", "http://127.0.0.1:1", regions={"Europe": ASIA})) as started:
        assert started.warnings == ()


def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name have these addresses; those that end in .9 refuse connections."""

    async def look_up(_host: str, _port: int) -> tuple[str, ...]:
        return addresses

    async def refusal(address: str, _port: int) -> str:
        return "refused" if address.endswith(".9") else ""

    monkeypatch.setattr(network, "_addresses", look_up)
    monkeypatch.setattr(network, "_refusal", refusal)


SEVERAL = "shop.example has 2 addresses ({}), and all load goes to the first that accepts a connection"


@pytest.mark.parametrize(
    ("addresses", "warning"),
    [
        (["10.0.0.1"], None),
        (["10.0.0.9"], None),
        (["::1", "127.0.0.1"], None),
        (["10.0.0.1", "10.0.0.2"], SEVERAL.format("10.0.0.1, 10.0.0.2")),
        (
            ["10.0.0.9", "10.0.0.2"],
            f"{SEVERAL.format('10.0.0.9, 10.0.0.2')}; no connection is accepted by 10.0.0.9 (refused)",
        ),
    ],
)
def test_a_name_with_several_addresses_is_a_warning_that_names_those_that_accept_nothing(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], warning: str | None
) -> None:
    named(monkeypatch, *addresses)
    target = Target("t", "http://shop.example:8080", websocket=Address("ws://shop.example:8081"))
    with relayed(short(), target) as started:
        assert started.warnings == ((warning,) if warning else ())


def test_a_name_without_an_address_is_left_to_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(_host: str, _port: int) -> tuple[str, ...]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(network, "_addresses", look_up)
    with relayed(short(), Target("t", "http://shop.invalid")) as started:
        assert started.warnings == ()


@pytest.mark.slow
def test_websocket_users_have_the_network_of_their_region_too() -> None:
    def publish(connection: ServerConnection) -> None:
        number = 0
        with suppress(ConnectionClosed):
            while True:
                number += 1
                connection.send(json.dumps([f"s{id(connection)}", number, time.time()]))
                time.sleep(0.05)

    mix = (MixEntry("tests.websocket_journeys:follow", 1.0, "Asia"),)
    load = plan_of(mix=mix, level=3, seconds=3, drain=1.0)
    with in_a_thread(ANSWERS) as server, serve(publish, "127.0.0.1", 0) as websocket:
        serving = threading.Thread(target=websocket.serve_forever)
        serving.start()
        address = Address(f"ws://127.0.0.1:{websocket.socket.getsockname()[1]}")
        target = Target("t", server.base, websocket=address, regions={"Asia": ASIA})
        done = run(load, target, root=ROOT)
        websocket.shutdown()
        serving.join()
    assert done.is_complete
    for timing, least in ((MESSAGE, 0.035), (CONNECT, 0.14)):  # half a round trip, and two of them
        count, total = done.table.totals([region_series("Asia", timing)], 0, 99)[2].sum(axis=0)[:2]
        assert count >= 3
        assert total / count > least
    assert done.facts["relay"]["connections"] >= 3


STARTER = """
import sys
from pathlib import Path
from loadkit.engine.run import run
from loadkit.target import NetworkPath, Target
from loadkit.workload.plan import Plan
from loadkit.workload.workload import *

def main():
    mix = (MixEntry("loadkit.journey:fetch", 1.0, "Asia"),)
    load = Workload(Model.CLOSED, (Stage(0, 5), Stage(60, 5)), mix)
    target = Target("t", sys.argv[1], regions={"Asia": NetworkPath(0.05)})
    run(Plan.of("t", load, drain=1.0), target, root=Path.cwd(), workers=1,
        watch=lambda progress: print("going", flush=True))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_killed_with_its_relay_left_nothing_stays(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    with in_a_thread(ANSWERS) as server:
        process = subprocess.Popen(
            [sys.executable, str(script), server.base], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "going\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len([each for each in children if "spawn_main" in " ".join(command_of(each))]) == 2
        process.kill()
        process.communicate()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
