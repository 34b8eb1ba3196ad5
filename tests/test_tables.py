"""Tables of test data: what a row is, who gets it, and when there are too few."""

import json
import tracemalloc
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadkit.drivers.fake import Answer
from loadkit.engine.run import run
from loadkit.environment.environment import load
from loadkit.errors import ConfigurationError
from loadkit.recording.ending import Ending, EndingKind
from loadkit.tables import DataTable, Row, RowReader, TableChangedError, scan
from loadkit.target import Target
from loadkit.users.data import NO_ROWS, UserData, WorkerData, require_rows
from loadkit.users.row_demand import row_demand
from loadkit.verdict import Status
from loadkit.workload.workload import Lognormal, MixEntry, Model, Stage, Think
from tests.bad_servers import Server, always_says, in_a_thread
from tests.builders import judge, response_time
from tests.virtual_time import plan_of, simulate

ROOT = Path(__file__).parent.parent
ANSWERS = always_says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def csv_of(folder: Path, rows: int, column: str = "sku") -> Path:
    file = folder / "rows.csv"
    file.write_text(f"{column},price\n" + "".join(f"a{number},{number}\n" for number in range(rows)))
    return file


def table_of(folder: Path, rows: int, per: str = "operation", name: str = "products", **how) -> DataTable:
    column = "sku" if per == "operation" else "id"
    return scan(name, csv_of(folder, rows, column), per, repeat=how.get("repeat", False))


def test_rows_are_found_by_their_number_in_any_order(tmp_path: Path) -> None:
    table = table_of(tmp_path, 5000)
    assert (table.rows, table.columns) == (5000, ("sku", "price"))
    reader = RowReader(table)
    for number in (0, 1, 4999, 999, 1000, 2500, 2499, 3, 0):
        assert reader.row(number) == {"sku": f"a{number}", "price": str(number)}
    reader.close()


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"n": number, "tags": ["x"]}) + "\n" for number in range(3)) + "\n\n")
    reader = RowReader(scan("x", file, "user", repeat=False))
    assert reader.row(2) == {"n": 2, "tags": ["x"]}
    reader.close()


