"""When bytes arrive from another region: pure computations, without a clock."""

import random

import numpy as np
import pytest

from loadkit.network.delays import Direction, retransmission_timeout
from loadkit.target import NetworkPath

MANY = 20_000


def round_trips(path: NetworkPath, size: int = 100) -> np.ndarray:
    """The round trips of connections that send once and are answered at once."""
    choices = random.Random(1)
    return np.array(
        [
            Direction(path, choices).arrival(Direction(path, choices).arrival(0.0, size), size)
            for _ in range(MANY)
        ]
    )


def test_without_jitter_and_loss_every_round_trip_takes_the_latency() -> None:
    assert round_trips(NetworkPath(0.08)) == pytest.approx(0.08)


def test_round_trips_have_the_stated_mean_and_standard_deviation() -> None:
    found = round_trips(NetworkPath(0.08, jitter=0.02))
    assert found.mean() == pytest.approx(0.08, rel=0.01)
    assert found.std() == pytest.approx(0.02, rel=0.03)
    assert found.min() > 0


def test_the_p95_of_round_trips_is_that_of_the_gamma_distribution() -> None:
    from scipy.stats import gamma

    truth = gamma.ppf(0.95, a=(0.08 / 0.02) ** 2, scale=0.02**2 / 0.08)
    assert np.quantile(round_trips(NetworkPath(0.08, jitter=0.02)), 0.95) == pytest.approx(truth, rel=0.01)


def test_loss_delays_its_share_of_the_round_trips_by_a_retransmission_timeout() -> None:
    path = NetworkPath(0.08, loss=0.02)
    found = round_trips(path)
    is_late = found > 0.08 + 0.5 * retransmission_timeout(path)
    assert is_late.mean() == pytest.approx(1 - 0.98**2, rel=0.1)
    once = found[is_late & (found < 0.08 + 1.5 * retransmission_timeout(path))]
    assert once == pytest.approx(0.08 + 0.28)


def test_more_packets_are_lost_more_often() -> None:
    path = NetworkPath(0.08, loss=0.01)
    is_late = round_trips(path, size=10 * 1448) > 0.1
    assert is_late.mean() == pytest.approx(1 - 0.99**20, rel=0.1)


def test_bytes_behind_a_lost_packet_wait_for_it() -> None:
    direction = Direction(NetworkPath(0.08, jitter=0.02, loss=0.1), random.Random(1))
    arrivals = [direction.arrival(moment / 1000, 100) for moment in range(5_000)]
    assert arrivals == sorted(arrivals)


def test_the_first_bytes_wait_for_the_handshake() -> None:
    direction = Direction(NetworkPath(0.08), random.Random(1), open_at=10.08)
    assert direction.arrival(10.0, 100) == pytest.approx(10.12)
    assert direction.arrival(11.0, 100) == pytest.approx(11.04)


@pytest.mark.parametrize(
    ("path", "seconds"),
    [(NetworkPath(0.08), 0.28), (NetworkPath(0.08, jitter=0.02), 0.28), (NetworkPath(0.3, jitter=0.1), 0.7)],
)
def test_the_retransmission_timeout_is_that_of_linux(path: NetworkPath, seconds: float) -> None:
    assert retransmission_timeout(path) == pytest.approx(seconds)
