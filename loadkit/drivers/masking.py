"""Masks secrets in the examples of a report, for all drivers, at a bounded cost.

Three kinds of secrets are masked:

- secrets that the suite knows: passwords, canaries, parts of addresses
- values with a name such as "password" in any text of an exchange
- text that looks like a credential

Each secret is searched as plain text, cut off, percent-encoded, escaped as in JSON and HTML, and in
base64. If the exact place of a secret is unknown, its whole word or the whole text is masked.
"""

import base64
import html
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, urlsplit

from loadkit.target import Target, masked

__all__ = [
    "HIDDEN",
    "READ",
    "SHOWN",
    "Hiding",
    "Mask",
    "also_hiding",
    "has_secret_name",
    "length_only",
    "secrets_of_headers",
]

HIDDEN = "***"
SHOWN = 600
"""Characters of a body, a message or a statement that an example shows."""
READ = 4 * SHOWN
"""Characters of it that are searched for secrets."""
_SHORTEST = 4
"""Least length, in characters, of a secret that is masked wherever it occurs.

Shorter ones are common words."""
_LONG = 8
"""Least length, in characters, of the beginning of a secret that is masked wherever it occurs."""
_MOST_DECODED = 10
"""Most forms of a text, decoded or not, that are searched."""
_MOST_FOUND = 200
"""Secrets of one exchange above which decoded forms of its texts are not read for more.

At most twice as many are masked in all its texts."""
_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|auth(?!or(?!i[sz]))|cookie|api[-_ ]?key|access[-_]?key|"
    r"private[-_]?key|credential|signature|session[-_]?id|jwt|canary|dsn",
    re.IGNORECASE,
)
_MEMBER = re.compile(
    rf"(?:{_NAME.pattern})[\w.\-]{{0,64}}[\\\"'\])]{{0,6}}\s{{0,4}}(?:=>|[:=]|(?=\s'))\s{{0,4}}"
    r"(?:(?:bearer|basic|token|digest)\s{1,4})?",
    re.IGNORECASE,
)
"""The name of a secret, in JSON, a form, a header, a log or SQL, up to its value."""
_OPENING = re.compile(r"(\\*)([\"'])")
_VALUE = re.compile(r"[^\s&;,\"'<>)}\]]*")
_CREDENTIAL = re.compile(
    r"\b(?:bearer|basic)\s{1,4}[A-Za-z0-9+/=_.~\-]{8,}|\beyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){0,2}",
    re.IGNORECASE,
)
"""The credentials of a header, or a JSON Web Token."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{8,}")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_WORDS = frozenset({"true", "false", "null", "none", "bearer", "basic", "token", "digest", HIDDEN})
"""Values of members that are not secret."""
_WORD, _SPACE = re.compile(r"\S+"), re.compile(r"\s")
_REST = re.compile(r"\S*")
"""The possible rest of a secret, if only its beginning matches a known secret."""


def has_secret_name(name: str) -> bool:
    """Is this the name of a header, a member or a column whose values are secret?"""
    return _NAME.search(name) is not None


def secrets_of_headers(headers: Mapping[str, str]) -> list[str]:
    """The values of headers with secret names, and the parts of those values."""
    found = [value for name, value in headers.items() if has_secret_name(name)]
    return found + [part for value in found for part in re.split(r"[\s;,=]+", value)]


def length_only(value: object) -> str:
    """The type and the length of a value, which are shown instead of the value."""
    kind = type(value).__name__
    return f"{HIDDEN} ({kind}, {len(value)} long)" if isinstance(value, str | bytes) else f"{HIDDEN} ({kind})"


_OF_USER: ContextVar[Collection[str]] = ContextVar("secrets of the user", default=())


@contextmanager
def also_hiding(secrets: Collection[str]) -> Iterator[None]:
    """Also hide the secrets of one user's data in examples that are described in this context."""
    token = _OF_USER.set(secrets)
    try:
        yield
    finally:
        _OF_USER.reset(token)


