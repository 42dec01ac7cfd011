from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.kit.clock import Instant
from atoll.telemetry.logs.rows import COLUMNS
from atoll.telemetry.logs.source import Place
from atoll.telemetry.logs.stream import HOLD, NOTE_SCOPE, Stream

WALL = 1_795_000_000.0
TIME, BODY, SCOPE, RUN = (COLUMNS.index(name) for name in ("Timestamp", "Body", "ScopeName", "Run"))


@dataclass
class Lines:
    """A piece of one file, made of (mark and text) lines."""

    told: list[str]
    begin: int = 0
    step: float = 0.0
    service: str = "orders"
    instance: str = "orders-1"
    lost: int = 0
    gap: bool = False
    walls: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, line in enumerate(self.told):
            self.walls.append(WALL + (self.begin + number) * self.step)
            self.kinds.append(line[0])
            self.texts.append(line[1:])
            self.starts.append(self.begin + number)

    @property
    def place(self) -> Place:
        return 9, "aa", self.begin + len(self.told)


def columns(out: list[bytes]) -> list[list[str]]:
    return [row.decode().rstrip("\n").split("\t") for row in out]


def bodies(out: list[bytes]) -> list[str]:
    return [row[BODY] for row in columns(out)]


def test_lines_become_rows_in_their_order_even_within_a_millisecond() -> None:
    out: list[bytes] = []
    Stream("orders", "orders-1", "stdout").take(Lines(["|a", "|b", "|c"]), out, Instant(0))
    times = [row[TIME] for row in columns(out)]
    assert bodies(out) == ["a", "b", "c"]
    assert times == [f"2026-11-18 11:06:40.000{number:06d}" for number in range(3)]


def test_the_record_has_the_keepers_time_whatever_the_line_says() -> None:
    out: list[bytes] = []
    line = '|{"time":"2031-01-01T00:00:00Z","msg":"from the future"}'
    Stream("orders", "orders-1", "stdout").take(Lines([line]), out, Instant(0))
    (row,) = columns(out)
    assert row[TIME].startswith("2026-11-18 11:06:40.")
    assert "'log.time':'2031-01-01T00:00:00Z'" in row[COLUMNS.index("LogAttributes")]


def test_runs_are_kept_apart_by_the_start_of_each() -> None:
    out: list[bytes] = []
    stream = Stream("orders", "orders-1", "stdout", run="before")
    stream.take(Lines(["|old", "=ended: 0", "=started: 7", "|new"], step=1.0), out, Instant(0))
    assert [row[RUN] for row in columns(out)] == ["before", "before"] + ["2026-11-18T11:06:42.000Z"] * 2
    assert [row[SCOPE] for row in columns(out)] == ["", NOTE_SCOPE, NOTE_SCOPE, ""]


def test_an_error_waits_for_its_trace_and_the_place_waits_with_it() -> None:
    out: list[bytes] = []
    stream = Stream("orders", "orders-1", "stdout")
    stream.take(Lines(["|fine", "|ERROR:app:failed"]), out, Instant(0))
    assert bodies(out) == ["fine"]
    assert stream.place == (9, "aa", 1), "after a crash the error is read again"
    stream.take(Lines(["|Traceback (most recent call last):", "|  File x"], begin=2), out, Instant(0.1))
    stream.settle(out, Instant(0.1 + HOLD * 0.9))
    assert (stream.place, len(out)) == ((9, "aa", 1), 1)
    stream.take(Lines(["|KeyError: 1"], begin=4), out, Instant(0.2))
    stream.settle(out, Instant(0.2 + HOLD))
    assert bodies(out)[1] == "failed\\nTraceback (most recent call last):\\n  File x\\nKeyError: 1"
    assert stream.place == (9, "aa", 5)


def test_cut_lines_and_lost_lines_say_so() -> None:
    out: list[bytes] = []
    Stream("orders", "orders-1", "stdout").take(Lines(["+half"], lost=7), out, Instant(0))
    assert bodies(out) == ["7 lines before this were rotated away before they could be stored", "half"]
    assert "'atoll.cut':'line'" in columns(out)[1][COLUMNS.index("LogAttributes")]


LINE = st.sampled_from(
    [
        "|plain",
        "|",
        "|ERROR:app:failed",
        "|Traceback (most recent call last):",
        "|  File x",
        "|KeyError: 1",
        "|\tat a.B",
        "|panic: x",
        "|goroutine 1 [running]:",
        "=started: 7",
        "+cut",
        "|java.lang.Error: x",
    ]
)


@settings(max_examples=100, deadline=None)
@given(st.lists(LINE, max_size=25), st.lists(st.integers(0, 25), max_size=4))
def test_every_line_is_in_exactly_one_record_however_it_was_read(lines: list[str], cuts: list[int]) -> None:
    whole: list[bytes] = []
    one = Stream("orders", "orders-1", "stdout")
    one.take(Lines(lines), whole, Instant(0))
    one.settle(whole, Instant(99))
    pieces: list[bytes] = []
    many = Stream("orders", "orders-1", "stdout")
    edges = sorted({0, *(cut for cut in cuts if cut <= len(lines)), len(lines)})
    for begin, end in pairwise(edges):
        many.take(Lines(lines[begin:end], begin=begin), pieces, Instant(0))
    many.settle(pieces, Instant(99))
    assert bodies(whole) == bodies(pieces)
    said = "\n".join(body.replace("\\n", "\n").replace("\\t", "\t") for body in bodies(whole))
    printed = [line[1:].removeprefix("ERROR:app:") for line in lines if line[1:].strip()]
    assert [line.removeprefix("ERROR:app:") for line in said.split("\n") if line.strip()] == printed
    if lines:
        assert many.place == (9, "aa", len(lines))
