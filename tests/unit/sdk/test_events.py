from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import AtollError, NotFound, Unreachable
from atoll.sdk.events import Frame, Frames
from atoll.sdk.problem import error_of

STREAM = b'retry: 500\n\nid: 7\nevent: change\ndata: {"a":1}\n\n: comment\n\nid: 8\nevent: progress\ndata: {}\n\n'
WANTED = [Frame("change", b'{"a":1}', "7"), Frame("progress", b"{}", "8")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_however_the_stream_is_cut_the_events_are_the_same(cuts: list[int]) -> None:
    frames, found = Frames(), []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        found += frames.feed(STREAM[start:end])
    assert found == WANTED


def test_an_endless_line_is_refused_at_the_limit() -> None:
    frames = Frames(limit=1000)
    frames.feed(b"data: " + b"x" * 900)
    with pytest.raises(Unreachable):
        frames.feed(b"x" * 200)


@given(st.binary(max_size=300))
def test_garbage_makes_frames_or_nothing(garbage: bytes) -> None:
    for frame in Frames().feed(garbage):
        assert isinstance(frame.data, bytes)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"{}", b"[]", b'{"code":5,"detail":"x"}', b'{"code":"not-found"}', b"[" * 9999, b"\xff"]
)
def test_an_answer_that_is_no_problem_document_is_still_an_error(content: bytes) -> None:
    found = error_of(502, content)
    assert isinstance(found, AtollError)
    assert found.detail.isprintable()


def test_an_error_keeps_its_fields_and_loses_its_control_characters() -> None:
    found = error_of(404, b'{"code":"not-found","detail":"no \\u001b[31m","hint":"\\n","service":"x","bad key":1}')
    assert type(found) is NotFound
    assert found.detail.isprintable()
    assert found.fields == {"service": "x"}


def test_a_code_of_a_newer_server_is_an_error_too() -> None:
    assert type(error_of(418, b'{"code":"teapot","detail":"short and stout"}')) is AtollError
