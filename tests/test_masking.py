"""No form in which a secret stands in an exchange reaches an example, and masking has a bounded cost."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.drivers.masking import HIDDEN, READ, SHOWN, Mask, has_secret_name
from loadkit.target import Account, Address, Secret, Target

SECRET = "pä55 W/rd'&\"x<42>"
"""It differs in each encoding."""
PLAIN = "S3CRET-text"


def shown(text, known=(SECRET, PLAIN), *, secrets=()):
    return Mask(known).hiding(text, secrets=secrets).head(text)


def base64_of(text):
    return base64.b64encode(text.encode()).decode()


ENCODINGS = {
    "as it is": str,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded in lower case": lambda text: quote(text, safe="").replace("%C3%A4", "%c3%a4"),
    "percent-encoded twice": lambda text: quote(quote(text, safe="")),
    "in a form": quote_plus,
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON without escapes": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text))[1:-1],
    "all in unicode escapes": lambda text: "".join(f"\\u{ord(letter):04x}" for letter in text),
    "in HTML": lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;"),
    "in SQL": lambda text: text.replace("'", "''"),
    "Basic authentication": lambda text: base64_of(f"ann:{text}"),
    "Basic authentication of another user": lambda text: base64_of(f"anna:{text}"),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(f"?>?:{text}".encode()).decode(),
    "base64 in a query": lambda text: quote(base64_of(f"ann:{text}"), safe=""),
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("around", ["%s", "no right for %s here", '{"seen": "%s", "n": 1}', "a=1&b=%s&c=2"])
@pytest.mark.parametrize("secret", [SECRET, PLAIN], ids=["special", "plain"])
def test_a_known_secret_is_masked_in_every_encoding(encode, around, secret):
    text = around % encode(secret)
    assert encode(secret) in text
    told = shown(text)
    assert HIDDEN in told
    assert encode(secret) not in told
    for end in ("x<42>", "-text", "x&lt;42"):  # and no rest of it
        assert end not in told


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"a": {"b": [{"password": PLAIN}]}}),
        json.dumps({"credentials": {"user": "ann", "parts": ["x", {"of": PLAIN}]}, "n": 1}),
        json.dumps({"payload": json.dumps({"api_key": PLAIN})}),
        json.dumps({"payload": json.dumps({"deep": json.dumps({"Authorization": f"Bearer {PLAIN}"})})}),
        json.dumps({"secret": PLAIN})[:-4],
        json.dumps({"secret": {"of": PLAIN}})[:-4],
        f"name=ann&password={PLAIN}&page=2",
        f"data={quote(json.dumps({'token': PLAIN}))}",
        f"/x?data={quote(json.dumps({'token': PLAIN}))}&page=2",
        f"Authorization: Bearer {PLAIN}",
        f"X-Api-Key:{PLAIN}",
        f"{{'password': '{PLAIN}'}}",
        f"host=db user=shop password={PLAIN} dbname=shop",
        f"password='{PLAIN}'",
        f"ALTER ROLE shop PASSWORD '{PLAIN}'",
        f"see postgresql://shop:{PLAIN}@db/shop?sslpassword={PLAIN}",
        f"jwt => {PLAIN}",
        base64_of(json.dumps({"password": PLAIN})),
        '{"passw\\u006frd": "' + PLAIN + '"}',
    ],
)
def test_a_value_with_a_secret_name_is_masked_though_nobody_knew_it(text):
    told = shown(text, known=())
    assert PLAIN not in told
    assert base64_of(json.dumps({"password": PLAIN})) not in told


def test_a_secret_that_one_text_names_is_masked_in_the_others():
    hiding = Mask().hiding(json.dumps({"password": PLAIN}), f"no user has {PLAIN}")
    assert hiding(f"no user has {PLAIN}") == f"no user has {HIDDEN}"


@pytest.mark.parametrize(
    "text", ["Bearer abcdefgh.ijk", "see eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmF0dXJl"]
)
def test_what_looks_like_a_credential_is_masked(text):
    assert shown(text, known=()) in {HIDDEN, f"see {HIDDEN}"}


@pytest.mark.parametrize("cut", range(4, len(PLAIN)))
def test_a_secret_that_the_end_of_what_is_read_cuts_is_masked(cut):
    text = "x" * (READ - cut) + PLAIN
    assert PLAIN[:4] not in Mask([PLAIN]).hiding(text)(text)


@pytest.mark.parametrize("place", range(SHOWN - len(PLAIN) - 2, SHOWN + 2))
def test_a_secret_that_the_end_of_what_is_shown_cuts_is_masked(place):
    assert PLAIN[:4] not in shown("x" * place + " " + PLAIN + "y" * 900)


def test_masking_a_long_secret_shows_nothing_from_behind_what_was_read():
    text = '{"token": "' + "t" * 2300 + '", "n": "' + "x" * 60 + PLAIN
    assert PLAIN[:4] not in shown(text)


def test_the_beginning_of_a_secret_that_the_service_has_cut_is_masked():
    assert shown(f"no right for {PLAIN[:8]}…") == f"no right for {HIDDEN}"


def test_a_short_secret_masks_no_common_word():
    assert shown("the cat sat", known=("cat", "at")) == "the cat sat"


@pytest.mark.parametrize(
    "text",
    [
        '{"error": "no room", "author": "ann", "n": 17}',
        "status=paid&page=2",
        'relation "event" does not exist',
        "https://shop.example.com/events/7",
    ],
)
def test_what_is_no_secret_is_shown(text):
    assert shown(text) == text


def test_the_secrets_of_a_target_are_those_of_its_accounts_and_addresses():
    target = Target(
        "t", "http://h", Address("wss://ws:WSPASS%2F1@h/?token=WSTOKEN"), Address("postgresql://shop:DB%25PASS@h/shop"),
        accounts=(Account("ann", Secret("ANNPASS"), canary=Secret("CANARY-1")),),
    )  # fmt: skip
    mask = Mask.of(target)
    for secret in ("WSPASS/1", "WSTOKEN", "DB%PASS", "ANNPASS", "CANARY-1"):
        text = f"seen: {secret}!"
        assert mask.hiding(text)(text) == f"seen: {HIDDEN}!", secret


def test_a_connection_string_of_pairs_is_searched_for_its_password():
    mask = Mask.of(Target("t", "http://h", database=Address("host=db user=shop password=DBPASS")))
    assert mask.hiding("x")("no DBPASS") == f"no {HIDDEN}"


@given(st.text(max_size=60), st.text(min_size=4, max_size=20), st.text(max_size=60))
def test_a_known_secret_is_masked_in_any_text(before, secret, after):
    text = f"{before}{secret}{after}"
    told = Mask([secret]).hiding(text)(text)
    assert secret not in told.replace(HIDDEN, "")
    # masking may bring a secret's parts together only where the secret is made of the mask itself
    assert secret not in told or set(secret) & set(HIDDEN)


@pytest.mark.parametrize(
    "text",
    ['"' * 10**6, "\\" * 10**6, "{" * 10**6, "password=" * 10**5, "password" * 10**5, "%25" * 10**6, "eyJa" * 10**6,
     'token\\"' * 10**5, "auth " * 10**6, "=\"'" * 10**6, "QUJD" * 10**6, "''" * 10**6, "pass" * 10**6],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_of_a_very_long_text_only_the_beginning_is_looked_through(text):
    known = [f"pass-{number:05}" for number in range(20_000)]
    mask = Mask(known)
    told = mask.hiding(text).head(text)
    assert told == mask.hiding(text[: READ + 1]).head(text[: READ + 1])
    assert len(told) <= SHOWN + 2


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "X-Auth-Token",
        "api_key",
        "apiKey",
        "Set-Cookie",
        "clientSecret",
        "PGPASSWORD",
        "sessionId",
    ],
)
def test_these_names_are_of_secrets(name):
    assert has_secret_name(name)


@pytest.mark.parametrize("name", ["author", "authors", "status", "tenant", "user", "passage", "compass"])
def test_these_names_are_not_of_secrets(name):
    assert not has_secret_name(name)
