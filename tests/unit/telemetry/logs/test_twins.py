from __future__ import annotations

import msgspec
import pytest

from atoll.telemetry.logs.answers import LogRecord
from atoll.telemetry.logs.reading import iso, merged
from atoll.telemetry.logs.twins import ORIGINAL, PRINTED, twins

SECOND = 1_000_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"


def printed(at: float, text: str, *, instance: str = "web-1", trace: str = "", run: str = "r") -> LogRecord:
    return record("stdout", at, text, instance=instance, trace=trace, run=run)


def sent(at: float, text: str, *, instance: str = "web-1", trace: str = "") -> LogRecord:
    return record("otlp", at, text, instance=instance, trace=trace)


def record(source: str, at: float, text: str, *, instance: str = "", trace: str = "", run: str = "") -> LogRecord:
    nanos = int((1_795_000_000 + at) * SECOND)
    service = instance.rpartition("-")[0] or "web"
    return LogRecord(
        time=iso(nanos), nanos=nanos, service=service, instance=instance, source=source, text=text, trace=trace, run=run
    )


def shown(*records: LogRecord) -> list[tuple[str, str]]:
    return [(one.source, one.text) for one in merged(records, len(records))]


def test_a_record_that_came_both_ways_is_shown_once_with_the_trace_and_the_run() -> None:
    (one,) = merged([sent(0, "order 17", trace=TRACE), printed(0.01, "order 17")], 2)
    assert (one.source, one.trace, one.run) == ("otlp", TRACE, "r")


def test_two_equal_lines_that_were_logged_twice_stay_two() -> None:
    assert (
        shown(sent(0, "tick"), printed(0.01, "tick"), sent(1, "tick"), printed(1.01, "tick")) == [("otlp", "tick")] * 2
    )
    assert shown(sent(0, "tick"), printed(0.01, "tick"), printed(0.02, "tick")) == [
        ("otlp", "tick"),
        ("stdout", "tick"),
    ]
    assert shown(printed(0, "tick"), printed(0, "tick")) == [("stdout", "tick")] * 2
    assert shown(sent(0, "tick"), sent(0, "tick")) == [("otlp", "tick")] * 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (sent(0, "a b c d"), printed(1.9, "a b c d"), True),
        (sent(0, "a b c d"), printed(2.1, "a b c d"), False),
        (sent(0.2, "a b c d"), printed(0, "a b c d"), True),
        (sent(0.3, "a b c d"), printed(0, "a b c d"), False),
        (sent(0, "a b c d"), printed(0, "a b c d", instance="web-2"), False),
        (sent(0, "a b c d", instance=""), printed(0, "a b c d"), True),
        (sent(0, "a b c d"), printed(0, "a b c d", instance="job-1"), False),
        (sent(0, "a b c d", trace=TRACE), printed(0, "a b c d", trace="1" * 32), False),
        (sent(0, "a b c d"), printed(0, "custom | a b c d"), True),
        (sent(0, "a b c d"), printed(0, "xa b c d"), False),
        (sent(0, "abc"), printed(0, "x abc"), False),
        (sent(0, ""), printed(0, "x"), False),
        (sent(0, "failed"), printed(0, "failed\nTraceback (most recent call last):\n  x\nE: y"), True),
    ],
)
def test_what_counts_as_the_same_record(one: LogRecord, other: LogRecord, same: bool) -> None:
    assert bool(twins([one, other])) is same
    assert bool(twins([other, one])) is same


def test_the_stack_trace_that_was_printed_is_shown_with_the_record_that_was_sent() -> None:
    (one,) = merged([sent(0, "failed"), printed(0, "failed\nTraceback\n  x")], 2)
    assert one.text == "failed\nTraceback\n  x"


def test_only_the_stretch_that_was_asked_for_is_shown() -> None:
    assert len(merged([printed(0, "at the edge"), sent(-0.1, "at the edge")], 1)) == 0


def line(at: float, text: str, *, trace: str = TRACE) -> LogRecord:
    return msgspec.structs.replace(sent(at, text, trace=trace), scope=PRINTED)


def test_a_line_that_was_printed_learns_its_trace_from_what_was_sent_of_it() -> None:
    records = [line(0, '{"msg":"as json"}'), printed(0.01, "as json"), line(1, "plain"), printed(1.01, "plain")]
    assert [(one.source, one.text, one.trace) for one in merged(records, 4)] == [
        ("stdout", "as json", TRACE),
        ("stdout", "plain", TRACE),
    ]


def test_the_lines_of_a_stack_trace_that_were_sent_are_not_shown_beside_it() -> None:
    trace = "Traceback (most recent call last):\n  File x\nKeyError: 1"
    records = [printed(0, trace), *(line(0, text) for text in trace.split("\n"))]
    (one,) = merged(records, len(records))
    assert (one.text, one.trace) == (trace, TRACE)
    (one,) = merged([*records[1:], records[0]], 3, adopt=True)
    assert (one.text, one.trace) == (trace, TRACE), "in a search for the trace it stands for its lines"


def test_a_line_that_nobody_captured_is_shown_as_if_it_had_been() -> None:
    (one,) = merged([line(0, "WARNING:app:afar")], 1)
    assert (one.text, one.level, one.scope, one.trace) == ("afar", "WARNING", "app", TRACE)


def test_a_record_is_known_by_what_its_handler_printed() -> None:
    record = msgspec.structs.replace(sent(0, "x"), attributes={ORIGINAL: "12:00:00 >> x <<", "a": "b"})
    (one,) = merged([record, printed(0, ">> x <<")], 2)
    assert (one.source, one.attributes) == ("otlp", {"a": "b"})
