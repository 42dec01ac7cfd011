from __future__ import annotations

import json

from atoll.telemetry.engine import Insert
from atoll.telemetry.logs.record import Parsed
from atoll.telemetry.logs.rows import COLUMNS, row
from tests.contract.telemetry.logs.stage import Stage

TRACE = "0af7651916cd43dd8448eb211c80319c"
EVERY = "".join(map(chr, range(1, 0x250))) + "'\"\\ \u202e\u2028 \U0001f600 \\N \\' {} [] \t\n\r"


async def test_every_character_comes_back_as_it_was(stage: Stage) -> None:
    attributes = {EVERY: EVERY, "": "", "k'": "'", "\\": "\\N"}
    told = Parsed("\0" + EVERY, 17, "ERROR", EVERY, TRACE, "b7ad6b7169203331", attributes)
    whose = "web\tweb-1\tstdout"
    hexes = ["5c090a0d00085c270c" + "ff" * 7, "00" * 15 + "01"]
    rows = [row("2026-11-22 00:00:00.123456789", told, whose, "r")]
    rows += [row("2026-11-22 00:00:00.123456788", told._replace(trace=one), whose, "r") for one in hexes]
    await stage.pool.insert(Insert(table="logs", format="TSV", data=rows, columns=COLUMNS))
    found = (await stage.ask("", service="web"))["records"]
    assert len(found) == 3
    for one in found:
        assert one["text"] == told.body
        assert one["attributes"] == attributes
        assert one["scope"] == EVERY
    assert (found[0]["trace"], found[0]["span"], found[0]["nanos"] % 10**9) == (TRACE, told.span, 123456789)
    assert {one["trace"] for one in found[1:]} == set(hexes)


async def test_lines_of_services_and_platform_are_found_with_all_they_say(stage: Stage) -> None:
    stage.prints(
        "=started: 7",
        "|INFO:     Started server process [7]",
        f"|{json.dumps({'level': 'warn', 'msg': 'slow', 'trace_id': TRACE, 'n': 7})}",
        "+cut he",
    )
    stage.prints("|12:00:00 WARNING atoll.node something", instance="api-1", kind="platform")
    await stage.collect()
    found = (await stage.ask("", order="oldest", service="web"))["records"]
    assert [one["kind"] for one in found] == ["note", "line", "line", "cut"]
    assert [one["level"] for one in found] == ["INFO", "INFO", "WARN", ""]
    assert found[2]["attributes"] == {"n": "7"}
    assert {one["run"] for one in found} == {found[0]["time"][:23] + "Z"}
    (own,) = (await stage.ask("", source="platform"))["records"]
    assert (own["service"], own["scope"], own["text"]) == ("api", "atoll.node", "something")


async def test_hostile_lines_are_stored_and_break_nothing(stage: Stage) -> None:
    stage.prints(
        "|\x1b[31mred\x1b[0m \x1b]0;title\x07", "|\udcff\udcfe\0 '\"\\; DROP TABLE logs", "|" + "x" * 100_000, "|a\tb\\"
    )
    await stage.collect()
    red, bad, long, tab = await stage.texts()
    assert red == "red "
    assert bad == "\ufffd\ufffd\0 '\"\\; DROP TABLE logs"
    assert (len(long), tab) == (64 << 10, "a\tb\\")


async def test_an_engine_that_comes_back_finds_lines_once(stage: Stage) -> None:
    stage.prints(*(f"|line {number}" for number in range(3000)))
    await stage.collect()
    again = Stage(stage.pool, stage.folder)
    stage.prints("|after")
    await again.collect()
    again.collector.close()
    found = await stage.pool.rows("SELECT count() AS n, uniqExact(Body) AS u FROM logs")
    assert found == [{"n": 3001, "u": 3001}]
