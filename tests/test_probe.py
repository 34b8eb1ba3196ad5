"""Is the service up?"""

import time

import pytest

from loadkit.engine.uptime import Probes, require_answer
from loadkit.errors import UnreachableError
from loadkit.target import Target
from tests.bad_servers import always_says, hangs_up
from tests.test_run import OK, service

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


def probes_of(behaviour, ready="/ready", count=2):
    with service(behaviour) as base, Probes(Target("t", base, ready=ready), time.time()) as probes:
        deadline = time.monotonic() + 5
        while len(probes.answered) < count and time.monotonic() < deadline:
            time.sleep(0.02)
    return probes.answered


def test_a_service_is_asked_once_a_second():
    (first, is_up), (second, still) = probes_of(always_says(OK))[:2]
    assert (is_up, still) == (True, True)
    assert first == 0.0
    assert second >= 1.0


@pytest.mark.parametrize("behaviour", [always_says(BUSY), hangs_up])
def test_one_that_is_not_ready_is_down(behaviour):
    assert [is_up for _, is_up in probes_of(behaviour, count=1)] == [False]


def test_without_an_address_nobody_is_asked():
    assert probes_of(always_says(OK), ready="", count=0) == []


def test_any_answer_will_do_where_there_is_no_readiness_address():
    with service(always_says(BUSY)) as base:
        require_answer(Target("t", base))
        with pytest.raises(UnreachableError, match="the service is not ready"):
            require_answer(Target("t", base, ready="/ready"))
