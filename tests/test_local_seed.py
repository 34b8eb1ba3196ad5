"""The seeded data: skewed, exact in number, the same from the same seed, and readable by COPY."""

import struct
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from environments.local import dataset, seed
from environments.local.errors import LocalError
from environments.local.layout import Layout

END = 1_800_000_000.0


def chunks(events=20_000, number=1):
    return list(dataset.make_chunks(events, number, dataset.make_accounts(number), END))


@pytest.mark.parametrize("events", [1, 19, 1000, 260_001])
def test_there_are_exactly_so_many_events_and_every_one_has_a_session(events):
    made = chunks(events)
    assert sum(len(chunk.event_names) for chunk in made) == events
    assert sum(int(chunk.session_sizes.sum()) for chunk in made) == events


def test_the_same_seed_gives_the_same_rows_and_another_gives_others():
    rows = [b"".join(dataset.event_rows(chunk)) for chunk in chunks(2000)]
    assert rows == [b"".join(dataset.event_rows(chunk)) for chunk in chunks(2000)]
    assert rows != [b"".join(dataset.event_rows(chunk)) for chunk in chunks(2000, number=2)]


def test_tenants_and_names_follow_zipfs_law():
    (chunk,) = chunks(200_000)
    tenants = Counter(chunk.session_tenants[chunk.event_sessions].tolist())
    assert tenants[1] / 200_000 == pytest.approx(dataset.zipf(50)[0], rel=0.1)
    assert tenants[1] / tenants[10] == pytest.approx(10, rel=0.35)
    names = np.bincount(chunk.event_names)
    assert names[0] / names[9] == pytest.approx(10, rel=0.1)


