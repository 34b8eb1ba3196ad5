"""The live line tells how a load goes, and leaves nothing behind on a terminal."""

import io
import math
import sys

import pytest

from loadkit.engine.progress import Progress
from loadkit.live.terminal import line, watcher


def now(elapsed=133.0, **changes):
    usual = {
        "elapsed": elapsed, "seconds": 420.0, "phase": "hold", "users": 1000, "rate": 1240.4, "p50": 0.0021,
        "p95": 0.00431, "p99": 0.009, "errors": 0.0, "health": "ok",
    }  # fmt: skip
    return Progress(**{**usual, **changes})


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    def become(stream):
        monkeypatch.setattr(sys, "__stderr__", stream)
        return stream

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    return become


def test_the_line_tells_where_the_run_is_and_how_it_goes():
    told = line("Run A: 1000 users", now())
    assert told == (
        "Run A: 1000 users  2:13/7:00 hold  1000 held  1240/s  "
        "p50 2.1 ms  p95 4.31 ms  p99 9 ms  failed 0 %  generator ok"
    )


def test_a_load_of_messages_tells_messages_and_connections():
    told = line("Run B", now(rate=0.0, messages=11000.0, connections=1000))
    assert "1000 held  1000 open  11,000 messages/s  p50" in told
    assert "1000 open  11,000 messages/s  5/s  p50" in line(
        "Run B", now(rate=5.0, messages=11000.0, connections=1000)
    )


def test_what_ails_the_generator_is_told_in_its_own_words():
    assert line("Run A", now(health="generator 11 ms late")).endswith("  failed 0 %  generator 11 ms late")


def test_open_load_holds_no_users_and_a_second_without_success_has_no_percentile():
    told = line("Run B", now(users=0, p50=math.nan, p95=math.nan, p99=math.nan, errors=1.0))
    assert "held" not in told
    assert "p50 -  p95 -  p99 -" in told
    assert "failed 100 %" in told


def test_before_the_start_it_counts_down():
    assert line("Run A", now(elapsed=-3.2)) == "Run A  starts in 3 s"


def test_where_nothing_can_be_renewed_there_is_a_line_every_ten_seconds(stderr):
    stream = stderr(io.StringIO())
    with watcher("Run A") as show:
        for second in range(-2, 31):
            show(now(elapsed=float(second)))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "Run A  starts in 2 s"
    assert [text.split()[2] for text in lines[1:]] == ["0:08/7:00", "0:18/7:00", "0:28/7:00"]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_line_is_renewed_and_taken_away_at_the_end(stderr):
    stream = stderr(Terminal())
    with watcher("Run A") as show:
        show(now(elapsed=1.0))
        show(now(elapsed=2.0))
    written = stream.getvalue()
    assert "0:01/7:00" in written
    assert "0:02/7:00" in written
    erased = "\x1b[2K"
    assert written.rindex(erased) > written.rindex("0:02/7:00")


def test_on_a_narrow_terminal_nothing_of_it_is_cut_off(stderr, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = stderr(Terminal())
    with watcher("Run A: 1000 users") as show:
        show(now())
    for told in ("1240/s", "p99 9 ms", "generator ok"):
        assert told in stream.getvalue()


def test_it_is_taken_away_also_when_the_run_is_interrupted(stderr):
    stream = stderr(Terminal())

    def interrupted():
        with watcher("Run A") as show:
            show(now())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().rindex("\x1b[2K") > stream.getvalue().rindex("2:13/7:00")


def test_it_writes_to_the_real_standard_error_and_not_to_one_that_behave_has_put_in_its_place(
    stderr, monkeypatch
):
    real, captured = stderr(io.StringIO()), io.StringIO()
    monkeypatch.setattr(sys, "stderr", captured)
    with watcher("Run A") as show:
        show(now())
    assert real.getvalue()
    assert not captured.getvalue()