def test_quoted_fields_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes('\N{BOM}name,note\r\n"Ann, B.","says ""hi"""\r\n'.encode())
    reader = RowReader(scan("x", file, "user", repeat=False))
    assert reader.row(0) == {"name": "Ann, B.", "note": 'says "hi"'}
    reader.close()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "sku,price\na1,1\nsecret\n", "a.csv:3: it has 1 fields; expected 2, as in the header"),
        ("a.csv", "sku,sku\n1,2\n", "a.csv:1: columns 1 and 2 have the same name; expected a header of different names, such as "),
        ("a.csv", "sku,,price\n1,2,3\n", "a.csv:1: column 2 has no name; expected a header of different names, such as "),
        ("a.csv", "sku\ra1\r", "a.csv:1: a carriage return is inside; expected lines that end with LF or CRLF"),
        ("a.csv", "sku\na\n\0secret\n", "a.csv:3: it has a NUL byte; expected text in UTF-8"),
        ("a.csv", "sku,price\na1,1,secret\n", "a.csv:2: it has 3 fields; expected 2, as in the header"),
        ("a.csv", "sku\n" + "secret" * 30_000, "a.csv:2: a field is too long; expected at most 131,072 characters"),
        ("a.csv", "sku\n" + "secret" * 200_000, "a.csv:2: it is longer than 1,048,576 bytes; expected a row in each line"),
        ("a.csv", "secret" * 200_000, "a.csv:1: it is longer than 1,048,576 bytes; expected a row in each line"),
        ("a.jsonl", "{}\n", "a.jsonl:1: it is not a JSON object; expected one in each line, such as "),
        ("a.jsonl", "1\n", "a.jsonl:1: it is not a JSON object; expected one in each line, such as "),
        ("a.jsonl", '{"a": NaN}\n', "a.jsonl:1: it is not a JSON object; expected one in each line, such as "),
        ("a.jsonl", '{"a": ' + "[" * 9999 + "]" * 9999 + "}", "a.jsonl:1: it is not a JSON object; expected one in each "),
        ("a.jsonl", '{"a": 1, "a": "secret"}\n', "a.jsonl:1: a name occurs twice in an object; expected each once"),
        ("a.jsonl", '{"a": 1}\0\n', "a.jsonl:1: it has a NUL byte; expected text in UTF-8"),
        ("a.jsonl", '{"a": 1}\n' * 1500 + '{"b": "secret"}\n', 'a.jsonl:1501: it lacks "a", which the first row has; expected '),
        ("a.jsonl", '{"a": 1}\n{"a": 2, "b": 3}\n', 'a.jsonl:2: the first row has no "b"; expected the same names in each'),
        ("a.txt", "sku,price\na1,1\n", 'a.txt:1: it is not a JSON object; expected one in each line, such as {"sku": "a1"}, or CSV '),
        ("a.csv", "sku,price\n", "a.csv: it has a header and no rows; expected a row in each line"),
        ("a.csv", "", "a.csv: it is empty; expected a header and rows"),
        ("a.csv", "\n", "a.csv:1: it is empty; expected a header of different names, such as sku,price"),
        ("a.csv", 'sku\n"secret\nsecret"\n', "a.csv:2: its quotes do not match; expected each row in one line"),
        ("a.csv", "secret,other\nsecret\n", "a.csv:2: it has 1 fields; expected 2, as in the header"),
        ("a.csv", "sku\n" + "x\n" * 2500 + '"secret\n', "a.csv:2502: its quotes do not match; expected each "),
        ("a.jsonl", "", "a.jsonl: it is empty; expected a row in each line"),
        ("a.csv", 'sku\n"secret\n', "a.csv:2: its quotes do not match; expected each row in one line"),
        ("a.csv", "sku\na\n\nb\n", "a.csv:3: the line is empty; expected a row"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2: it is not a JSON object; expected one in each line, such as "),
        ("a.jsonl", '{"a": secret}\n', "a.jsonl:1: it is not a JSON object; expected one in each line, such as "),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_one_line_without_its_values(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        scan("x", tmp_path / name, "user", repeat=False)
    assert str(caught.value).startswith(said)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    for content in (b'{"a": 1}\n{"a": "\xe9"}\n', '{"a": 1}\n'.encode("utf-16")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            ConfigurationError, match=rf"{name}:\d: (it is not UTF-8|it has a NUL byte); expected "
        ):
            scan("x", tmp_path / name, "user", repeat=False)


def test_a_folder_and_a_missing_file_are_one_line(tmp_path: Path) -> None:
    for file, why in ((tmp_path, "is a directory"), (tmp_path / "none.csv", "no such file or directory")):
        with pytest.raises(ConfigurationError) as caught:
            scan("x", file, "user", repeat=False)
        assert str(caught.value) == f"{file.name}: {why}; expected a file that can be read"


def test_long_lines_are_looked_through_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    with file.open("wb") as lines:
        lines.write(b"sku\n")
        lines.writelines(b"x" * 100_000 + b"\n" for _ in range(400))
    tracemalloc.start()
    try:
        assert scan("x", file, "user", repeat=False).rows == 400
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_an_error_of_the_disk_while_a_row_is_read_is_one_line(tmp_path: Path, monkeypatch) -> None:
    reader = RowReader(table_of(tmp_path, 5))
    monkeypatch.setattr("os.stat", Mock(side_effect=OSError(5, "Input/output error")))
    with pytest.raises(TableChangedError):
        reader.row(1)
    reader.close()


def test_a_row_prints_without_its_values() -> None:
    assert f"{Row(sku='secret')} {Row(sku='secret')!r}" == "{'sku': ***} {'sku': ***}"


@given(rows=st.integers(1, 40), of=st.integers(1, 4), turns=st.lists(st.integers(0, 3), max_size=60))
def test_no_two_operations_of_all_workers_have_a_row_in_common(tmp_path_factory, rows, of, turns) -> None:
    table = table_of(tmp_path_factory.mktemp("data"), rows)
    workers = [WorkerData({"products": table}, index, of) for index in range(of)]
    taken = [workers[turn % of].next("products") for turn in turns]
    found = [row["sku"] for row in taken if row is not None]
    assert len(set(found)) == len(found)
    for worker in workers:
        worker.close()


def test_a_file_of_any_size_keeps_few_offsets_and_all_rows_are_found(tmp_path: Path) -> None:
    table = table_of(tmp_path, 50_000)
    assert (len(table.offsets), table.step) == (12_500, 4)
    reader = RowReader(table)
    for number in (49_999, 0, 3, 4, 40_001, 40_000):
        assert reader.row(number)["sku"] == f"a{number}"
    reader.close()


def test_an_unchanged_file_is_looked_through_once(tmp_path: Path, monkeypatch) -> None:
    first = table_of(tmp_path, 3)
    opened = []
    monkeypatch.setattr(Path, "open", lambda file, *_: opened.append(file))
    assert scan("products", Path(first.file), "operation", repeat=False) == first
    assert not opened


def replaced(file: Path) -> None:
    other = file.with_suffix(".new")
    other.write_text("sku,price\n" + "b,1\n" * 5)
    other.replace(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_text("sku,price\n"),
        lambda file: file.write_text(file.read_text() + "a9,9\n"),
        lambda file: file.unlink(),
        replaced,
    ],
)
def test_a_file_that_changes_after_it_was_looked_through_is_one_line(tmp_path: Path, change) -> None:
    table = table_of(tmp_path, 5)
    change(Path(table.file))
    worker = WorkerData({"products": table})
    with pytest.raises(TableChangedError) as caught:
        worker.next("products")
    worker.close()
    assert str(caught.value) == (
        'the table "products" changed during the run: expected rows.csv to stay as it was before'
    )


def test_a_file_that_changes_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    table = table_of(tmp_path, 5)
    reader = RowReader(table)
    assert reader.row(0)["sku"] == "a0"
    Path(table.file).write_text("sku,price\n" + "b,1\n" * 6)
    with pytest.raises(TableChangedError):
        reader.row(1)
    reader.close()


@pytest.mark.slow
def test_a_run_whose_table_changes_ends_with_one_line(tmp_path: Path) -> None:
    load = plan("sell", level=2, seconds=30, think=Think(0.01, 0.02), drain=1.0)
    table = table_of(tmp_path, 20_000)
    with in_a_thread(ANSWERS) as server:

        def change(progress) -> None:
            if progress.rate:
                Path(table.file).write_text("sku,price\n")

        done = run(
            load, Target("t", server.base, tables={"products": table}), root=ROOT, workers=1, watch=change
        )
    assert str(done.ended) == (
        'the table "products" changed during the run: expected rows.csv to stay as it was before'
    )
    assert done.ended == Ending.read(str(done.ended))
    assert judge(response_time(), done).status in {Status.INVALID, Status.INCONCLUSIVE}


@pytest.mark.slow
def test_a_second_run_begins_with_the_first_row_again(tmp_path: Path) -> None:
    load = plan("sell", level=2, seconds=1, think=Think(0.1, 0.1), drain=1.0)
    table = table_of(tmp_path, 5000)
    for _ in range(2):
        with in_a_thread(ANSWERS) as server:
            run(load, Target("t", server.base, tables={"products": table}), root=ROOT, workers=2)
        assert b"/products/a0" in {request.split()[1] for request in server.requests}


def test_the_operations_of_a_run_take_rows_after_those_of_the_trial(tmp_path: Path) -> None:
    table = table_of(tmp_path, 9).after(2)
    workers = [WorkerData({"products": table}, index, 2) for index in range(2)]
    assert [worker.next("products")["sku"] for worker in workers] == ["a2", "a3"]
    assert workers[0].taken == {"products": 1}
    with pytest.raises(
        ConfigurationError, match="has 9 rows, the plan needs 674 and 2 for the trial: one for "
    ):
        require_rows(plan("x", model=Model.REQUESTS), {"t": table}, [[["t"]]])
    for worker in workers:
        worker.close()


def test_a_user_reads_its_own_row_from_the_file_once(tmp_path: Path) -> None:
    rows = WorkerData({"customers": table_of(tmp_path, 5, "user")})
    data = UserData(rows, 3, Mock())
    first = data["customers"]
    rows.close()
    assert data["customers"] is first


def test_examples_mask_the_values_of_columns_with_secret_names(tmp_path: Path) -> None:
    (tmp_path / "vouchers.jsonl").write_text("".join(f'{{"token": "voucher {n}"}}\n' for n in range(900)))
    (tmp_path / "members.csv").write_text("name,password\n" + "ann,open sesame\n" * 20)
    tables = {
        "vouchers": scan("vouchers", tmp_path / "vouchers.jsonl", "operation", repeat=False),
        "members": scan("members", tmp_path / "members.csv", "user", repeat=False),
    }
    found = []

    def keep(report) -> bool:
        found.extend(report.examples)
        return True

    def service(_moment: float, _method: str, path: str) -> Answer:
        return Answer(0.01, status_code=503, body=b'{"refused": "%b"}' % path.encode())

    target = Target("fake", "http://fake", tables=tables)
    simulate(plan("redeem", seconds=5), service, target=target, emit=keep)
    shown = "".join(each.exchange.request + each.exchange.answer for each in found)
    assert '"code":"***","who":"***' in shown
    assert "POST /vouchers/***" in shown
    for part in ("voucher ", "voucher%20", "sesame"):
        assert part not in shown


def test_a_column_that_a_row_lacks_is_named_and_no_value_of_the_row(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Row(sku="secret", price="secret")["skuu"]
    assert str(caught.value) == 'the row has no column "skuu" among its 2; did you mean "sku"?'
    with pytest.raises(ConfigurationError) as caught:
        Row(secret="secret")["id"]
    assert str(caught.value) == 'the row has no column "id" among its 1; expected a name of the header'


def test_a_column_that_the_table_lacks_is_found_before_the_load(tmp_path: Path) -> None:
    with in_a_thread(ANSWERS) as server:
        target = Target(
            "t",
            server.base,
            tables={"products": scan("products", csv_of(tmp_path, 5000, "id"), "operation", repeat=False)},
        )
        with pytest.raises(ConfigurationError) as caught:
            run(plan("sell", level=2, seconds=2), target, root=ROOT, workers=1)
    assert str(caught.value) == (
        'the journey "sell" itself failed: ConfigurationError: the row has no column "sku" among its 2; '
        "expected a name of the header at tests/data_journeys.py:9 (found in one trial before the load)"
    )


def test_repeated_rows_begin_again(tmp_path: Path) -> None:
    worker = WorkerData({"products": table_of(tmp_path, 3, repeat=True)})
    assert [worker.next("products")["sku"] for _ in range(5)] == ["a0", "a1", "a2", "a0", "a1"]
    worker.close()


def plan(journey: str, level: float = 10, seconds: float = 60, **rest):
    return plan_of(f"tests.data_journeys:{journey}", level=level, seconds=seconds, **rest)


@pytest.mark.parametrize(
    ("rows", "per", "load", "said"),
    [
        (9, "user", plan("x"), 'the table "t" has 9 rows, the plan needs 10: one for each user; expected more'),
        (10, "user", plan("x"), ""),
        (790, "operation", plan("x"), 'the table "t" has 790 rows, the plan needs 791: one for each operation, '),
        (791, "operation", plan("x"), ""),
        (673, "operation", plan("x", model=Model.REQUESTS), 'the table "t" has 673 rows, the plan needs 674: '),
        (674, "operation", plan("x", model=Model.REQUESTS), ""),
        (119, "operation", plan("x", pace=5.0), 'the table "t" has 119 rows, the plan needs 120: '),
        (120, "operation", plan("x", pace=5.0), ""),
        (9, "operation", plan("x", think=Think(0, 0)), 'the table "t" has 9 rows, the plan needs 10: one for each operation, '),
        (10, "operation", plan("x", think=Think(0, 0)), ""),
        (2, "user", plan("x", model=Model.REQUESTS), 'the table "t" has 2 rows, the plan needs 3: one for each user, est'),
        (3, "user", plan("x", model=Model.REQUESTS), ""),
    ],
)  # fmt: skip
def test_too_few_rows_are_refused_with_how_many_and_why(tmp_path: Path, rows, per, load, said) -> None:
    tables = {"t": table_of(tmp_path, rows, per)}
    if not said:
        require_rows(load, tables, [[["t"]]])
        return
    with pytest.raises(ConfigurationError) as caught:
        require_rows(load, tables, [[["t"]]])
    assert str(caught.value).startswith(said)
    require_rows(load, {"t": table_of(tmp_path, rows, per, repeat=True)}, [[["t"]]])


def test_a_run_with_too_few_rows_is_refused_before_any_of_its_requests(tmp_path: Path) -> None:
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, tables={"customers": table_of(tmp_path, 2, "user", "customers")})
        with pytest.raises(ConfigurationError) as caught:
            run(plan("greet", level=3, seconds=2), target, root=ROOT, workers=1)
    assert str(caught.value) == (
        'the table "customers" has 2 rows, the plan needs 3: one for each user; '
        "expected more rows, or repeat = true"
    )
    assert paths_asked(server) == [b"/"], "the service was asked only whether it answers"


def test_a_run_to_which_its_trial_leaves_too_few_rows_is_refused_before_the_load(tmp_path: Path) -> None:
    load = plan("sell", level=2, seconds=2, drain=1.0)
    needed = row_demand(load, "operation", [[True]], 1).rows
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, tables={"products": table_of(tmp_path, needed)})
        with pytest.raises(ConfigurationError) as caught:
            run(load, target, root=ROOT, workers=1)
    assert str(caught.value).startswith(
        f'the table "products" has {needed} rows, the plan needs {needed} and 1 for the trial: one for '
    )
    assert paths_asked(server) == [b"/", b"/products/a0"], "the second is the trial"


