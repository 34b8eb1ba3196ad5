"""Which account a virtual user has."""

import math

import pytest

from loadkit.errors import ConfigurationError
from loadkit.target import Account, Secret, Target
from loadkit.users.accounts import AccountKind, AccountPool, demand, least_demand
from loadkit.workload.workload import MixEntry, Model, Stage, Workload

ANY, ADMINS = AccountKind(), AccountKind("admin")


def target(plain: int, admins: int, shares: bool = False) -> Target:
    accounts = [Account(f"u{number}", Secret("x")) for number in range(plain)]
    accounts += [Account(f"a{number}", Secret("x"), role="admin") for number in range(admins)]
    return Target("t", "http://t", accounts=tuple(accounts), shares_accounts=shares)


def names(account_pool: AccountPool, kind: AccountKind) -> list[str]:
    return [account_pool.account(kind, place).username for place in range(int(account_pool.places(kind)))]


def test_accounts_go_to_those_who_ask_for_their_role():
    account_pool = AccountPool(target(2, 2), {ANY: 2, ADMINS: 2})
    assert names(account_pool, ADMINS) == ["a0", "a1"]
    assert names(account_pool, ANY) == ["u0", "u1"]


def test_what_a_role_leaves_over_is_for_those_who_ask_for_none():
    account_pool = AccountPool(target(1, 4), {ANY: 3, ADMINS: 2})
    assert names(account_pool, ADMINS) == ["a0", "a1"]
    assert names(account_pool, ANY) == ["u0", "a2", "a3"]


def test_roles_that_nobody_asks_for_are_for_everybody():
    assert names(AccountPool(target(1, 2), {ANY: 3}), ANY) == ["u0", "a0", "a1"]


def test_shared_accounts_go_round():
    account_pool = AccountPool(target(2, 0, shares=True), {ANY: 5})
    assert account_pool.places(ANY) == math.inf
    assert [account_pool.account(ANY, place).username for place in range(5)] == ["u0", "u1", "u0", "u1", "u0"]


def test_without_accounts_users_have_none():
    account_pool = AccountPool(Target("t", "http://t"), {ANY: 5})
    assert account_pool.account(ANY, 3) is None
    account_pool.require({ANY: 5})


def test_too_few_accounts_are_refused():
    with pytest.raises(
        ConfigurationError, match="5 users need accounts of their own, the environment names 2"
    ):
        AccountPool(target(2, 0), {ANY: 5}).require({ANY: 5})


def test_a_role_without_any_account_is_refused_even_where_they_are_shared():
    with pytest.raises(ConfigurationError, match="accounts with the role admin"):
        AccountPool(target(2, 0, shares=True), {ADMINS: 1}).require({ADMINS: 1})


def test_the_users_of_a_closed_load_are_counted_by_the_role_of_what_they_do():
    mix = (MixEntry("m:a", 0.9), MixEntry("m:b", 0.1))
    needed = demand(Workload(Model.CLOSED, (Stage(0, 100),), mix), [ANY, ADMINS])
    assert needed.keys() == {ANY, ADMINS}
    assert needed[ANY] + needed[ADMINS] == 100
    assert needed[ADMINS] == pytest.approx(10, abs=1)


def test_those_of_an_open_load_by_what_there_may_be():
    mix = (MixEntry("m:a", 0.9), MixEntry("m:b", 0.1))
    load = Workload(Model.REQUESTS, (Stage(0, 100),), mix, max_in_flight=50)
    assert demand(load, [ANY, ADMINS]) == {ANY: 45, ADMINS: 5}


