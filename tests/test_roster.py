"""Which account a virtual user has."""

import math

import pytest

from loadkit.errors import ConfigurationError
from loadkit.target import Account, Secret, Target
from loadkit.users.accounts import AccountPool, demand
from loadkit.workload.workload import MixEntry, Model, Stage, Workload


def target(plain: int, admins: int, shares: bool = False) -> Target:
    accounts = [Account(f"u{number}", Secret("x")) for number in range(plain)]
    accounts += [Account(f"a{number}", Secret("x"), role="admin") for number in range(admins)]
    return Target("t", "http://t", accounts=tuple(accounts), shares_accounts=shares)


def names(account_pool: AccountPool, role: str) -> list[str]:
    return [account_pool.account(role, place).username for place in range(int(account_pool.places(role)))]


def test_accounts_go_to_those_who_ask_for_their_role():
    account_pool = AccountPool(target(2, 2), {"": 2, "admin": 2})
    assert names(account_pool, "admin") == ["a0", "a1"]
    assert names(account_pool, "") == ["u0", "u1"]


def test_what_a_role_leaves_over_is_for_those_who_ask_for_none():
    account_pool = AccountPool(target(1, 4), {"": 3, "admin": 2})
    assert names(account_pool, "admin") == ["a0", "a1"]
    assert names(account_pool, "") == ["u0", "a2", "a3"]


def test_roles_that_nobody_asks_for_are_for_everybody():
    assert names(AccountPool(target(1, 2), {"": 3}), "") == ["u0", "a0", "a1"]


def test_shared_accounts_go_round():
    account_pool = AccountPool(target(2, 0, shares=True), {"": 5})
    assert account_pool.places("") == math.inf
    assert [account_pool.account("", place).username for place in range(5)] == ["u0", "u1", "u0", "u1", "u0"]


def test_without_accounts_users_have_none():
    account_pool = AccountPool(Target("t", "http://t"), {"": 5})
    assert account_pool.account("", 3) is None
    account_pool.require({"": 5})


def test_too_few_accounts_are_refused():
    with pytest.raises(
        ConfigurationError, match="5 users need accounts of their own, the environment names 2"
    ):
        AccountPool(target(2, 0), {"": 5}).require({"": 5})


def test_a_role_without_any_account_is_refused_even_where_they_are_shared():
    with pytest.raises(ConfigurationError, match="accounts with the role admin"):
        AccountPool(target(2, 0, shares=True), {"admin": 1}).require({"admin": 1})


def test_the_users_of_a_closed_load_are_counted_by_the_role_of_what_they_do():
    mix = (MixEntry("m:a", 0.9), MixEntry("m:b", 0.1))
    needed = demand(Workload(Model.CLOSED, (Stage(0, 100),), mix), ["", "admin"])
    assert needed.keys() == {"", "admin"}
    assert needed[""] + needed["admin"] == 100
    assert needed["admin"] == pytest.approx(10, abs=1)


def test_those_of_an_open_load_by_what_there_may_be():
    mix = (MixEntry("m:a", 0.9), MixEntry("m:b", 0.1))
    load = Workload(Model.REQUESTS, (Stage(0, 100),), mix, max_in_flight=50)
    assert demand(load, ["", "admin"]) == {"": 45, "admin": 5}
