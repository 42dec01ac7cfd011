from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.requests.lines import REMARK_LIMIT, REMARKS, halves, sort

LINE = b"gateway\t1\t0\t.2\n"


def test_a_block_of_requests_is_passed_on_as_it_is() -> None:
    block = LINE * 3
    found = sort(block)
    assert found.requests is block
    assert (found.count, found.dropped, found.remarks, found.odd) == (3, 0, (), 0)


def test_what_haproxy_says_itself_is_told_apart() -> None:
    found = sort(
        LINE
        + b"45971 events dropped\n"
        + b"Server orders/o-1:12 is DOWN, reason: Layer4 timeout.\n"
        + LINE
        + b"1 event dropped\n"
        + b"gateway\t1\t7\tcut off\n"
        + b"gateway\t1\t7\tof another layout\t.3\n"
        + b"\n"
    )
    assert found.requests == LINE * 2
    assert (found.count, found.dropped, found.odd) == (2, 45_972, 3)
    assert found.remarks == ("Server orders/o-1:12 is DOWN, reason: Layer4 timeout.",)


def test_a_client_cannot_write_a_notice() -> None:
    evil = rb"gateway" + b"\t1\t0\t99 events dropped\\n\t9 events dropped\t.2\n"
    assert sort(evil + b"odd\tline\n").dropped == 0


def test_remarks_are_bounded() -> None:
    found = sort(b"x" * 5000 + b"\n" + b"Proxy started.\n" * (REMARKS + 5))
    assert len(found.remarks) == REMARKS
    assert len(found.remarks[0]) == REMARK_LIMIT
    assert found.odd == 6


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert sort(b"Server \xff\n").remarks == ("Server \N{REPLACEMENT CHARACTER}",)


@pytest.mark.parametrize("count", range(1, 9))
def test_halves_are_whole_lines_and_get_smaller(count: int) -> None:
    lines = [b"%d\t.2\n" % (10**number) for number in range(count)]
    one, other = halves(b"".join(lines))
    assert one + other == b"".join(lines)
    assert one.endswith(b"\n")
    assert bool(other) == (count > 1)


@given(st.lists(st.binary(max_size=20).filter(lambda line: b"\n" not in line), min_size=1))
def test_halving_ends_at_single_lines(lines: list[bytes]) -> None:
    todo, singles = [b"".join(line + b"\n" for line in lines)], 0
    while todo:
        one, other = halves(todo.pop())
        assert one.endswith(b"\n")
        if other:
            assert other.endswith(b"\n")
            todo += [one, other]
        else:
            assert one.count(b"\n") == 1
            singles += 1
    assert singles == len(lines)
