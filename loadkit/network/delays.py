"""The delay of bytes between the users of a region and the service.

The delay of one direction has a gamma distribution: it is never negative, and long delays are more
frequent than in a normal distribution, as measured on the Internet (Bovy et al. 2002, "Analysis of
end-to-end delay measurements in Internet"). The sum of both directions has the stated mean and
standard deviation.

A relay sees a stream of bytes and not packets. So a lost packet is modelled by its effect on the
stream: it and everything behind it arrive one retransmission timeout later. This is what happens to
a request or an answer of few packets. A long transfer often recovers in one round trip instead
(fast retransmit, RFC 5681), so the model is too slow for long transfers. The packets of the TCP
handshake and acknowledgements are never lost.
"""

import math
import random

from loadkit.target import NetworkPath

__all__ = ["Direction", "retransmission_timeout"]

_SEGMENT = 1448
"""Payload of a packet in bytes, on Ethernet with TCP timestamps."""
_LEAST_VARIATION = 0.2
"""The least term for the variation, in seconds: TCP_RTO_MIN of Linux."""


def retransmission_timeout(path: NetworkPath) -> float:
    """Seconds until a lost packet is sent again (RFC 6298, section 2.3, with Linux's minimum)."""
    return path.latency + max(_LEAST_VARIATION, 4.0 * path.jitter)


class Direction:
    """Computes when the bytes of one direction of one connection arrive."""

    __slots__ = ("_last", "_loss", "_mean", "_open", "_random", "_scale", "_shape", "_timeout")

    def __init__(self, path: NetworkPath, choices: random.Random, open_at: float = 0.0) -> None:
        """Create one direction of a connection over the network of a region.

        Args:
            path: the network.
            choices: the source of jitter and loss.
            open_at: when the TCP handshake has ended; bytes that come earlier leave then.

        """
        self._mean = path.latency / 2
        deviation = path.jitter / math.sqrt(2)
        self._scale = deviation * deviation / self._mean if self._mean else 0.0
        self._shape = self._mean / self._scale if self._scale else 0.0
        self._loss = path.loss
        self._timeout = retransmission_timeout(path)
        self._random = choices
        self._open = open_at
        self._last = 0.0

    def arrival(self, sent: float, size: int) -> float:
        """The moment when `size` bytes that leave at `sent` have arrived.

        They never overtake earlier bytes. Both moments are on the same clock, in seconds.
        """
        choices = self._random
        delay = choices.gammavariate(self._shape, self._scale) if self._scale else self._mean
        if self._loss and choices.random() < 1.0 - (1.0 - self._loss) ** math.ceil(size / _SEGMENT):
            delay += self._timeout
        self._last = max(self._last, max(sent, self._open) + delay)
        return self._last