def test_each_worker_of_an_open_load_needs_an_account_for_each_entry_of_the_mix():
    mix = tuple(MixEntry(f"m:{name}", 0.2) for name in "abcde")
    kinds = [ANY, ANY, ADMINS, ANY, ANY]
    load = Workload(Model.REQUESTS, (Stage(0, 100),), mix)
    assert least_demand(load, kinds, 1) == {ANY: 4, ADMINS: 1}
    assert least_demand(load, kinds, 3) == {ANY: 12, ADMINS: 3}
    closed = Workload(Model.CLOSED, (Stage(0, 100),), mix)
    assert least_demand(closed, kinds, 3) == demand(closed, kinds) == {ANY: 80, ADMINS: 20}
    needed = demand(load, kinds)
    AccountPool(target(4, 1), needed).require(least_demand(load, kinds, 1))
    with pytest.raises(
        ConfigurationError, match="4 users need accounts of their own, the environment names 3"
    ):
        AccountPool(target(3, 1), needed).require(least_demand(load, kinds, 1))


# --- the users of one tenant


NOISY, NOISY_ADMINS = AccountKind("", "globex"), AccountKind("admin", "globex")


def of_tenants(count: int = 1000, admins: int = 0, shares: bool = False) -> Target:
    """Accounts of which each tenth is globex's; the last ones are admins."""
    tenants = ["globex" if number % 10 == 3 else "acme" for number in range(count)]
    roles = ["member"] * (count - admins) + ["admin"] * admins
    accounts = tuple(
        Account(f"u{number}", Secret("x"), tenant, role)
        for number, (tenant, role) in enumerate(zip(tenants, roles, strict=True))
    )
    return Target("t", "http://t", accounts=accounts, shares_accounts=shares)


def first(account_pool: AccountPool, kind: AccountKind, users: int) -> list[Account]:
    return [account_pool.account(kind, place) for place in range(users)]


def tenants_of(accounts: list[Account]) -> list[str]:
    return [account.tenant for account in accounts]


def test_a_noisy_tenant_leaves_the_other_users_the_accounts_that_they_have_without_it():
    alone, noisy = AccountPool(of_tenants(), {ANY: 100}), AccountPool(of_tenants(), {ANY: 100, NOISY: 90})
    usual, loud = first(noisy, ANY, 100), first(noisy, NOISY, 90)
    assert usual == first(alone, ANY, 100)
    assert tenants_of(usual).count("globex") == 10
    assert set(tenants_of(loud)) == {"globex"}
    assert len({account.username for account in usual + loud}) == 190
    noisy.require({ANY: 100, NOISY: 90})


def test_a_noisy_tenant_leaves_the_users_of_a_role_their_accounts_too():
    needed = {ANY: 100, ADMINS: 20}
    alone = AccountPool(of_tenants(admins=40), needed)
    noisy = AccountPool(of_tenants(admins=40), needed | {NOISY: 80, NOISY_ADMINS: 2})
    for kind, users in needed.items():
        assert first(noisy, kind, users) == first(alone, kind, users)
    assert {(each.tenant, each.role) for each in first(noisy, NOISY_ADMINS, 2)} == {("globex", "admin")}
    assert {(each.tenant, each.role) for each in first(noisy, NOISY, 80)} == {("globex", "member")}


def test_arrivals_of_a_noisy_tenant_leave_the_first_users_that_tenants_share():
    """An open load may need more users than there are accounts, and then it has those that there are."""
    alone = AccountPool(of_tenants(), {ANY: 5000})
    noisy = AccountPool(of_tenants(), {ANY: 5000, NOISY: 5000})
    assert first(noisy, ANY, 500) == first(alone, ANY, 500)
    assert noisy.places(ANY) == 950
    assert tenants_of(first(noisy, NOISY, 50)) == ["globex"] * 50
    noisy.require({ANY: 1, NOISY: 1})


def test_a_noisy_tenant_without_an_account_for_each_entry_of_its_mix_is_told_what_other_users_keep():
    pool = AccountPool(of_tenants(80), {ANY: 5000, NOISY: 5000})
    pool.require({ANY: 5, NOISY: 4})
    with pytest.raises(
        ConfigurationError,
        match="5 users need accounts of tenant globex of their own, the environment names 8, "
        "and other users keep 4 of them; name more",
    ):
        pool.require({ANY: 5, NOISY: 5})


