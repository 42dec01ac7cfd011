from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from atoll.supervisor import backlog
from atoll.supervisor.backlog import Backlog, Place
from atoll.supervisor.keeper import Log

OPEN: list[Backlog] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def reading(folder: Path, places: dict[str, Place]) -> Backlog:
    OPEN.append(Backlog(folder, places))
    return OPEN[-1]


def write(folder: Path, instance: str, *lines: str) -> Path:
    path = folder / instance.rpartition("-")[0] / f"{instance}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)
    return path


def rotate(path: Path) -> None:
    path.replace(path.with_name(path.name + ".1"))


def texts(lines: Backlog) -> list[str]:
    return [text for piece in lines.poll() for text in piece.texts]


def test_what_was_taken_is_not_given_again_and_what_comes_is(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "1.000 =started: 7", "1.001 |a", "1.002 +cu")
    lines = reading(tmp_path, {})
    (piece,) = lines.poll()
    assert (piece.service, piece.instance, piece.walls) == ("web", "web-1", [1.0, 1.001, 1.002])
    assert (piece.kinds, piece.texts) == (["=", "|", "+"], ["started: 7", "a", "cu"])
    assert lines.poll() == []
    write(tmp_path, "web-1", "2.000 |b")
    write(tmp_path, "job-1", "2.000 |c")
    assert sorted(texts(lines)) == ["b", "c"]


def test_reading_goes_on_from_any_line_that_was_kept(tmp_path: Path) -> None:
    write(tmp_path, "web-1", *(f"1.00{number} |line {number}" for number in range(5)))
    (piece,) = reading(tmp_path, {}).poll()
    for number, start in enumerate(piece.starts):
        place = piece.place._replace(offset=start)
        assert texts(reading(tmp_path, {"web/web-1": place})) == [f"line {rest}" for rest in range(number, 5)]
    assert texts(reading(tmp_path, {"web/web-1": piece.place})) == []


def test_rotation_loses_nothing_while_running_or_stopped(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |a")
    lines = reading(tmp_path, {})
    (piece,) = lines.poll()
    write(tmp_path, "web-1", "1.001 |b")
    rotate(path)
    write(tmp_path, "web-1", "2.000 |c")
    assert texts(reading(tmp_path, {"web/web-1": piece.place})) == ["b"]
    assert texts(lines) + texts(lines) == ["b", "c"]
    assert texts(lines) == []


def test_a_line_without_its_end_is_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |a")
    lines = reading(tmp_path, {})
    with path.open("ab") as file:
        file.write(b"1.001 |ha")
    assert (texts(lines), texts(lines)) == (["a"], [])
    with path.open("ab") as file:
        file.write(b"lf\n")
    assert texts(lines) == ["half"]


def test_what_came_while_the_end_was_looked_at_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "web-1", "1.000 |a")
    lines = reading(tmp_path, {})
    assert texts(lines) == ["a"]
    write(tmp_path, "web-1", "1.001 |b")
    following = backlog._Cursor._rest

    def late(cursor: backlog._Cursor) -> bool:
        write(tmp_path, "web-1", "1.002 |c")
        return following(cursor)

    monkeypatch.setattr(backlog._Cursor, "_rest", late)
    seen = texts(lines) + texts(lines)
    monkeypatch.undo()
    assert [text for text in seen + texts(lines) if text in "bc"][:2] == ["b", "c"]


