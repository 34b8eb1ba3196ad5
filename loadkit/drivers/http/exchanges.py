"""A request and its answer in words, for the examples of a report. Secrets are masked."""

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
    """What was sent and what came back, shortened, without secrets.

    Values of form fields and JSON members with a name such as "password" or "access_token" are
    masked, also where they occur again. So are all values of the query, and those of the request's
    headers unless they are known to hold no credentials.

    Args:
        method: "GET" …
        path: with its query.
        headers: the user's.
        more: encoded header lines that were sent besides.
        body: of the request; None for none.
        has_names: has the body the names by which secrets in it are found? If not, it is not shown.
        response: None if there was no answer.
        instance_header: the header that names the instance; "" for none.
        mask: what is known to be secret.

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
    """As much of a body as is read; a character has at most four bytes."""
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