def test_a_noisy_tenant_takes_no_accounts_away_where_users_share_them():
    pool = AccountPool(of_tenants(shares=True), {ANY: 1000, NOISY: 300})
    assert tenants_of(first(pool, ANY, 1000)).count("globex") == 100
    assert tenants_of(first(pool, NOISY, 300)) == ["globex"] * 300
    pool.require({ANY: 1000, NOISY: 300})


@pytest.mark.parametrize(("users", "noisy", "needed"), [(500, 60, 110), (100, 120, 120)])
def test_a_noisy_tenant_that_needs_the_accounts_of_its_usual_users_is_refused(users, noisy, needed):
    load = {ANY: users, NOISY: noisy}
    with pytest.raises(
        ConfigurationError,
        match=f"{needed} users need accounts of tenant globex of their own, the environment names 100;",
    ):
        AccountPool(of_tenants(), load).require(load)


# --- users in groups, each of one tenant


FIVES = AccountKind(group=5)


@pytest.mark.parametrize("needed", [{FIVES: 200}, {ANY: 300, FIVES: 200}, {FIVES: 23}], ids=str)
def test_each_group_is_of_one_tenant_and_large_tenants_have_more_groups(needed):
    tenants = ["globex" if number % 10 == 3 else "acme" for number in range(1000)]
    accounts = tuple(Account(f"u{number}", Secret("x"), tenant) for number, tenant in enumerate(tenants))
    pool = AccountPool(Target("t", "http://t", accounts=accounts), needed)
    pool.require(needed)
    users = needed[FIVES]
    members = first(pool, FIVES, users)
    groups = [set(tenants_of(members[at : at + 5])) for at in range(0, users, 5)]
    assert all(len(group) == 1 for group in groups)
    if users == 200:
        assert 1 <= groups.count({"globex"}) <= 10
    everybody = members + first(pool, ANY, needed.get(ANY, 0))
    assert len({account.username for account in everybody}) == len(everybody)
    assert first(pool, ANY, needed.get(ANY, 0)) == first(
        AccountPool(Target("t", "http://t", accounts=accounts), {ANY: 300}), ANY, needed.get(ANY, 0)
    )


def test_groups_have_no_account_of_a_noisy_tenant():
    needed = {ANY: 100, NOISY: 40, FIVES: 200}
    pool = AccountPool(of_tenants(), needed)
    pool.require(needed)
    everybody = [account.username for kind, users in needed.items() for account in first(pool, kind, users)]
    assert len(set(everybody)) == len(everybody)


def test_groups_of_a_role_have_accounts_of_that_role():
    pool = AccountPool(of_tenants(admins=40), {AccountKind("admin", group=4): 8})
    members = first(pool, AccountKind("admin", group=4), 8)
    assert {each.role for each in members} == {"admin"}
    assert [len(set(tenants_of(members[at : at + 4]))) for at in (0, 4)] == [1, 1]


def test_tenants_with_too_few_accounts_for_a_group_are_told_unless_accounts_are_shared():
    accounts = tuple(Account(f"u{number}", Secret("x"), f"t{number // 2}") for number in range(6))
    with pytest.raises(
        ConfigurationError,
        match="10 users need accounts in groups of 5 of one tenant of their own, the environment names 0",
    ):
        AccountPool(Target("t", "http://t", accounts=accounts), {FIVES: 10}).require({FIVES: 10})
    pool = AccountPool(Target("t", "http://t", accounts=accounts, shares_accounts=True), {FIVES: 20})
    pool.require({FIVES: 20})
    members = tenants_of(first(pool, FIVES, 20))
    assert [len(set(members[at : at + 5])) for at in range(0, 20, 5)] == [1] * 4
    assert len(set(members)) == 3