def hours(chunk, name):
    """The mean value of a metric of the largest tenant by the hour of the day."""
    mine = chunk.session_tenants[chunk.event_sessions] == 1
    mine &= chunk.event_names == [metric[0] for metric in dataset.METRICS].index(name)
    hour = (chunk.event_times[mine] // 3600 % 24).astype(int)
    return np.bincount(hour, chunk.event_values[mine], 24) / np.bincount(hour, minlength=24)


def test_events_follow_the_rhythm_of_the_day():
    (chunk,) = chunks(200_000)
    counts = np.bincount((chunk.event_times // 3600 % 24).astype(int))
    assert counts.argmax() in range(13, 18)
    assert counts.max() / counts.min() == pytest.approx(1.7 / 0.3, rel=0.15)


def test_latencies_are_high_at_the_hours_with_many_requests():
    (chunk,) = chunks(250_000)
    assert np.corrcoef(hours(chunk, "api.requests"), hours(chunk, "api.latency"))[0, 1] > 0.8
    assert abs(np.corrcoef(hours(chunk, "api.requests"), hours(chunk, "refund"))[0, 1]) < 0.6


def test_a_session_that_loads_slowly_also_renders_slowly():
    (chunk,) = chunks(250_000)
    names = [metric[0] for metric in dataset.METRICS]
    by_session = []
    for name in ("page.load_time", "render.time"):
        mine = chunk.event_names == names.index(name)
        owner, sessions = chunk.event_sessions[mine], len(chunk.session_sizes)
        total = np.bincount(owner, np.log(chunk.event_values[mine]), sessions)
        with np.errstate(invalid="ignore"):
            by_session.append(total / np.bincount(owner, minlength=sessions))
    both = np.isfinite(by_session).all(axis=0)
    assert np.corrcoef(by_session[0][both], by_session[1][both])[0, 1] > 0.3


def test_the_sums_are_those_of_the_events():
    (chunk,) = chunks(20_000)
    rollup = dataset.Rollup(END)
    rollup.add(chunk)
    rows = list(rollup.rows(range(1, dataset.TENANTS + 1)))
    assert sum(row[3] for row in rows) == 20_000
    assert sum(row[4] for row in rows) == pytest.approx(chunk.event_values.sum())
    assert rows == sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    days = np.datetime64("1970-01-01") + (chunk.event_times // 86_400).astype("timedelta64[D]")
    mine = (chunk.session_tenants[chunk.event_sessions] == 1) & (chunk.event_names == 0)
    expected = Counter(days[mine].tolist())
    assert {row[1]: row[3] for row in rows if (row[0], row[2]) == (1, "page.view")} == expected


def test_progress_tells_rows_per_second_and_the_time_left_at_most_twice_a_second():
    told, moments = [], iter([0.0, 0.2, 2.0, 2.1, 4.0])
    progress = seed.Progress(1000, told.append, lambda: next(moments))
    for done in (100, 500, 600, 1000):
        progress.at(done)
    assert told == [
        "seeding: [############------------] 500 of 1,000 events, 250 rows/s, 2 s left, then the indexes",
        "seeding: [########################] 1,000 of 1,000 events, 250 rows/s, 0 s left, then the indexes",
    ]


def test_a_disk_that_is_too_small_is_one_line_with_a_number_that_fits(tmp_path):
    layout = Layout(tmp_path, tmp_path)
    seed.check_space(layout, 1_000_000, 700_000_000)
    with pytest.raises(LocalError) as refusal:
        seed.check_space(layout, 10_000_000, 1_000_000_000)
    assert "10,000,000 events need 3.6 GB" in str(refusal.value)
    assert "1.0 GB are free: free some, or seed fewer, such as --events 2121k" in str(refusal.value)
    seed.check_space(layout, 2_121_000, 1_000_000_000)


def test_events_lie_within_thirty_days_before_the_end_in_order_of_chunks():
    made = chunks(600_000)
    assert min(chunk.event_times.min() for chunk in made) >= END - 30 * 86_400
    assert max(chunk.event_times.max() for chunk in made) < END  # at the end, the rows of runs begin
    assert all(one.session_starts.max() <= two.session_starts.min() for one, two in pairwise(made))


def test_a_sessions_user_belongs_to_its_tenant():
    tenant_of = {account.user: account.tenant for account in dataset.make_accounts(1)}
    (chunk,) = chunks()
    pairs = zip(chunk.session_users.tolist(), chunk.session_tenants.tolist(), strict=True)
    assert all(tenant_of[user] == tenant for user, tenant in pairs)


def test_every_tenant_has_an_admin_and_a_member():
    accounts = dataset.make_accounts(1)
    assert {account.tenant for account in accounts if account.role == "admin"} == set(range(1, 51))
    assert {account.tenant for account in accounts if account.role == "member"} == set(range(1, 51))
    assert sum(account.role == "admin" for account in accounts) == 1000


def test_rows_can_belong_to_tenants_and_users_with_other_ids_and_carry_a_runs_id():
    chunk = chunks(2000)[0]
    ids = dataset.RowIds(range(1001, 1001 + dataset.TENANTS), range(5001, 5001 + dataset.USERS), "a-run")
    owned = ids.owned(chunk)
    assert (owned.session_tenants == chunk.session_tenants + 1000).all()
    assert (owned.session_users == chunk.session_users + 5000).all()
    marked, plain = (b"".join(dataset.event_rows(chunk, run)) for run in ("a-run", ""))
    assert marked.count(b"\0\0\0\5a-run") == 2000
    assert len(marked) == len(plain) + 2000 * len("a-run")
    assert plain.count(b"\xff\xff\xff\xff") >= 2000  # a null is a width of -1


def test_binary_rows_are_what_copy_reads():
    ids = np.array([[1, 2], [3, 4]], dtype=np.uint64)
    rows = dataset.binary_rows([("u16", ids), ("S2", b"ab"), (">f8", np.array([0.5, -1.0])), (">i4", None)])
    expected = b"".join(
        struct.pack(">hiQQi2sidi", 4, 16, *uuid, 2, b"ab", 8, value, -1)
        for uuid, value in (((1, 2), 0.5), ((3, 4), -1.0))
    )
    assert rows == expected
