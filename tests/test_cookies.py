"""The cookies of one user."""

import itertools
import time

import httpx
import pytest

from loadkit.drivers.http.cookies import Cookies

HOST = "www.shop.example"
A = b"cookie: a=1\r\n"
PAST, FUTURE = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2100 23:59:59 GMT"
CASES = [
    (["a=1"], "/x", A, "a cookie goes back where it came from"),
    (["a=1; Path=/"], "/y/z?q", A, "a cookie of the root goes everywhere"),
    (["a=1; Path=/admin"], "/administer", b"", "a path is compared by its parts"),
    (["a=1; Path=/admin"], "/admin/users", A, "and holds for all below it"),
    (["a=1; Path=/admin/"], "/admin", b"", "a path that ends in a slash needs it"),
    (["a=1; Path=admin"], "/y", A, "a path that is none is as if it were not there"),
    (["a=1; Path=/", "b=2; Path=/"], "/", b"cookie: a=1; b=2\r\n", "several go in one line"),
    (["a=1; Path=/", "b=2; Path=/y"], "/y", b"cookie: b=2; a=1\r\n", "those of longer paths go first"),
    (["a=0; Path=/", "b=2; Path=/", "a=1; Path=/"], "/", b"cookie: a=1; b=2\r\n", "a new value takes the old one's place"),
    (["a=1; Path=/", "a=2; Path=/"], "/", b"cookie: a=2\r\n", "the last one counts"),
    (["a=1; Path=/", "a=; Path=/; Max-Age=0"], "/", b"", "one whose time is over is forgotten"),
    (["a=1; Path=/", "a=; Path=/; Max-Age=-1"], "/", b"", "a negative time is over too"),
    ([f"a=1; Path=/; Expires={PAST}"], "/", b"", "a date that is past is one whose time is over"),
    ([f"a=1; Path=/; Expires={FUTURE}"], "/", A, "a date to come is not"),
    (["a=1; Path=/; Expires=Thu Jan  1 00:00:00 1970"], "/", b"", "dates are read as C writes them"),
    (["a=1; Path=/; Expires=Thursday, 01-Jan-70 00:00:00 GMT"], "/", b"", "and with hyphens and two digits"),
    ([f"a=1; Path=/; Expires={PAST}; Max-Age=60"], "/", A, "an age counts before a date"),
    ([f"a=1; Path=/; Max-Age=0; Expires={FUTURE}"], "/", b"", "wherever it stands"),
    ([f"a=1; Path=/; Max-Age=x; Expires={PAST}"], "/", b"", "an age that cannot be read leaves it to the date"),
    ([f"a=1; Path=/; Expires={PAST}; Expires=x"], "/", b"", "a date that cannot be read leaves it to the one before"),
    ([f"a=1; Path=/; Expires={PAST}; Expires={FUTURE}"], "/", A, "of two dates the last counts"),
    (["a=1; Path=/; Expires=rubbish; Max-Age=x"], "/", A, "what cannot be read says nothing"),
    (["a=1; Path=/; Expires=Mon, 32 Jan 1970 00:00:00 GMT"], "/", A, "nor does a day that no month has"),
    (["a=1; Path=/; Max-Age=-0_1"], "/", A, "an age is digits, not what Python takes for a number"),
    (["a=1; Path=/; Max-Age=" + "9" * 5000], "/", A, "however many there are"),
    (["a=b=c; Path=/; HttpOnly"], "/", b"cookie: a=b=c\r\n", "a value may hold an equals sign"),
    ([" a = 1 ; Path=/"], "/", A, "blanks around the name and the value are none of them"),
    (["rubbish"], "/", b"", "what is no pair is no cookie"),
    (["=1; Path=/"], "/", b"", "what has no name is no cookie"),
    (["a=1; Path=/; Secure"], "/", b"", "one that asks for TLS is not kept without it"),
    (["a=1; Path=/; secure=yes"], "/", b"", "however it asks"),
    (["a=1; Path=/", "a=2; Path=/; Secure"], "/", A, "and replaces none"),
    (["a=1; Path=/; Domain=stranger.example"], "/", b"", "a stranger's cookie is refused"),
    (["a=1; Path=/; Domain=op.example"], "/", b"", "domains are compared by their parts"),
    (["a=1; Path=/; Domain=deep.www.shop.example"], "/", b"", "a domain below the host is a stranger"),
    (["a=1; Path=/; Domain=example"], "/", b"", "nobody sets cookies for a top-level domain"),
    (["a=1; Path=/; Domain=WWW.Shop.Example"], "/", A, "the host's own domain is none"),
    (["a=1; Path=/; Domain=.shop.example"], "/", A, "nor is one above it, with a dot before it"),
    (["a=1; Path=/; Domain=stranger.example; Domain=shop.example"], "/", A, "of two domains the last counts"),
    (["a=1; Path=/; Domain="], "/", A, "an empty domain is as if it were not there"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "path", "line", "sentence"), CASES, ids=[case[3] for case in CASES])