def test_an_instance_that_floods_takes_its_share_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SHARE", 200)
    write(tmp_path, "loud-1", *(f"1.000 |{number:04d}" for number in range(1000)))
    write(tmp_path, "quiet-1", "1.000 |hello")
    lines = reading(tmp_path, {})
    first = {piece.instance: len(piece.texts) for piece in lines.poll()}
    assert first == {"loud-1": 200 // len("1.000 |0000\n"), "quiet-1": 1}
    taken = [int(text) for _ in range(100) for text in texts(lines)]
    assert taken == list(range(first["loud-1"], 1000))


def test_a_round_is_bounded_and_every_instance_gets_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SHARE", 100)
    for number in range(6):
        write(tmp_path, f"web-{number}", *["1.000 |x"] * 100)
    lines = reading(tmp_path, {})
    rounds = [[piece.instance for piece in lines.poll(200)] for _ in range(3)]
    assert sorted(chain(*rounds)) == [f"web-{number}" for number in range(6)]


def test_lines_rotated_away_unread_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "SHARE", 120)
    path = write(tmp_path, "web-1", *(f"1.000 |{number:04d}" for number in range(50)))
    lines = reading(tmp_path, {})
    assert texts(lines)[-1] == "0009"
    rotate(path)
    write(tmp_path, "web-1", "2.000 |middle")
    assert len(texts(lines)) == 10, "the older file is still there"
    rotate(path)
    write(tmp_path, "web-1", "3.000 |newest")
    (piece,) = lines.poll()
    assert (piece.texts, piece.lost, piece.gap) == (["middle"], 30, False)
    (piece,) = lines.poll()
    assert (piece.texts, piece.lost) == (["newest"], 0)


def test_lines_that_went_while_nobody_read_are_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |a")
    (piece,) = reading(tmp_path, {}).poll()
    for number in range(2):
        rotate(path)
        write(tmp_path, "web-1", f"{number + 2}.000 |later")
    lines = reading(tmp_path, {"web/web-1": piece.place})
    (piece,) = lines.poll()
    assert (piece.texts, piece.walls, piece.gap) == (["later"], [2.0], True)
    (piece,) = lines.poll()
    assert (piece.walls, piece.gap) == ([3.0], False)


def test_what_is_not_a_line_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "", "1.0", "x |a", "1.0 ?a", "nan |a", "1e99 |a", "-5 |a", "3.000 |\udcff\0\r")
    assert texts(reading(tmp_path, {})) == ["\ufffd\0"]


def test_files_that_go_and_places_of_nobody_are_no_error(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |a")
    lines = reading(tmp_path, {"gone/gone-1": Place(5, "ab", 7)})
    assert texts(lines) == ["a"]
    path.unlink()
    assert texts(lines) == []
    write(tmp_path, "web-1", "2.000 |b")
    assert texts(lines) == ["b"]
    assert texts(reading(tmp_path / "nowhere", {})) == []
    lines.close()


def test_everything_that_a_keeper_writes_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    log = Log(str(tmp_path / "web" / "web-1.log"), 100, 8192)
    lines = reading(tmp_path, {})
    seen: list[str] = []
    for number in range(2000):
        log.feed(b"%d\n" % number)
        if number % 50 == 0:
            seen += texts(lines)
    for _ in range(5):
        seen += texts(lines)
    assert seen == [str(number) for number in range(2000)]


def test_a_file_that_cannot_be_read_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "bad-1", "1.000 |a")
    write(tmp_path, "web-1", "1.000 |b")
    lines = reading(tmp_path, {})
    whole = os.pread

    def failing(fd: int, count: int, offset: int) -> bytes:
        if "bad-1" in Path(f"/proc/self/fd/{fd}").readlink().name:
            raise OSError(5, "Input/output error")
        return whole(fd, count, offset)

    monkeypatch.setattr(os, "pread", failing)
    assert texts(lines) == ["b"]
    monkeypatch.undo()
    assert texts(lines) == ["a"]


def test_all_may_be_instances_of_one_service_whatever_their_folders_are_called(tmp_path: Path) -> None:
    write(tmp_path, "node-1", "1.000 |a")
    first = Backlog(tmp_path, {}, "atoll")
    OPEN.append(first)
    (piece,) = first.poll()
    assert (piece.service, piece.instance, piece.texts) == ("atoll", "node-1", ["a"])
    write(tmp_path, "node-1", "2.000 |b")
    again = Backlog(tmp_path, {"atoll/node-1": piece.place}, "atoll")
    OPEN.append(again)
    assert [one.texts for one in again.poll()] == [["b"]]
