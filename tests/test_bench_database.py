"""The arithmetic of the benchmark's part on the database."""

import pytest

from tests.bench.database import QUANTILES, database_table, latencies, pgbench_log, transactions_per_second

LOG = "".join(
    f"{number % 20} {number} {(2000 if number < 30 else 500 + number)} 0 {1_700_000_000 + number // 10} "
    f"{number % 10 * 100_000} {100 + number}\n"
    for number in range(100)
)
"""Ten transactions per second for ten seconds; those of the first three took 2 ms."""


def test_a_line_of_pgbenchs_log_has_the_time_since_it_was_due_and_how_late_it_was_sent():
    first, *_, last = pgbench_log(LOG)
    assert (first.ended, first.response, first.lag) == (1_700_000_000.0, 0.002, 0.0001)
    assert last.ended == pytest.approx(1_700_000_009.9, abs=1e-6)
    assert (last.response, last.lag) == pytest.approx((0.000599, 0.000199))


def test_the_first_two_seconds_of_a_schedule_do_not_count():
    found = latencies(pgbench_log(LOG))
    # Those of the third second still took 2 ms: 10 of 80.
    assert found.response == pytest.approx({0.5: 0.0005695, 0.95: 0.002, 0.99: 0.002}, abs=3e-6)
    assert found.lag[0.5] == pytest.approx(0.0001595, abs=2e-6)


def test_pgbenchs_rate_is_read_from_its_report():
    report = "latency average = 1.2 ms\ninitial connection time = 3.1 ms\ntps = 6716.78 (without initial connection time)\n"
    assert transactions_per_second(report) == 6716.78


def test_the_table_has_medians_and_ratios():
    quantiles = dict.fromkeys(QUANTILES, 0.001)
    rates = [
        {"kind": kind, "rows_per_second": rate}
        for kind, rate in (("loadkit", 50.0), ("psql", 100.0), ("pgbench", 200.0))
    ]
    ways = (
        "asyncpg", "asyncpg, transaction and tenant", "loadkit", "loadkit, with a tenant",
    )  # fmt: skip
    figures = {
        "copied": rates,
        "batched": rates,
        "queries": [
            {"query": "a key", "way": way, "us": time, "cpu_us": time / 2}
            for way, time in zip(ways, (100.0, 200.0, 110.0, 240.0), strict=True)
        ],
        "open": [
            {"kind": "loadkit", "rate": 500, "lag": quantiles, "response": {**quantiles, 0.99: longest}}
            for longest in (0.002, 0.004, 0.009)
        ],
    }
    lines = "\n".join(database_table(figures))
    assert "psql: 100 | 0.50 ×" in lines
    assert "pgbench: 200 | 0.25 ×" in lines
    assert "a key: loadkit | 110 | 1.10 × | 55 | 1.10 ×" in lines
    assert "a key: loadkit, with a tenant | 240 | 1.20 ×" in lines
    assert lines.rstrip().endswith("1.00 ms | 1.00 ms | 4.00 ms |")
