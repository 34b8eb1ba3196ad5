"""A request and its answer in words, for the examples of a report. Secrets are masked."""

import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote_plus

from loadkit.drivers.http.headers import HARMLESS, RequestHeaders
from loadkit.drivers.http.response import BodyError, Response
from loadkit.drivers.http.traces import trace_of
from loadkit.recording.examples import Exchange
from loadkit.target import SECRET_NAME, masked, masked_path, pattern_of

__all__ = ["described"]

_SHOWN = 600
"""Characters of a body that an example shows."""
_READ = 4 * _SHOWN
"""Characters of a body that are looked through for secrets."""
_HIDDEN = "***"
_SECRET_NAME = re.compile(SECRET_NAME, re.IGNORECASE)
_MEMBER = re.compile(rf'("[^"]*{SECRET_NAME}[^"]*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}}\]"]+)', re.IGNORECASE)
"""A member of a JSON object with a secret name, as far as it was read."""
_FIELD = re.compile(rf"((?:^|&)[^&=\s]*{SECRET_NAME}[^&=\s]*=)([^&\s]*)", re.IGNORECASE)
"""A field of a form with a secret name."""


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
    secrets: Collection[str] = (),
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
        secrets: texts that are masked as well.

    """
    trace = headers.get("traceparent", "")[3:35] or trace_of(more)
    sent, answered = dict(headers), {} if response is None else dict(response.headers)
    question = (body or b"").decode("utf-8", "replace") if has_names or not body else f"({len(body)} bytes)"
    answer = "" if response is None else _text(response)
    all_secrets = [
        *secrets,
        *_secrets_of(sent, question),
        *_secrets_of(answered, answer),
        *(value for _, _, value in (pair.partition("=") for pair in path.partition("?")[2].split("&"))),
    ]
    hidden = pattern_of(all_secrets)
    known = {name: value if name in HARMLESS else _HIDDEN for name, value in sent.items()}
    request = _shown(f"{method} {_without(masked_path(path), hidden)}", known, question, hidden)
    if response is None:
        return Exchange(request, trace=trace)
    instance = response.headers.get(instance_header, "") if instance_header else ""
    return Exchange(request, _shown(str(response.status_code), answered, answer, hidden), instance, trace)


def _text(response: Response) -> str:
    try:
        return response.text
    except BodyError:
        return f"({len(response.body)} bytes that cannot be decompressed)"


def _secrets_of(headers: Mapping[str, str], body: str) -> list[str]:
    """The values that headers and members with secret names have."""
    found = [value for name, value in headers.items() if _SECRET_NAME.search(name)]
    found += [part for value in found for part in re.split(r"[\s;,=]+", value)]
    found += [value.strip('"') for _, value in _MEMBER.findall(body[:_READ])]
    found += [unquote_plus(value) for _, value in _FIELD.findall(body[:_READ])]
    return found


def _shown(first: str, headers: Mapping[str, str], body: str, hidden: re.Pattern[str] | None) -> str:
    lines = [first]
    lines += [
        f"{name}: {_HIDDEN if _SECRET_NAME.search(name) else _without(str(masked(value)), hidden)}"
        for name, value in headers.items()
    ]
    if body:
        text = _FIELD.sub(rf"\1{_HIDDEN}", _MEMBER.sub(rf'\1"{_HIDDEN}"', body[:_READ]))
        lines += ["", _without(str(masked(text)), hidden)[:_SHOWN] + (" …" if len(body) > _SHOWN else "")]
    return "\n".join(lines)


def _without(text: str, hidden: re.Pattern[str] | None) -> str:
    return hidden.sub(_HIDDEN, text) if hidden else text
