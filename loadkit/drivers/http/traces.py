"""The `traceparent` header of requests (W3C Trace Context), at a cost of two concatenations.

Each request begins its own trace. So a request in the report can be found in the service's tracing
system, if there is one. The flag "sampled" asks the service to record the trace.
"""

import secrets
from collections.abc import Iterator

__all__ = ["sampled", "trace_of", "traceparent", "traces"]

_NAME = b"traceparent: 00-"
_DIGITS = tuple(b"%03x" % number for number in range(4096))
"""The last digits of one user's trace ids; the other digits change after all of these are used."""
_UNSAMPLED, _SAMPLED = b"-00\r\n", b"-01\r\n"


def traces() -> Iterator[bytes]:
    """The header line of each request of a user, not sampled; without end."""
    while True:
        # Neither id may be zero, so each begins with the digit 1.
        begin = _NAME + b"1%b" % secrets.token_hex(14).encode()
        end = b"-1%b%b" % (secrets.token_hex(8)[1:].encode(), _UNSAMPLED)
        for digits in _DIGITS:
            yield begin + digits + end


def traceparent(*, is_sampled: bool) -> str:
    """The value of one header, for requests that are too rare to keep an iterator for them."""
    ids = f"1{secrets.token_hex(16)[1:]}-1{secrets.token_hex(8)[1:]}"
    return f"00-{ids}-{'01' if is_sampled else '00'}"


def sampled(line: bytes) -> bytes:
    """The line with the flag "sampled"."""
    return line.removesuffix(_UNSAMPLED) + _SAMPLED


def trace_of(lines: bytes) -> str:
    """The trace id in header lines; "" if there is none."""
    begin = lines.find(_NAME)
    return lines[begin + len(_NAME) :][:32].decode("ascii") if begin >= 0 else ""
