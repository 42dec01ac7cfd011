"""What `telemetry.engine.Engine` promises, on both engines with the same statements."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError, BadRequest, InvalidValue, LimitReached
from atoll.telemetry import otlp
from atoll.telemetry.engine import Engine, Insert, Limits
from tests.contract.telemetry.bodies import record, span

HOSTILE = [
    "", "plain", "two\nlines\n\nand a blank one", "tab\tand\rreturn", "quote ' and \" and `", "back\\slash\\n and \\", "\\N",
    "nul\0inside", "\x1b[31mred\x1b[0m", "%[s] ${HOME} {x:String} {{}}", "; DROP TABLE logs; --", "/* comment */ # x",
    "ü € 𝄞 \u202e\ufeff", "$$heredoc$$ $x$", "a" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_that_is_a_parameter_comes_back_as_it_was(unread: Engine, value: str) -> None:
    sql = "SELECT {x:String} AS x, {list:Array(String)} AS list, {map:Map(String, String)} AS map, length({x:String}) AS bytes"
    row = unread.rows(sql, {"x": value, "list": [value, value], "map": {"key": value}})[0]
    assert row == {"x": value, "list": [value, value], "map": {"key": value}, "bytes": len(value.encode())}


@settings(max_examples=40)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_a_parameter_and_never_a_statement(embedded: Engine, text: str) -> None:
    row = embedded.rows("SELECT {x:String} AS x, {list:Array(String)} AS list", {"x": text, "list": (text, "b")})[0]
    assert row == {"x": text, "list": [text, "b"]}


def test_values_keep_their_types(unread: Engine) -> None:
    row = unread.rows(
        "SELECT {n:UInt64} AS n, {i:Int64} AS i, {f:Float64} AS f, {b:Bool} AS b, {none:Nullable(String)} AS none, "
        "{ids:Array(UInt64)} AS ids, toFloat64('nan') AS nan, 0.1 AS tenth",
        {"n": 2**64 - 1, "i": -(2**63), "f": 1.5e300, "b": True, "none": None, "ids": [1, 2**63]},
    )[0]
    assert row == {
        "n": 2**64 - 1, "i": -(2**63), "f": 1.5e300, "b": True, "none": None, "ids": [1, 2**63], "nan": None, "tenth": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "sql"),
    [
        ({"x": "not a number"}, "SELECT {x:UInt8}"),
        ({"x": 3.5}, "SELECT {x:UInt8}"),
        ({}, "SELECT {x:UInt8}"),
        ({"x": b"bytes"}, "SELECT {x:String}"),
        ({"x": "\ud800"}, "SELECT {x:String}"),
        ({}, "SELEC 1"),
        ({}, "SELECT * FROM nowhere"),
        ({}, "SELECT nothing FROM logs"),
    ],
)
def test_a_query_that_cannot_be_understood_says_so(unread: Engine, parameters: dict[str, Any], sql: str) -> None:
    with pytest.raises(InvalidValue):
        unread.rows(sql, parameters)
    assert unread.rows("SELECT 1 AS x") == [{"x": 1}]


WRITES = [
    "INSERT INTO logs (Body) VALUES ('x')", "DROP TABLE logs", "TRUNCATE TABLE logs", "ALTER TABLE logs DELETE WHERE 1",
    "CREATE TABLE x (a UInt8) ENGINE = Memory", "SELECT * FROM file('/etc/passwd')", "SELECT * FROM url('http://127.0.0.1:9/')",
    "SELECT * FROM remote('127.0.0.1:9', 'system.one')", "SELECT 1 SETTINGS max_execution_time = 0", "SET readonly = 0",
    "SYSTEM STOP MERGES",
]  # fmt: skip


def test_what_reads_can_do_nothing_else(either: Engine) -> None:
    either.insert(otlp.logs([record("stays").SerializeToString()]))
    for sql in WRITES:
        with pytest.raises(AtollError):
            pytest.fail(f"{sql} was done: {either.rows(sql)}")
        assert either.rows("SELECT Body FROM logs") == [{"Body": "stays"}], sql


def test_a_query_over_its_time_memory_or_rows_is_refused_and_the_engine_lives(unread: Engine) -> None:
    with pytest.raises(LimitReached, match=r"[Tt]ime"):  # it would take hours
        unread.rows("SELECT sum(sipHash64(number)) FROM numbers(1000000000000)", limits=Limits(seconds=0.3))
    with pytest.raises(LimitReached, match="emory"):
        unread.rows("SELECT groupArray(number) FROM numbers(100000000)", limits=Limits(memory=20 << 20))
    with pytest.raises(LimitReached, match="rows"):
        unread.rows("SELECT number FROM numbers(1000)", limits=Limits(rows=999))
    assert len(unread.rows("SELECT number FROM numbers(1000)", limits=Limits(rows=1000))) == 1000


def test_columns_come_as_arrow(either: Engine) -> None:
    table = either.arrow("SELECT number AS n, toString(number) AS s, toFloat64('nan') AS f FROM numbers(3)")
    assert table["n"].to_pylist() == [0, 1, 2]
    assert table["s"].to_pylist() == ["0", "1", "2"]
    assert all(math.isnan(value) for value in table["f"].to_pylist())
    assert either.arrow("SELECT Body FROM logs").num_rows == 0


def test_no_rows_are_an_empty_list(either: Engine) -> None:
    assert either.rows("SELECT Body FROM logs") == []


def test_a_text_that_is_inserted_comes_back_as_it_was(either: Engine) -> None:
    bodies = [record(value, attributes={"key": value, "at": str(at)}) for at, value in enumerate(HOSTILE)]
    either.insert(otlp.logs([body.SerializeToString() for body in bodies]))
    rows = either.rows(
        "SELECT Body, LogAttributes['key'] AS attribute, length(Body) AS bytes FROM logs ORDER BY toUInt8(LogAttributes['at'])"
    )
    assert rows == [{"Body": value, "attribute": value, "bytes": len(value.encode())} for value in HOSTILE]


def test_rows_go_in_as_text_with_chosen_columns(either: Engine) -> None:
    data = [b'{"Timestamp": "2026-11-21 12:00:00.000000001", ', b'"Body": "a\\n\\nb"}\n']
    either.insert(Insert(table="logs", format="JSONEachRow", data=data, columns=("Timestamp", "Body")))
    assert either.rows("SELECT toString(Timestamp) AS at, Body FROM logs") == [
        {"at": "2026-11-21 12:00:00.000000001", "Body": "a\n\nb"}
    ]


@pytest.mark.parametrize(
    "insert",
    [
        otlp.traces([b"\xff" * 20]),
        otlp.traces([span().SerializeToString(), b"\x0a\x05ab"]),
        otlp.logs([record("good").SerializeToString(), b"\x0a\xff\xff\xff\xff\x0f"]),
        Insert(table="logs", format="JSONEachRow", data=[b'{"Body": "good"}\n{"Body": '], columns=("Body",)),
        Insert(table="logs", format="TSV", data=[b"1\tgood\nnot a number\tbad\n"], columns=("SeverityNumber", "Body")),
    ],
    ids=["noise", "good and cut", "lying length", "cut JSON", "wrong type"],
)
def test_data_that_is_not_of_its_format_is_refused_and_nothing_of_it_is_stored(either: Engine, insert: Insert) -> None:
    with pytest.raises(BadRequest):
        either.insert(insert)
    assert either.rows("SELECT (SELECT count() FROM spans) AS spans, (SELECT count() FROM logs) AS logs") == [
        {"spans": 0, "logs": 0}
    ]


def test_many_threads_insert_and_ask_at_once(either: Engine) -> None:
    stop = threading.Event()
    seen: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            seen.append(either.rows("SELECT count() AS n FROM logs")[0]["n"])

    def send(number: int) -> None:
        for _ in range(4):
            either.insert(otlp.logs([record(f"from {number}").SerializeToString()] * 10))

    with ThreadPoolExecutor(6) as threads:
        readers = [threads.submit(ask) for _ in range(4)]
        for writer in [threads.submit(send, number) for number in range(2)]:
            writer.result(20)
        stop.set()
        for reader in readers:
            reader.result(20)
    assert either.rows("SELECT count() AS n FROM logs") == [{"n": 80}]
    assert all(number % 10 == 0 for number in seen), "an insert is there as a whole or not at all"


def test_a_command_takes_parameters(either: Engine) -> None:
    either.command("INSERT INTO logs (Timestamp, Body) SELECT now64(9), {body:String}", {"body": HOSTILE[2]})
    assert either.rows("SELECT Body FROM logs") == [{"Body": HOSTILE[2]}]


def test_an_engine_that_gave_its_memory_back_goes_on(either: Engine) -> None:
    either.insert(otlp.logs([record("kept").SerializeToString()]))
    before = either.rows("SELECT count() AS records FROM logs")
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(either.rows, "SELECT count() AS records FROM logs") for _ in range(20)]
        either.rest()
        assert all(one.result() == before for one in asked)
    either.rest()
    assert either.rows("SELECT count() AS records FROM logs") == before
