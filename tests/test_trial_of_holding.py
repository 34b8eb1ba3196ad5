"""The trial of journeys that hold a connection, against a server on loopback."""

import asyncio
import time
from dataclasses import replace

import pytest
import uvloop

from loadkit.clock import MonotonicClock
from loadkit.drivers.websocket import websocket
from loadkit.drivers.websocket.driver import WebSocketDriver
from loadkit.engine import trial
from loadkit.engine.worker import Shard
from loadkit.errors import ConfigurationError
from loadkit.target import Address, Target
from loadkit.users.pacer import LoopAlarm
from tests.sample_journeys import holding
from tests.virtual_time import ROOT, plan_of
from tests.websocket_user import served_by

NEVER = 1e6
"""Seconds after which a trial is stopped that has to end by itself."""


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(websocket, "_BRIEF", 0.05)
    holding.READ.clear()


def tried(monkeypatch, name, *messages, after=0.0, stopped_after=NEVER, churn=0.0):
    """What a server receives in the trial of a journey. It sends `messages`, `after` so many seconds."""
    monkeypatch.setattr(trial, "_JOURNEY_SECONDS", stopped_after)
    received = []

    async def serve(connection):
        await asyncio.sleep(after)
        for message in messages:
            await connection.send(message)
        received.extend([message async for message in connection])

    async def run():
        async with served_by(serve) as address:
            target = Target("shop", "http://127.0.0.1:1", Address(address))
            plan = plan_of(f"tests.sample_journeys.holding:{name}").with_workloads(
                lambda load: replace(load, churn=churn)
            )
            await trial.try_users(
                plan,
                Shard(0, 1, target, "run-7", ROOT),
                clock=MonotonicClock(),
                drivers=(WebSocketDriver(target),),
                alarm_of=LoopAlarm,
            )
        return received

    return uvloop.run(asyncio.wait_for(run(), 20))


def test_a_journey_that_only_holds_a_connection_ends_its_trial_itself(monkeypatch):
    assert tried(monkeypatch, "hold") == []


def test_a_subscription_has_its_first_message_before_its_trial_ends(monkeypatch):
    tried(monkeypatch, "subscribe", "1", after=0.5)
    assert holding.READ == [1]


def test_a_subscription_after_a_received_message_has_shown_to_be_one(monkeypatch):
    tried(monkeypatch, "receive_first", "1")
    assert holding.READ == []


def test_a_subscription_without_a_message_is_tried_until_its_trial_is_stopped(monkeypatch):
    begun = time.monotonic()
    tried(monkeypatch, "subscribe", stopped_after=0.5)
    assert time.monotonic() - begun >= 0.5


@pytest.mark.parametrize("churn", [0.0, 1e-9])
def test_a_journey_that_stays_ends_its_trial_itself(monkeypatch, churn):
    tried(monkeypatch, "stay", "1", churn=churn)
    assert holding.READ == [1]


def test_a_hold_that_ends_within_the_trial_is_whole_and_what_follows_is_tried(monkeypatch):
    assert tried(monkeypatch, "hold_a_while", stopped_after=10.0) == ["after the hold"]


def test_a_mistake_before_the_hold_is_found(monkeypatch):
    with pytest.raises(ConfigurationError, match="KeyError"):
        tried(monkeypatch, "mistaken", "{}")
