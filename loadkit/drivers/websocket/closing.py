"""How a connection ended, according to its protocol core."""

from websockets.frames import CloseCode
from websockets.protocol import Protocol

from loadkit.drivers.websocket.record import Ending

__all__ = ["CLOSE_SECONDS", "ending_of"]

CLOSE_SECONDS = 5.0
"""Seconds that the service has to answer a close frame and to close the connection."""
_FAILURES = {
    CloseCode.PROTOCOL_ERROR: "invalid frame",
    CloseCode.INVALID_DATA: "bad UTF-8",
    CloseCode.MESSAGE_TOO_BIG: "message too big",
}
"""Outcomes by the close code with which the client failed the connection."""


def ending_of(core: Protocol, at: float) -> Ending:
    """The end of a connection that the generator did not close.

    Args:
        core: the protocol core; it has read a close frame, an invalid frame, or the end of the
            stream.
        at: when the last bytes arrived; monotonic clock.

    """
    received, sent = core.close_rcvd, core.close_sent
    if core.parser_exc is not None and sent is not None and sent.code in _FAILURES:
        return Ending(_FAILURES[CloseCode(sent.code)], sent.code, sent.reason, at)
    if received is not None:
        return Ending(f"closed {received.code}", received.code, received.reason, at)
    return Ending(f"closed {CloseCode.ABNORMAL_CLOSURE:d}", CloseCode.ABNORMAL_CLOSURE, "", at)
