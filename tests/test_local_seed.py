"""The seeded data: skewed, exact in number, the same from the same seed, and readable by COPY."""

import struct
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from environments.local import seed

END = 1_800_000_000.0


def chunks(events=20_000, number=1):
    return list(seed.make_chunks(events, number, seed.make_accounts(number), END))


@pytest.mark.parametrize("events", [1, 19, 1000, 260_001])
def test_there_are_exactly_so_many_events_and_every_one_has_a_session(events):
    made = chunks(events)
    assert sum(len(chunk.event_names) for chunk in made) == events
    assert sum(int(chunk.session_sizes.sum()) for chunk in made) == events


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    rows = [b"".join(seed.event_rows(chunk)) for chunk in chunks(2000)]
    assert rows == [b"".join(seed.event_rows(chunk)) for chunk in chunks(2000)]
    assert rows != [b"".join(seed.event_rows(chunk)) for chunk in chunks(2000, number=2)]


def test_tenants_and_names_follow_zipfs_law():
    (chunk,) = chunks(200_000)
    tenants = Counter(chunk.session_tenants[chunk.event_sessions].tolist())
    assert tenants[1] / 200_000 == pytest.approx(seed.zipf(50)[0], rel=0.1)
    assert tenants[1] / tenants[10] == pytest.approx(10, rel=0.35)
    names = np.bincount(chunk.event_names)
    assert names[0] / names[9] == pytest.approx(10, rel=0.1)


def test_events_lie_within_thirty_days_before_the_end_in_order_of_chunks():
    made = chunks(600_000)
    assert min(chunk.event_times.min() for chunk in made) >= END - 30 * 86_400
    assert max(chunk.event_times.max() for chunk in made) <= END
    assert all(one.session_starts.max() <= two.session_starts.min() for one, two in pairwise(made))


def test_a_sessions_user_belongs_to_its_tenant():
    tenant_of = {account.user: account.tenant for account in seed.make_accounts(1)}
    (chunk,) = chunks()
    pairs = zip(chunk.session_users.tolist(), chunk.session_tenants.tolist(), strict=True)
    assert all(tenant_of[user] == tenant for user, tenant in pairs)


def test_every_tenant_has_an_admin_and_a_member():
    accounts = seed.make_accounts(1)
    assert {account.tenant for account in accounts if account.role == "admin"} == set(range(1, 51))
    assert {account.tenant for account in accounts if account.role == "member"} == set(range(1, 51))
    assert sum(account.role == "admin" for account in accounts) == 1000


def test_binary_rows_are_what_copy_reads():
    ids = np.array([[1, 2], [3, 4]], dtype=np.uint64)
    rows = seed.binary_rows([("u16", ids), ("S2", b"ab"), (">f8", np.array([0.5, -1.0])), (">i4", None)])
    expected = b"".join(
        struct.pack(">hiQQi2sidi", 4, 16, *uuid, 2, b"ab", 8, value, -1)
        for uuid, value in (((1, 2), 0.5), ((3, 4), -1.0))
    )
    assert rows == expected
