"""The cookies of one user."""

import pytest

from loadkit.drivers.http.cookies import Cookies

CASES = [
    (["a=1"], "/x", b"cookie: a=1\r\n", "a cookie goes back where it came from"),
    (["a=1; Path=/"], "/y/z?q", b"cookie: a=1\r\n", "a cookie of the root goes everywhere"),
    (["a=1; Path=/admin"], "/administer", b"", "a path is compared by its parts"),
    (["a=1; Path=/admin"], "/admin/users", b"cookie: a=1\r\n", "and holds for all below it"),
    (["a=1; Path=/admin/"], "/admin", b"", "a path that ends in a slash needs it"),
    (["a=1; Path=/", "b=2; Path=/"], "/", b"cookie: a=1; b=2\r\n", "several go in one line"),
    (["a=1; Path=/", "a=2; Path=/"], "/", b"cookie: a=2\r\n", "the last one counts"),
    (["a=1; Path=/", "a=; Path=/; Max-Age=0"], "/", b"", "one whose time is over is forgotten"),
    (["a=1; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], "/", b"", "a date that is past is one whose time is over"),
    (["a=1; Path=/; Expires=rubbish; Max-Age=x"], "/", b"cookie: a=1\r\n", "what cannot be read says nothing"),
    (["a=b=c; Path=/; HttpOnly; Secure"], "/", b"cookie: a=b=c\r\n", "a value may hold an equals sign"),
    (["rubbish"], "/", b"", "what is no pair is no cookie"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "path", "line", "sentence"), CASES, ids=[case[3] for case in CASES])
def test_cookies_are_kept_and_sent(said, path, line, sentence):
    cookies = Cookies()
    cookies.take("/x", said)
    assert cookies.line(path) == line, sentence


def test_without_a_path_a_cookie_belongs_to_the_folder_of_the_request():
    cookies = Cookies()
    cookies.take("/api/login?next=/", ["a=1"])
    assert cookies.line("/api/me") == b"cookie: a=1\r\n"
    assert cookies.line("/other") == b""