def test_cookies_are_kept_and_sent(said, path, line, sentence):
    cookies = Cookies(is_secure=False)
    cookies.take(HOST, "/x", said)
    assert cookies.line(HOST, path) == line, sentence


@pytest.mark.parametrize(
    ("host", "domain", "kept"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.1", False),
        ("::1", "::1", True),
        ("localhost", "localhost", True),
        ("a.localhost", "localhost", False),
        ("shop.example", "shop.example", True),
    ],
)
def test_an_address_and_a_bare_name_have_no_domain_above_them(host, domain, kept):
    cookies = Cookies(is_secure=False)
    cookies.take(host, "/", [f"a=1; Domain={domain}"])
    assert cookies.line(host, "/") == (A if kept else b"")


def test_a_cookie_of_a_domain_goes_to_its_hosts_and_one_of_a_host_to_it_alone():
    cookies = Cookies(is_secure=False)
    cookies.take(HOST, "/", ["a=1; Domain=shop.example", "b=2"])
    assert cookies.line("WWW.shop.example", "/") == b"cookie: a=1; b=2\r\n"
    assert cookies.line("shop.example", "/") == A
    assert cookies.line("api.shop.example", "/") == A
    assert cookies.line("deep.www.shop.example", "/") == A
    assert cookies.line("workshop.example", "/") == b""
    assert cookies.line("stranger.example", "/") == b""


def test_over_tls_a_cookie_that_asks_for_it_is_sent():
    cookies = Cookies(is_secure=True)
    cookies.take(HOST, "/", ["a=1; Secure"])
    assert cookies.line(HOST, "/") == A


@pytest.mark.parametrize("limit", ["Max-Age=60", "Expires=Thu, 01 Jan 2026 00:01:00 GMT"])
def test_a_cookie_is_sent_until_its_time_is_over(limit, monkeypatch):
    now = 1767225600.0  # 2026-01-01 00:00:00 UTC
    monkeypatch.setattr(time, "time", lambda: now)
    cookies = Cookies(is_secure=False)
    cookies.take(HOST, "/", [f"a=1; {limit}"])
    now += 59
    assert cookies.line(HOST, "/") == A
    now += 1
    assert cookies.line(HOST, "/") == b""


def test_a_date_is_utc_whatever_zone_the_machine_is_in(monkeypatch):
    now = 1767225600.0
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setenv("TZ", "XXX-12")
    time.tzset()
    try:
        cookies = Cookies(is_secure=False)
        cookies.take(HOST, "/", ["a=1; Expires=Thu Jan  1 00:01:00 2026"])
        assert cookies.line(HOST, "/") == A
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_a_path_a_cookie_belongs_to_the_folder_of_the_request():
    cookies = Cookies(is_secure=False)
    cookies.take(HOST, "/api/login?next=/", ["a=1"])
    assert cookies.line(HOST, "/api/me") == A
    assert cookies.line(HOST, "/other") == b""


DOMAINS = ["", "Domain=shop.example", "Domain=.www.shop.example", "Domain=stranger.example", "Domain=example"]
PATHS = ["", "Path=/", "Path=/api", "Path=/api/", "Path=/api/users"]
TIMES = ["", "Max-Age=0", "Max-Age=60", f"Expires={PAST}", f"Expires={FUTURE}", f"Max-Age=60; Expires={PAST}"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("asked", ["/", "/api", "/api/users?x=1", "/apis"])
@pytest.mark.parametrize("host", [HOST, "api.shop.example", "127.0.0.1"])
def test_one_cookie_is_sent_where_httpx_sends_it(scheme, host, asked):
    for domain, path, limit, secure in itertools.product(DOMAINS, PATHS, TIMES, ["", "Secure"]):
        field = "; ".join(part for part in ("a=1", domain, path, limit, secure) if part)
        ours, theirs = Cookies(is_secure=scheme == "https"), httpx.Cookies()
        ours.take(host, "/api/login", [field])
        asking = httpx.Request("GET", f"{scheme}://{host}/api/login")
        theirs.extract_cookies(httpx.Response(200, headers={"set-cookie": field}, request=asking))
        going = httpx.Request("GET", f"{scheme}://{host}{asked}")
        theirs.set_cookie_header(going)
        expected = going.headers.get("cookie", "")
        assert ours.line(host, asked).decode().removeprefix("cookie: ").strip() == expected, field