class Mask:
    """The secrets that the suite knows of a target."""

    __slots__ = ("_index", "_known")

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = known
        self._index: _Index | None = None
        """None until the first example."""

    @classmethod
    def of(cls, target: Target) -> Self:
        """The secrets of a target: of its accounts and of its addresses."""
        found = [
            text
            for account in target.accounts
            for text in (account.password.reveal(), account.canary.reveal())
        ]
        for address in (target.websocket, target.database):
            found += _secrets_of_address(address.reveal())
        return cls(found)

    def hiding(self, *texts: str, secrets: Iterable[str] = ()) -> "Hiding":
        """A `Hiding` of the known secrets, given ones, and values with secret names in `texts`."""
        found = [*secrets, *_OF_USER.get()]
        for text in texts:
            for decoded in _decoded(text[:READ]):
                found += _named(decoded)
                if len(found) > _MOST_FOUND:
                    break
        if self._index is None:
            self._index = _Index(self._known)
        return Hiding((self._index, _Index(found[: 2 * _MOST_FOUND])))


class Hiding:
    """Hides the secrets of one exchange."""

    __slots__ = ("_indices",)

    def __init__(self, indices: tuple["_Index", ...]) -> None:
        self._indices = indices

    def head(self, text: str) -> str:
        """The beginning of a text, masked; "…" says that more followed."""
        shown = self(text)
        return shown[:SHOWN] + (" …" if len(shown) > SHOWN or len(text) > READ else "")

    def __call__(self, text: str) -> str:
        """At most `READ` characters of a text, masked."""
        is_cut, text = len(text) > READ, text[:READ]
        text = _CREDENTIAL.sub(HIDDEN, str(masked(_without_members(text))))
        text = self._without(text, is_cut=is_cut)
        left = list(self._left(text, is_cut=is_cut))
        if not left:
            return text
        # A secret is left whose encoding does not show where it begins and ends.
        if any(_SPACE.search(each) for each in left):
            return HIDDEN
        text = _WORD.sub(lambda word: HIDDEN if any(self._left(word[0], is_cut=is_cut)) else word[0], text)
        return HIDDEN if any(self._left(text, is_cut=is_cut)) else text

    def _without(self, text: str, *, is_cut: bool) -> str:
        spans = sorted(span for index in self._indices for span in index.spans(text, is_cut=is_cut))
        parts, end = [], 0
        for start, stop in spans:
            if stop <= end:
                continue
            if start >= end:
                parts += [text[end:start], HIDDEN]
            end = stop
        return "".join((*parts, text[end:]))

    def _left(self, text: str, *, is_cut: bool) -> Iterator[str]:
        """The secrets that are left in a text and in its decoded forms."""
        for decoded in _decoded(text):
            for index in self._indices:
                for start, end in index.spans(decoded, is_cut=is_cut):
                    yield decoded[start:end]


class _Index:
    """Finds secrets in a text; the time does not grow with their number."""

    __slots__ = ("_all", "_beginnings", "_lengths", "_sorted")

    def __init__(self, secrets: Iterable[str]) -> None:
        self._all = frozenset(
            form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)
        )
        self._sorted = sorted(self._all)
        self._beginnings = frozenset(secret[:_SHORTEST] for secret in self._all)
        self._lengths = sorted({len(secret) for secret in self._all}, reverse=True)

    def spans(self, text: str, *, is_cut: bool = False) -> Iterator[tuple[int, int]]:
        """The places of secrets and of long beginnings of secrets: start and end of each.

        Args:
            text: the text to search.
            is_cut: may the text end in the middle of a secret? Then a short beginning at its end
                counts too.

        """
        beginnings = self._beginnings
        if not beginnings:
            return
        for place in range(len(text) - _SHORTEST + 1):
            if text[place : place + _SHORTEST] not in beginnings:
                continue
            length = next((each for each in self._lengths if text[place : place + each] in self._all), 0)
            beginning = self._common(text[place : place + self._lengths[0]])
            if beginning > length and (beginning >= _LONG or (is_cut and place + beginning == len(text))):
                rest = _REST.match(text, place + beginning)
                length = rest.end() - place if rest else beginning
            if length:
                yield place, place + length

    def _common(self, text: str) -> int:
        """The length of the longest common beginning of a text and any secret, in characters."""
        place = bisect_left(self._sorted, text)
        return max((_common(text, each) for each in self._sorted[max(0, place - 1) : place + 1]), default=0)