def paths_asked(server: Server) -> list[bytes]:
    return [request.split()[1] for request in server.requests]


SESSIONS = Lognormal(8.0, 30.0)
MIXED = (MixEntry("tests.data_journeys:sell", 0.3), MixEntry("loadkit.journey:fetch", 0.7))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"think": Think(0.6, 2.0, "lognormal")},
        {"think": Think(0.5, 0.5)},
        {"pace": 2.0},
        {"session": SESSIONS},
        {"mix": MIXED},
        {"stages": (Stage(20, 10), Stage(20, 10), Stage(20, 0))},
        {"model": Model.REQUESTS},
        {"model": Model.JOURNEYS},
    ],
    ids=lambda how: next(iter(how), "usual"),
)
def test_the_rows_that_a_plan_needs_suffice_for_each_worker_and_few_are_left(
    tmp_path: Path, how, workers: int
) -> None:
    load = plan("sell", **how)
    uses = [[entry.journey.endswith("sell") for entry in load.workload.mix]]
    needed = row_demand(load, "operation", uses, workers).rows
    done = simulate_with(load, table_of(tmp_path, needed), workers)
    assert not any(name.startswith(NO_ROWS) for name in counts_of(done))
    assert needed < 1.8 * done.operations("GET /products/{sku}")


def test_a_plan_without_pauses_says_that_its_users_take_more_rows() -> None:
    why = row_demand(plan("x", think=Think(0, 0)), "operation", [[True]], 1).why
    assert why.endswith(", and one for each user without pauses, who will take more")
    for stated, is_used in ((plan("x"), True), (plan("x", think=Think(0, 0)), False)):
        assert "pauses, who" not in row_demand(stated, "operation", [[is_used]], 1).why


