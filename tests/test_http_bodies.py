"""The bodies of answers: packed, large, broken, and as JSON."""

import gzip
import zlib

import httpx
import pytest

from tests.bad_servers import says
from tests.http_session import (
    outcomes,
    received,
)


def answer_with(body: bytes, *headers: bytes):
    head = b"".join(header + b"\r\n" for header in headers)
    return received([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body)])


def test_bodies_are_read_as_they_say_they_are():
    assert answer_with(b'{"a": 1}').json() == {"a": 1}
    assert answer_with("é".encode("latin-1"), b"content-type: text/plain; charset=latin-1").text == "é"
    assert answer_with("é".encode(), b"content-type: text/plain").text == "é"
    assert answer_with("é".encode(), b"content-type: text/plain; charset=unheard-of").text == "é"
    assert answer_with(zlib.compress(b"hello"), b"Content-Encoding: deflate").content == b"hello"
    assert answer_with(zlib.compress(b"hello", wbits=-15), b"CONTENT-ENCODING: deflate").content == b"hello"
    assert answer_with(b"", b"Content-Encoding: gzip").content == b""


PACKED, MORE, NOTHING = (gzip.compress(content, mtime=0) for content in (b"hello", b" again", b""))


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        ("gzip", PACKED + MORE, b"hello again"),
        ("x-gzip", PACKED + MORE + PACKED, b"hello againhello"),
        ("gzip", NOTHING, b""),
        ("gzip", NOTHING + PACKED + NOTHING + MORE + NOTHING, b"hello again"),
        ("gzip", PACKED + b"\0" * 512, b"hello"),
        ("gzip", PACKED + MORE + b"rubbish", b"hello again"),
        ("gzip", PACKED + b"\x1f", b"hello"),
        ("deflate", zlib.compress(b""), b""),
        ("deflate", zlib.compress(b"", wbits=-15), b""),
        ("deflate", zlib.compress(b"hello", level=0), b"hello"),
        ("deflate", zlib.compress(b"hello", level=0, wbits=-15), b"hello"),
        ("deflate", zlib.compress(b"hello") + b"rubbish", b"hello"),
        ("gzip, deflate", zlib.compress(PACKED + MORE), b"hello again"),
        ("identity, GZIP", PACKED, b"hello"),
        ("Identity", b"hello", b"hello"),
        ("", b"hello", b"hello"),
    ],
)
def test_every_member_of_a_body_is_read_and_what_is_none_behind_them_is_left(encoding, body, content):
    assert answer_with(body, b"Content-Encoding: " + encoding.encode()).content == content


@pytest.mark.parametrize(
    "body", [PACKED[:-1], PACKED + MORE[:-1], PACKED + b"\x1f\x8brubbish", PACKED[:-8] + b"\0" * 8]
)
def test_a_member_that_is_broken_or_cut_off_is_a_value_error(body):
    with pytest.raises(ValueError, match="the body is not gzip"):
        _ = answer_with(body, b"Content-Encoding: gzip").content


@pytest.mark.parametrize("wbits", [9, 15, -9, -15, 31])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_packed_body_is_what_httpx_makes_of_it(wbits, level):
    encoding = "gzip" if wbits > 15 else "deflate"
    for content in (b"", b"a", b"hello" * 1000, bytes(range(256)) * 40):
        packed = zlib.compress(content, level, wbits)
        expected = httpx.Response(200, headers={"content-encoding": encoding}, content=packed).content
        assert answer_with(packed, b"Content-Encoding: " + encoding.encode()).content == expected == content


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"a": 1}',
        b'{"a": NaN}',
        b"[Infinity, -Infinity]",
        *(
            '{"a": "é"}'.encode(f"utf-{bits}")
            for bits in ("8-sig", "16", "16-le", "16-be", "32", "32-le", "32-be")
        ),
        b'["\\ud800"]',
        b'{"a": [1, 2.5, null, true]}',
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_json_is_what_httpx_reads(body, pack):
    headers = [] if pack is bytes else [b"Content-Encoding: gzip"]
    expected = httpx.Response(200, content=body).json()
    # Their text is compared: NaN is unlike itself.
    assert repr(answer_with(pack(body), *headers).json()) == repr(expected)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{'a': 1}", b'{"a": 1} more', b'"\xff\xfe"', b"\xff\xfe\x00", b"[" * 200_000, b"nan"],
)
def test_what_is_no_json_is_a_value_error(body):
    with pytest.raises(ValueError, match="the body is not JSON") as caught:
        answer_with(body).json()
    assert caught.value.kind == "body is not JSON"


def test_a_body_that_is_not_what_it_says_is_a_value_error():
    with pytest.raises(ValueError, match="the body is not gzip") as caught:
        _ = answer_with(b"rubbish", b"Content-Encoding: gzip").content
    assert caught.value.kind == "body is not gzip"
    with pytest.raises(ValueError, match="cannot read a body in the encoding br") as caught:
        _ = answer_with(b"rubbish", b"Content-Encoding: br").content
    assert caught.value.kind == "body is neither gzip nor deflate"


def test_a_large_body_arrives_whole():
    body = bytes(range(256)) * 20_000
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    assert outcomes(says(raw), "GET")[0] == [(200, body)]
