"""Handshakes, messages and ends of connections in words, for the examples of a report.

Secrets are masked. Nothing here is called before an operation has failed or was slow.
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

__all__ = ["NOWHERE", "Origin", "Telling", "asked", "ended", "handshake", "missed", "received"]

_END_OF_HEAD = "\r\n\r\n"
_SEPARATOR = re.compile(r"[,;:\s]")
"""What stands between the names of streams in a value of a query."""


class Origin(NamedTuple):
    """Where a connection comes from."""

    instance: str = ""
    """The instance that accepted it, if the handshake tells."""
    trace: str = ""
    """The trace id that the handshake sent."""
    headers: Mapping[str, str] = {}
    """Those of the handshake: a service may repeat the credentials in them at any time."""
    path: str = ""

    @property
    def secrets(self) -> list[str]:
        """The credentials of the handshake."""
        return [*secrets_of_headers(self.headers), *_values(self.path)]


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Telling:
    """What all connections of a driver are told with."""

    mask: Mask
    instance_header: str = ""
    """The header of an answer that names the instance; "" for none."""

    def instance_of(self, head: bytes) -> str:
        """The instance that the head of an answer names; "" if it names none."""
        if not self.instance_header or not head:
            return ""
        return sys.intern(ResponseHeaders(head.partition(b"\r\n\r\n")[0]).get(self.instance_header, ""))


def handshake(
    telling: Telling,
    path: str,
    headers: Mapping[str, str],
    trace: str,
    answer: bytes,
    accepted_by: str | None = None,
) -> Exchange:
    """A handshake, and the head of its answer as far as it arrived.

    Args:
        telling: what masks it.
        path: with its query.
        headers: the user's.
        trace: the trace id that was sent.
        answer: its bytes; empty without an answer.
        accepted_by: the instance that accepted it, "" for unknown; None if nobody did.

    """
    text = answer.decode("latin-1")
    head, _, body = text.partition(_END_OF_HEAD)
    answered = dict(ResponseHeaders(head.encode("latin-1")))
    secrets = (*secrets_of_headers(headers), *secrets_of_headers(answered), *_values(path))
    hiding = telling.mask.hiding(text, path, secrets=secrets)
    request = [f"GET {hiding(masked_path(path))} (upgrade to WebSocket)"]
    request += [f"{name}: {value if name in HARMLESS else HIDDEN}" for name, value in headers.items()]
    lines = [hiding(head.split("\r\n", 1)[0]).partition(" ")[2]] if answer else []
    lines += [
        f"{name}: {HIDDEN if has_secret_name(name) else hiding(value)}" for name, value in answered.items()
    ]
    lines += ["", hiding.head(body)] if body else []
    instance = telling.instance_of(answer)
    if accepted_by is not None:
        lines, instance = ["101 accepted"], accepted_by
    return Exchange("\n".join(request), "\n".join(lines), instance, trace)


def asked(
    telling: Telling, origin: Origin, message: bytes, is_text: bool, answer: str | bytes | None, remark: str
) -> Exchange:
    """A message that was sent, and its answer; None for no answer, with a remark on that."""
    sent, got = _text(message if not is_text else message.decode("utf-8", "replace")), _text(answer or "")
    hiding = telling.mask.hiding(sent, got, secrets=origin.secrets)
    request = "\n".join(("message sent", "", hiding.head(sent)))
    return Exchange(request, hiding.head(got) if got else hiding(remark), origin.instance, origin.trace)


def received(
    telling: Telling,
    origin: Origin,
    message: str | bytes,
    stream: str | int | None = None,
    expected: int | None = None,
    number: int | None = None,
) -> Exchange:
    """A message that arrived, with the number that its stream would have continued with."""
    shown = _text(message)
    # The values of the handshake's query may be credentials, but not where a stream has such a name.
    secrets = (
        each
        for each in origin.secrets
        if stream is None or str(stream) not in _SEPARATOR.split(unquote(each))
    )
    hiding = telling.mask.hiding(shown, str(stream), secrets=secrets)
    lines = ["message received"]
    lines += [] if stream is None else [f"stream: {hiding(str(stream))}"]
    lines += [] if expected is None else [f"expected number: {expected}"]
    lines += [] if number is None else [f"received number: {number}"]
    return Exchange("\n".join(lines), hiding.head(shown), origin.instance, origin.trace)


def missed(telling: Telling, origin: Origin, number: int) -> Exchange:  # noqa: ARG001  as the others
    """Messages that others received and a connection did not, before its end."""
    return Exchange(
        f"{number:,} messages that others received did not arrive before the end",
        "",
        origin.instance,
        origin.trace,
    )


def ended(telling: Telling, origin: Origin, kind: str, code: int, reason: str, seconds: float) -> Exchange:
    """The end of a connection that was open for some seconds."""
    hiding = telling.mask.hiding(reason, secrets=origin.secrets)
    lines = [kind, f"close code: {code}"]
    lines += [f"reason: {hiding.head(reason)}"] if reason else []
    return Exchange(
        f"connection, open for {format_seconds(seconds)}", "\n".join(lines), origin.instance, origin.trace
    )


def _values(path: str) -> Iterator[str]:
    """The values of a path's query."""
    return (value for _, _, value in (pair.partition("=") for pair in path.partition("?")[2].split("&")))


def _text(message: str | bytes) -> str:
    """A message as text; a binary one, whose secrets have no names, by its size."""
    return message if isinstance(message, str) else f"({len(message)} bytes, binary)"
