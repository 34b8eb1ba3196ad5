"""Describes a request and its answer as text, for the examples of a report. Secrets are masked."""

from collections.abc import Mapping

from loadkit.drivers.http.headers import HARMLESS, RequestHeaders
from loadkit.drivers.http.response import BodyError, Response
from loadkit.drivers.http.traces import trace_of
from loadkit.drivers.masking import HIDDEN, READ, Hiding, Mask, has_secret_name, secrets_of_headers
from loadkit.recording.examples import Exchange
from loadkit.target import masked_path

__all__ = ["described"]

_NO_MASK = Mask()


def described(
    method: str,
    path: str,
    headers: RequestHeaders,
    more: bytes,
    body: bytes | None,
    has_names: bool,
    response: Response | None,
    *,
    instance_header: str = "",
    mask: Mask = _NO_MASK,
) -> Exchange:
    """The request and its answer as text, shortened and without secrets.

    Values of form fields and JSON members with a name such as "password" or "access_token" are
    masked, also where they occur again. All values of the query are masked. So are the values of
    the request's headers, except headers that are known to hold no credentials.

    Args:
        method: "GET" …
        path: the path with its query.
        headers: the user's headers.
        more: further encoded header lines that were sent.
        body: the body of the request; None for none.
        has_names: does the body contain names that show which values are secret? If not, the body
            is not shown.
        response: None if there was no answer.
        instance_header: the header that names the instance; "" for none.
        mask: the known secrets.

    """
    trace = headers.get("traceparent", "")[3:35] or trace_of(more)
    sent, answered = dict(headers), {} if response is None else dict(response.headers)
    question = _head(body) if has_names or not body else f"({len(body)} bytes)"
    answer = "" if response is None else _text(response)
    values = [value for _, _, value in (pair.partition("=") for pair in path.partition("?")[2].split("&"))]
    hiding = mask.hiding(
        question,
        answer,
        path,
        secrets=(*secrets_of_headers(sent), *secrets_of_headers(answered), *values),
    )
    known = {name: value if name in HARMLESS else HIDDEN for name, value in sent.items()}
    request = _shown(f"{method} {hiding(masked_path(path))}", known, question, hiding)
    if response is None:
        return Exchange(request, trace=trace)
    instance = response.headers.get(instance_header, "") if instance_header else ""
    return Exchange(request, _shown(str(response.status_code), answered, answer, hiding), instance, trace)


def _head(body: bytes | None) -> str:
    """The part of a body that an example reads; a character has at most four bytes."""
    return (body or b"")[: 4 * (READ + 1)].decode("utf-8", "replace")


def _text(response: Response) -> str:
    try:
        return response.beginning(READ + 1)
    except BodyError:
        return f"({len(response.body)} bytes that cannot be decompressed)"


def _shown(first: str, headers: Mapping[str, str], body: str, hiding: Hiding) -> str:
    lines = [first]
    lines += [
        f"{name}: {HIDDEN if has_secret_name(name) else hiding(value)}" for name, value in headers.items()
    ]
    if body:
        lines += ["", hiding.head(body)]
    return "\n".join(lines)
