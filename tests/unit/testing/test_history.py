"""A history is whole up to the moment of a crash, and reads back as it was written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from atoll.testing.history import Call, History, Outcome, acknowledged, read_history
from tests.unit.testing.calls import TickClock

HOSTILE = 'a\nb"\x00;%[x]${y}\x1b[31m\u202e'


def test_an_answered_call_reads_back_with_its_times_answer_and_revision(tmp_path: Path) -> None:
    with History(tmp_path / "h.jsonl", TickClock()) as history:
        with history.call("c1", "commit", key="k", value=HOSTILE) as call:
            call.answered({"said": HOSTILE}, revision=7)
        assert read_history(tmp_path / "h.jsonl") == history.calls
    (call_read,) = history.calls
    assert call_read.arguments == {"key": "k", "value": HOSTILE}
    assert (call_read.outcome, call_read.revision, call_read.start, call_read.end) == (Outcome.OK, 7, 1.0, 2.0)


def test_a_call_without_a_word_about_its_end_is_unknown_also_when_it_raises(tmp_path: Path) -> None:
    with History(tmp_path / "h.jsonl") as history:
        with history.call("c1", "commit"):
            pass
        with pytest.raises(ConnectionResetError), history.call("c1", "commit"):
            raise ConnectionResetError
        assert [call.outcome for call in history.calls] == [Outcome.UNKNOWN, Outcome.UNKNOWN]


def test_refused_calls_carry_their_code_and_are_not_acknowledged(tmp_path: Path) -> None:
    with History(tmp_path / "h.jsonl") as history:
        with history.call("c1", "commit") as call:
            call.refused("storage-full")
        assert history.calls[0].error == "storage-full"
        assert acknowledged(history.calls) == []


def test_a_line_torn_by_a_crash_is_left_out_and_any_other_bad_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    with History(path) as history, history.call("c1", "get") as call:
        call.answered()
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:17])
    assert len(read_history(path)) == 1
    path.write_bytes(whole[:17] + b"\n" + whole)
    with pytest.raises(msgspec.DecodeError):
        read_history(path)


def test_histories_of_several_processes_merge_by_their_start(tmp_path: Path) -> None:
    for name, start in (("a", 2.0), ("b", 1.0)):
        with History(tmp_path / name) as history:
            history.append(Call(client=name, call="get", start=start, end=9.0, outcome=Outcome.OK))
    assert [call.client for call in read_history(tmp_path / "a", tmp_path / "b")] == ["b", "a"]


def test_a_history_is_continued_and_never_overwritten(tmp_path: Path) -> None:
    for client in ("before", "after"):
        with History(tmp_path / "h") as history, history.call(client, "get") as call:
            call.answered()
    assert [call.client for call in read_history(tmp_path / "h")] == ["before", "after"]


def test_calls_are_filtered_by_name(tmp_path: Path) -> None:
    with History(tmp_path / "h") as history:
        for name in ("get", "commit"):
            with history.call("c", name) as call:
                call.answered()
        assert [call.call for call in acknowledged(history.calls, "commit")] == ["commit"]
