"""Addresses show where something is, and never who may enter."""

import json
import pickle
from dataclasses import dataclass

import pytest

from loadkit.target import Address, Secret, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
        ("https://viewer:secret@host/path", "https://***@host/path"),
        ("https://secret@host", "https://***@host"),
        ("https://viewer:se%63ret%2F@host:80", "https://***@host:80"),
        ("https://viewer:sec/ret@host", "https://***"),
        ("https://viewer:7/secret@host", "https://***"),
        ("https://:7/secret@host/path?page=2", "https://***"),
        ("https://viewer:sec?ret@host", "https://***"),
        ("https://viewer:sec#ret@host", "https://***"),
        ("https://viewer:s@ecr/et@host", "https://***@host"),
        ("https://host/path?token=secret&page=2", "https://host/path?token=***&page=***"),
        ("https://host/?secret", "https://host/?***"),
        ("https://host/#access_token=secret", "https://host/#***"),
        (
            "postgresql://shop:secret@db:5432/shop?sslmode=require",
            "postgresql://***@db:5432/shop?sslmode=***",
        ),
        ("postgresql:///shop?host=/run&password=secret", "postgresql:///shop?host=***&password=***"),
        ("redis://:secret@127.0.0.1:6379/0", "redis://***@127.0.0.1:6379/0"),
        ("wss://[::1]:443/live", "wss://[::1]:443/live"),
        ("host=db user=shop password=secret", "***"),
        ("http://host/@me", "http://host/@me"),
        ("http://host:80/?mail=a@b", "http://host:80/?mail=***"),
        ("http://[::1/?token=secret", "http://[::1/?token=***"),
        ("127.0.0.1:8080/path", "127.0.0.1:8080/path"),
        ("viewer:secret", "***"),
        ("", ""),
    ],
)
def test_an_address_shows_where_something_is_and_never_who_may_enter(text, shown):
    address = Address(text)
    assert str(address) == f"{address}" == repr(address) == json.dumps(address, default=str)[1:-1] == shown
    assert address.reveal() == text


def test_an_address_is_masked_in_what_holds_it_and_is_no_text_that_json_or_joining_would_take():
    @dataclass(frozen=True, slots=True)
    class Service:
        url: Address

    service = Service(Address("http://viewer:secret@host"))
    assert "secret" not in repr(service)
    for leak in (
        lambda: json.dumps([service.url]),
        lambda: str.join("", [service.url]),
        lambda: service.url + "/",
    ):
        with pytest.raises(TypeError):
            leak()


def test_an_address_reaches_a_worker_whole():
    address = Address("http://viewer:secret@host")
    assert pickle.loads(pickle.dumps(address)).reveal() == address.reveal()
    assert pickle.loads(pickle.dumps(address)) == address


def test_an_address_is_there_or_not():
    assert Address("http://x")
    assert not Address("")
    assert not Secret("")


def test_every_address_in_a_text_or_in_plain_data_is_masked_and_the_rest_stays():
    text = (
        'no answer from http://viewer:secret@host:9090: see (https://x/?token=secret), "postgres://u:p@h/d".'
    )
    assert (
        masked(text)
        == 'no answer from http://***@host:9090: see (https://x/?token=***), "postgres://***@h/d".'
    )
    assert masked({"a": ["http://u:p@h", 1, None], "b": {"c": True}}) == {
        "a": ["http://***@h", 1, None],
        "b": {"c": True},
    }
    assert masked("nothing to hide: 10:20 a//b") == "nothing to hide: 10:20 a//b"


@pytest.mark.parametrize("password", ["it's-secret", 'a"secret', "12'34secret", "a'/secret", "7/secret"])
def test_a_quote_or_a_slash_in_a_password_leaves_nothing_of_it_in_a_text(password):
    shown = masked(f'no answer from "postgresql://shop:{password}@db/shop": see "http://x/a", \'http://y\'')
    assert "secret" not in shown
    assert "shop:" not in shown
    assert shown.endswith('": see "http://x/a", \'http://y\'')


def test_a_quote_ends_an_address_in_json_without_spaces():
    text = '{"self":"http://host/a","mail":"x@y","all":["http://host/b"],"owner":"x@y"}'
    assert masked(text) == text
