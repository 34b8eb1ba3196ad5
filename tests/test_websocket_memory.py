"""An idle connection takes little memory. Thousands of sockets are opened, so it is a load."""

import pytest

from tests.bench.idle import idle_bytes

MOST = 10_000
"""Bytes of an idle connection with its virtual user, above its socket: the aim. Runs measured 9,090 to 9,610."""


@pytest.mark.load
def test_an_idle_connection_takes_less_than_the_aim_above_its_socket():
    found = idle_bytes()
    assert found["pss"] < MOST, found
