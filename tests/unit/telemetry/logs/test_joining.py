from __future__ import annotations

import time

from atoll.telemetry.logs.joining import GAP, LINES, Group
from atoll.telemetry.logs.record import Parsed

PYTHON = [
    "Traceback (most recent call last):",
    '  File "x.py", line 3, in f',
    "    g()",
    "ValueError: bad",
    "",
    "During handling of the above exception, another exception occurred:",
    "",
    "Traceback (most recent call last):",
    '  File "y.py", line 4',
    "shop.errors.Declined: card 17",
]
JAVA = [
    "2026-11-21 14:02:11.123 ERROR 7 --- [main] c.s.App : failed",
    "java.lang.IllegalStateException: boom",
    "\tat com.shop.App.run(App.java:12)",
    "\t... 12 more",
    "Caused by: java.io.IOException: gone",
    "\tat com.shop.App.read(App.java:3)",
]
NODE = ["TypeError: x is not a function", "    at run (/app/main.js:3:1)", "    at node:internal/main:1:2"]
GO = [
    "panic: boom",
    "",
    "goroutine 1 [running]:",
    "main.run(0x1)",
    "\t/app/main.go:7 +0x1d",
    "main.main()",
    "\t/app/main.go:3 +0x1a",
    "exit status 2",
]


def records(lines: list[str], *, step: float = 0.0) -> list[Parsed]:
    groups: list[Group] = []
    for number, line in enumerate(lines):
        if not groups or not groups[-1].takes(line, number * step):
            groups.append(Group(line, number * step, number))
    return [group.parsed() for group in groups]


def test_a_traceback_with_its_chain_is_one_record() -> None:
    before, trace, after = records(["one", *PYTHON, "two"])
    assert (before.body, after.body) == ("one", "two")
    assert trace.body == "\n".join(PYTHON)
    assert (trace.severity, trace.level) == (17, "ERROR")
    assert trace.attributes == {"exception.type": "shop.errors.Declined", "exception.message": "card 17"}


def test_a_traceback_belongs_to_the_log_line_that_told_of_it() -> None:
    told, after = records(["ERROR:app:failed", *PYTHON[:4], "INFO:app:next"])
    assert told.body == "\n".join(["failed", *PYTHON[:4]])
    assert (told.scope, told.severity, after.body) == ("app", 17, "next")
    (warned,) = records(["WARNING:app:again", *PYTHON[:4]])
    assert warned.severity == 13


def test_a_traceback_does_not_join_an_innocent_line_or_one_of_long_ago() -> None:
    assert [one.body.partition("\n")[0] for one in records(["INFO:app:hello", *PYTHON[:4]])] == ["hello", PYTHON[0]]
    head = Group("ERROR:app:failed", 0.0, 0)
    assert not head.takes(PYTHON[0], 0.5)


def test_exception_groups_are_one_record() -> None:
    lines = [
        "  + Exception Group Traceback (most recent call last):",
        '  |   File "x.py", line 1',
        "  | ExceptionGroup: two (2 sub-exceptions)",
        "  +-+---------------- 1 ----------------",
        "    | ValueError: a",
        "    +------------------------------------",
    ]
    (one,) = records(["ERROR:    Exception in ASGI application", *lines])
    assert one.body.count("\n") == len(lines)


def test_java_node_and_go_traces_are_one_record_each() -> None:
    java, node, panic, after = records([*JAVA, *NODE, *GO, "INFO:app:next"])
    assert java.body == "\n".join(["failed", *JAVA[1:]])
    assert java.attributes is not None
    assert java.attributes["exception.type"] == "java.lang.IllegalStateException"
    assert node.attributes == {"exception.type": "TypeError", "exception.message": "x is not a function"}
    assert (panic.body, panic.severity) == ("\n".join(GO), 21)
    assert after.body == "next"


def test_a_pause_ends_a_record() -> None:
    assert len(records(PYTHON[:4], step=GAP * 0.9)) == 1
    assert len(records(PYTHON[:4], step=GAP * 1.1)) == 4


def test_a_record_is_bounded() -> None:
    first, second = records([PYTHON[0], *["    frame"] * (LINES + 5)])[:2]
    assert first.body.count("\n") == LINES
    assert second.body == "    frame"
    group = Group(PYTHON[0], 0, 0)
    assert not group.takes("    " + "x" * (1 << 17), 0)


def test_the_time_grows_with_the_line_and_not_faster() -> None:
    for unit in ("(", "a.", "a", "at ", "\tat ", "A: "):
        times = []
        for _ in range(3):
            group = Group("panic: ERROR", 0, 0)
            began = time.process_time()
            group.takes(unit * (60_000 // len(unit)), 0)
            other = Group("ERROR", 0, 0)
            other.takes(unit * (60_000 // len(unit)), 0)
            other.parsed()
            times.append(time.process_time() - began)
        assert min(times) < 0.5