@pytest.mark.parametrize("workers", [1, 4])
def test_each_user_of_each_session_has_a_row_if_the_table_has_as_many_as_the_plan_needs(
    tmp_path: Path, workers: int
) -> None:
    load = plan("greet", session=SESSIONS)
    needed = row_demand(load, "user", [[True]], workers).rows
    assert needed > 40
    done = simulate_with(load, table_of(tmp_path, needed, "user", "customers"), workers)
    assert not any(name.startswith(NO_ROWS) for name in counts_of(done))
    short = simulate_with(load, table_of(tmp_path, needed - 1, "user", "customers"), workers)
    assert any(name.startswith(NO_ROWS) for name in counts_of(short))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"session": SESSIONS},
        {"stages": (Stage(0, 10), Stage(9, 10), Stage(0, 2), Stage(9, 2), Stage(0, 6), Stage(9, 6))},
        {"mix": MIXED},
    ],
    ids=lambda how: next(iter(how), "usual"),
)
@pytest.mark.parametrize("workers", [1, 4])
def test_users_without_pauses_need_a_row_each_however_slow_the_service_is(
    tmp_path: Path, how, workers: int
) -> None:
    load = plan("sell", think=Think(0, 0), timeout=1000.0, drain=0.0, **how)
    uses = [[entry.journey.endswith("sell") for entry in load.workload.mix]]
    needed = row_demand(load, "operation", uses, workers).rows
    done, short = (
        simulate_with(load, table_of(tmp_path, rows), workers, seconds=1000.0)
        for rows in (needed, needed - 1)
    )
    assert not any(name.startswith(NO_ROWS) for name in counts_of(done))
    assert any(name.startswith(NO_ROWS) for name in counts_of(short))


