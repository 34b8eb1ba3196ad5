"""Normalizes sentences that were pasted from a word processor, a chat or a web page."""

import re

__all__ = ["normalize"]

_QUOTATION = re.compile(
    r'"(?P<straight>[^"]+)"'
    r'|["“„”‟＂](?P<curly>[^"“„”‟＂]+)["“”‟＂]'
    r"|«\s*(?P<inward>[^«»]+?)\s*»"
    r"|»(?P<outward>[^«»]+)«"
    r"|(?<!\w)['‘’‚‹](?P<single>.+?)['‘’›](?!\w)"
)
"""A quotation. An apostrophe in a word is not a quote; spaces inside « » are not quoted text."""
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Soft hyphens, zero-width spaces, direction marks, byte order marks."""
_HYPHENS = re.compile("[\u2010-\u2015\u2212\ufe58\ufe63\uff0d]")
"""Non-breaking hyphens, dashes, minus signs."""
_APOSTROPHES = re.compile("[‘’ʼ]")
_SPACES = re.compile(r"\s+")
_FINAL = re.compile(r"[\s.,;:]+$")
"""Punctuation at the end of a sentence, of a list item, or of a line above a table."""


def normalize(sentence: str) -> str:
    """Return a sentence with plain spaces, quotes and hyphens, and without final punctuation.

    Quoted text is not changed; only the quotes around it become straight.
    """
    pieces, end = [], 0
    for quotation in _QUOTATION.finditer(sentence):
        quoted = next(text for text in quotation.groups() if text)
        pieces += [_outside_quotes(sentence[end : quotation.start()]), f'"{quoted}"']
        end = quotation.end()
    pieces.append(_outside_quotes(sentence[end:]))
    return _FINAL.sub("", "".join(pieces)).lstrip()


def _outside_quotes(text: str) -> str:
    for characters, plain in ((_INVISIBLE, ""), (_HYPHENS, "-"), (_APOSTROPHES, "'"), (_SPACES, " ")):
        text = characters.sub(plain, text)
    return text
