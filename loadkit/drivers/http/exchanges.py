"""A request and its answer in words, for the examples of a report. Secrets are masked."""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote_plus

from loadkit.drivers.http.headers import HARMLESS, RequestHeaders
from loadkit.drivers.http.response import BodyError, Response
from loadkit.drivers.http.traces import trace_of
from loadkit.recording.examples import Exchange
from loadkit.target import masked, masked_path

__all__ = ["described"]

_SHOWN = 600
"""Characters of a body that an example shows."""
_READ = 4 * _SHOWN
"""Characters of a body that are looked through for secrets."""
_SHORTEST = 4
"""Characters of the shortest value that is masked wherever it occurs; shorter ones are common words."""
_HIDDEN = "***"
_SECRET = r"(?:passw|passphrase|secret|token|auth|cookie|api[-_]?key|credential|signature)"
_SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
_MEMBER = re.compile(rf'("[^"]*{_SECRET}[^"]*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[^\s,}}\]"]+)', re.IGNORECASE)
"""A member of a JSON object with a secret name, as far as it was read."""
_FIELD = re.compile(rf"((?:^|&)[^&=\s]*{_SECRET}[^&=\s]*=)([^&\s]*)", re.IGNORECASE)
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

    """
    trace = headers.get("traceparent", "")[3:35] or trace_of(more)
    sent, answered = dict(headers), {} if response is None else dict(response.headers)
    question = (body or b"").decode("utf-8", "replace") if has_names or not body else f"({len(body)} bytes)"
    answer = "" if response is None else _text(response)
    secrets = [
        *_secrets_of(sent, question),
        *_secrets_of(answered, answer),
        *(value for _, _, value in (pair.partition("=") for pair in path.partition("?")[2].split("&"))),
    ]
    hidden = _pattern(secrets)
    known = {name: value if name in HARMLESS else _HIDDEN for name, value in sent.items()}
    request = _shown(f"{method} {masked_path(path)}", known, question, hidden)
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


def _pattern(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """What matches any of the secrets, as they are or percent-encoded; None without secrets."""
    long = {secret for secret in secrets if len(secret) >= _SHORTEST}
    forms = {form for secret in long for form in (secret, quote(secret, safe=""), quote_plus(secret))}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None


def _shown(first: str, headers: Mapping[str, str], body: str, hidden: re.Pattern[str] | None) -> str:
    def without(text: str) -> str:
        text = str(masked(text))
        return hidden.sub(_HIDDEN, text) if hidden else text

    lines = [first]
    lines += [
        f"{name}: {_HIDDEN if _SECRET_NAME.search(name) else without(value)}"
        for name, value in headers.items()
    ]
    if body:
        text = _FIELD.sub(rf"\1{_HIDDEN}", _MEMBER.sub(rf'\1"{_HIDDEN}"', body[:_READ]))
        lines += ["", without(text)[:_SHOWN] + (" …" if len(body) > _SHOWN else "")]
    return "\n".join(lines)
