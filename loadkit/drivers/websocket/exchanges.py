"""Describes handshakes, messages and ends of connections as text, for the examples of a report.

Secrets are masked. Only operations that failed or were slow, and faults, are described.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote

from loadkit.drivers.http.headers import HARMLESS, ResponseHeaders
from loadkit.drivers.masking import HIDDEN, Mask, has_secret_name, secrets_of_headers
from loadkit.recording.examples import Exchange
from loadkit.target import masked_path
from loadkit.units import format_seconds

__all__ = ["NOWHERE", "ExchangeFormat", "Origin", "asked", "ended", "handshake", "missed", "received"]

_END_OF_HEAD = "\r\n\r\n"
_SEPARATOR = re.compile(r"[,;:\s]")
"""Separates the names of streams in a value of a query."""


class Origin(NamedTuple):
    """The handshake that opened a connection, and the instance that accepted it."""

    instance: str = ""
    """The instance that accepted it, if the handshake tells."""
    trace: str = ""
    """The trace id that the handshake sent."""
    headers: Mapping[str, str] = {}
    """The headers of the handshake: a service may repeat their credentials at any time."""
    path: str = ""

    @property
    def secrets(self) -> list[str]:
        """The credentials of the handshake."""
        return [*secrets_of_headers(self.headers), *_values(self.path)]


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class ExchangeFormat:
    """The settings that describe an exchange; all connections of a driver share them."""

    mask: Mask
    instance_header: str = ""
    """The header of an answer that names the instance; "" for none."""

    def instance_of(self, head: bytes) -> str:
        """The instance that the head of an answer names; "" if it names none."""
        if not self.instance_header or not head:
            return ""
        return sys.intern(ResponseHeaders(head.partition(b"\r\n\r\n")[0]).get(self.instance_header, ""))


def handshake(
    exchange_format: ExchangeFormat,
    path: str,
    headers: Mapping[str, str],
    trace: str,
    answer: bytes,
    accepted_by: str | None = None,
) -> Exchange:
    """Describe a handshake, and the part of its answer that arrived.

    Args:
        telling: masks the secrets.
        path: the path with its query.
        headers: the user's headers.
        trace: the trace id that was sent.
        answer: the bytes of the answer; empty without an answer.
        accepted_by: the instance that accepted it, "" for unknown; None if it was not accepted.

    """
    text = answer.decode("latin-1")
    head, _, body = text.partition(_END_OF_HEAD)
    answered = dict(ResponseHeaders(head.encode("latin-1")))
    secrets = (*secrets_of_headers(headers), *secrets_of_headers(answered), *_values(path))
    hiding = exchange_format.mask.hiding(text, path, secrets=secrets)
    request = [f"GET {hiding(masked_path(path))} (upgrade to WebSocket)"]
    request += [f"{name}: {value if name in HARMLESS else HIDDEN}" for name, value in headers.items()]
    lines = [hiding(head.split("\r\n", 1)[0]).partition(" ")[2]] if answer else []
    lines += [
        f"{name}: {HIDDEN if has_secret_name(name) else hiding(value)}" for name, value in answered.items()
    ]
    lines += ["", hiding.head(body)] if body else []
    instance = exchange_format.instance_of(answer)
    if accepted_by is not None:
        lines, instance = ["101 accepted"], accepted_by
    return Exchange("\n".join(request), "\n".join(lines), instance, trace)


def asked(
    exchange_format: ExchangeFormat,
    origin: Origin,
    message: bytes,
    is_text: bool,
    answer: str | bytes | None,
    remark: str,
) -> Exchange:
    """Describe a message that was sent, and its answer; `remark` explains a missing answer."""
    sent, got = _text(message if not is_text else message.decode("utf-8", "replace")), _text(answer or "")
    hiding = exchange_format.mask.hiding(sent, got, secrets=origin.secrets)
    request = "\n".join(("message sent", "", hiding.head(sent)))
    return Exchange(request, hiding.head(got) if got else hiding(remark), origin.instance, origin.trace)


def received(
    exchange_format: ExchangeFormat,
    origin: Origin,
    message: str | bytes,
    stream: str | int | None = None,
    expected: int | None = None,
    number: int | None = None,
) -> Exchange:
    """Describe a message that arrived, with its number and the number that was expected."""
    shown = _text(message)
    # The values of the handshake's query may be credentials, unless they name the stream.
    secrets = (
        each
        for each in origin.secrets
        if stream is None or str(stream) not in _SEPARATOR.split(unquote(each))
    )
    hiding = exchange_format.mask.hiding(shown, str(stream), secrets=secrets)
    lines = ["message received"]
    lines += [] if stream is None else [f"stream: {hiding(str(stream))}"]
    lines += [] if expected is None else [f"expected number: {expected}"]
    lines += [] if number is None else [f"received number: {number}"]
    return Exchange("\n".join(lines), hiding.head(shown), origin.instance, origin.trace)


def missed(exchange_format: ExchangeFormat, origin: Origin, number: int) -> Exchange:  # noqa: ARG001  as the others
    """Describe messages that others received, and this connection did not before its end."""
    return Exchange(
        f"{number:,} messages that others received did not arrive before the end",
        "",
        origin.instance,
        origin.trace,
    )


def ended(
    exchange_format: ExchangeFormat, origin: Origin, kind: str, code: int, reason: str, seconds: float
) -> Exchange:
    """Describe the end of a connection that was open for a number of seconds."""
    hiding = exchange_format.mask.hiding(reason, secrets=origin.secrets)
    lines = [kind, f"close code: {code}"]
    lines += [f"reason: {hiding.head(reason)}"] if reason else []
    return Exchange(
        f"connection, open for {format_seconds(seconds)}", "\n".join(lines), origin.instance, origin.trace
    )


def _values(path: str) -> Iterator[str]:
    """The values of a path's query."""
    return (value for _, _, value in (pair.partition("=") for pair in path.partition("?")[2].split("&")))


def _text(message: str | bytes) -> str:
    """A message as text. Of a binary one only the size is shown: its secrets have no names."""
    return message if isinstance(message, str) else f"({len(message)} bytes, binary)"
