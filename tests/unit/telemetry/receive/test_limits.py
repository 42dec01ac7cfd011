"""Bytes held at once: counted to the last one, and given back."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.limits import BufferFull, Room


def test_what_does_not_fit_is_refused_with_the_time_to_come_back() -> None:
    room = Room(100, retry_after=2.0)
    with room.claim() as claim:
        claim.take(90)
        with pytest.raises(BufferFull) as refused:
            room.require(11)
        assert refused.value.fields["retry_after"] == 2.0
        with room.claim() as other, pytest.raises(BufferFull):
            other.take(11)
        assert room.held == 90
    assert (room.held, room.most) == (0, 90)


def test_an_inflated_body_takes_the_place_of_the_compressed_one() -> None:
    room = Room(100, retry_after=1.0)
    with room.claim() as claim:
        claim.take(10)
        claim.keep(80)
        assert room.held == 80
        claim.keep(30)
        assert room.held == 30
        with pytest.raises(BufferFull):
            claim.keep(101)
        assert room.held == 30
    assert room.held == 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=20))
def test_room_is_never_exceeded_and_always_given_back(steps: list[tuple[bool, int]]) -> None:
    room = Room(100, retry_after=1.0)
    with room.claim() as claim, room.claim() as other:
        for first, size in steps:
            with contextlib.suppress(BufferFull):
                (claim if first else other).keep(size)
            assert 0 <= room.held <= 100
    assert room.held == 0