def test_the_trial_has_a_row_for_each_journey_where_the_load_has_fewer_users() -> None:
    mix = tuple(MixEntry(f"x:{name}", 0.25) for name in "abcd")
    assert row_demand(plan("x", level=1, mix=mix), "user", [[True] * 4], 1).rows == 4


def simulate_with(load, table: DataTable, workers: int, seconds: float = 0.0):
    target = Target("fake", "http://fake", tables={table.name: table})
    return simulate(load, lambda *_: Answer(seconds), workers=workers, target=target)


def counts_of(done) -> set[str]:
    return {name for each in done.worker_seconds for counts in each.counts.values() for name in counts}


def test_a_table_that_the_environment_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r'uses the table "t", and the environment file has none'):
        require_rows(plan("x"), {}, [[["t"]]])


@pytest.mark.slow
def test_a_run_gives_each_operation_of_each_worker_a_row_of_its_own(tmp_path: Path) -> None:
    load = plan("sell", level=6, seconds=2, think=Think(0.05, 0.15), drain=1.0)
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, tables={"products": table_of(tmp_path, 5000)})
        done = run(load, target, root=ROOT, workers=2)
    assert done.is_complete
    asked = [request.split()[1] for request in server.requests if b"/products/" in request]
    assert len(asked) > 20
    assert len(set(asked)) == len(asked)  # the first one was the trial