def _forms(secret: str) -> set[str]:
    """The forms of a secret in texts that are not decoded: in JSON, HTML, SQL and addresses."""
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        html.escape(secret),
        html.escape(secret, quote=False),
        secret.replace("'", "''"),
        quote(secret, safe=""),
        quote_plus(secret),
    }


def _common(one: str, other: str) -> int:
    length = min(len(one), len(other))
    return next((place for place in range(length) if one[place] != other[place]), length)


def _secrets_of_address(address: str) -> list[str]:
    """The credentials of an address, and the secret values of its query or "key=value" pairs."""
    found = _named(address)
    try:
        parts = urlsplit(address)
        found += [unquote(each) for each in (parts.password, parts.netloc.rpartition("@")[0]) if each]
        found += [value for name, value in parse_qsl(parts.query) if has_secret_name(name)]
    except ValueError:  # brackets that do not close
        found.append(address)
    return found


def _members(text: str) -> Iterator[tuple[int, int]]:
    """The places of the values that have a secret name, without their quotes."""
    end = 0
    for name in _MEMBER.finditer(text):
        if name.end() < end:
            continue  # within the previous one
        start, end = _value(text, name.end())
        if start < end:
            yield start, end


def _value(text: str, start: int) -> tuple[int, int]:
    """The start and the end of the value that begins at `start`, complete or cut off."""
    if text[start : start + 1] in {"{", "["}:
        return start, _end_of_structure(text, start)
    opening = _OPENING.match(text, start)
    if opening is None:
        value = _VALUE.match(text, start)
        return start, value.end() if value else start
    return opening.end(), _end_of_string(text, opening)


def _end_of_string(text: str, opening: re.Match[str]) -> int:
    place, escapes, quote = opening.end(), len(opening[1]), opening[2]
    while (place := text.find(quote, place)) >= 0:
        before = len(text[:place]) - len(text[:place].rstrip("\\"))
        if before == escapes or (escapes == 0 and before % 2 == 0):
            return place - escapes
        place += 1
    return len(text)


def _end_of_structure(text: str, start: int) -> int:
    depth, place = 0, start
    while place < len(text):
        letter = text[place]
        if letter == '"':
            opening = _OPENING.match(text, place)
            assert opening is not None
            place = _end_of_string(text, opening)
        depth += (letter in "{[") - (letter in "}]")
        place += 1
        if not depth:
            return place
    return len(text)


def _without_members(text: str) -> str:
    parts, end = [], 0
    for start, stop in _members(text):
        parts += [text[end:start], HIDDEN]
        end = stop
    return "".join((*parts, text[end:]))


def _named(text: str) -> list[str]:
    """The values that have a secret name in a text, and the parts of each value."""
    found = []
    for start, end in _members(text):
        value = text[start:end]
        found += [value, *re.split(r"[\s;,=\"'{}\[\]:\\&]+", value)]
    return [each for each in found if each.lower() not in _WORDS and not _NAME.fullmatch(each)]


def _decoded(text: str) -> list[str]:
    """A text, and its forms after one and after two steps of decoding, by all decoders."""
    found, begun = [text], 0
    for _ in range(2):
        begun, beginning = len(found), begun
        for each in found[beginning:begun]:
            for decode in _DECODERS:
                decoded = decode(each)
                if decoded and decoded not in found and len(found) < _MOST_DECODED:
                    found.append(decoded)
    return found


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(
        lambda found: chr(int(found[1] or found[2], 16)) if found[1] or found[2] else found[3], text
    )


def _undoubled(text: str) -> str:
    return text.replace("''", "'")


def _of_base64(text: str) -> str:
    """The decoded parts of a text that may be base64, one per line."""
    found = []
    for part in _BASE64.findall(text):
        for skipped in range(4):  # other letters may stand before it
            letters = part[skipped:].replace("-", "+").replace("_", "/")
            content = base64.b64decode(letters[: len(letters) // 4 * 4])
            decoded = content.decode("utf-8", "ignore")
            if len(decoded) > len(content) // 2 and decoded.isprintable():
                found.append(decoded)
    return "\n".join(found)


_DECODERS: tuple[Callable[[str], str], ...] = (
    unquote_plus,
    _unescaped,
    html.unescape,
    _undoubled,
    _of_base64,
)