@pytest.mark.slow
def test_a_user_keeps_its_own_row(tmp_path: Path) -> None:
    load = plan("greet", level=4, seconds=2, think=Think(0.05, 0.15), drain=1.0)
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, tables={"customers": table_of(tmp_path, 4, "user")})
        done = run(load, target, root=ROOT, workers=2)
    assert done.is_complete
    asked = {request.split()[1] for request in server.requests if b"/customers/" in request}
    assert asked == {b"/customers/a%d" % number for number in range(4)}


def test_rows_that_run_out_end_the_run_with_one_line_and_make_it_invalid(tmp_path: Path) -> None:
    # Users without pauses: how many rows they take is not known before.
    load = plan("sell", level=2, seconds=30, think=Think(0, 0), drain=1.0)
    with in_a_thread(ANSWERS) as server:
        target = Target("t", server.base, tables={"products": table_of(tmp_path, 50)})
        done = run(load, target, root=ROOT, workers=1)
    assert done.ended.kind is EndingKind.ROWS_USED_UP
    assert str(done.ended) == (
        'the table "products" has no rows left; expected more of them, or repeat = true'
    )
    assert done.ended_at < 30
    assert judge(response_time(), done).status in {Status.INVALID, Status.INCONCLUSIVE}


def test_the_environment_file_names_tables_and_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "environments").mkdir()
    page = tmp_path / "environments" / "here.toml"
    csv_of(tmp_path, 3)
    page.write_text('base = "http://x"\n[data.products]\nfile = "rows.csv"\nper = "operation"\n')
    table = load("here", tmp_path).target({}).tables["products"]
    assert (table.rows, table.per, table.repeat) == (3, "operation", False)
    page.write_text('base = "http://x"\n[data.products]\nfile = "row.csv"\n')
    with pytest.raises(ConfigurationError) as caught:
        load("here", tmp_path).target({})
    assert str(caught.value) == (
        'environments/here.toml: data.products.file = "row.csv": there is no such file; '
        'expected such as file = "data/products.csv"'
    )
    page.write_text('base = "http://x"\n[data.products]\nfile = "environments"\n')
    with pytest.raises(
        ConfigurationError, match='file = "environments": it is a folder; expected such as file'
    ):
        load("here", tmp_path).target({})
    page.write_text('base = "http://x"\n[data.products]\nfile = "rows.csv"\n')
    (tmp_path / "rows.csv").write_text("sku,price\na1\n")
    with pytest.raises(ConfigurationError) as caught:
        load("here", tmp_path).target({})
    assert str(caught.value) == (
        "environments/here.toml: data.products: rows.csv:2: it has 1 fields; expected 2, as in the header"
    )
    assert caught.value.exit_code == 2
