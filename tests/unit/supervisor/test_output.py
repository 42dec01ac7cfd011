from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.names import InstanceId, ServiceName
from atoll.supervisor import keeper, output
from atoll.supervisor.keeper import Log
from atoll.supervisor.output import Follower, Kind, Source, last_lines, read_logs


def write(folder: Path, instance: str, *lines: str, older: bool = False) -> Path:
    path = folder / instance.rpartition("-")[0] / f"{instance}.log{'.1' if older else ''}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.writelines(line.encode("utf-8", "surrogateescape") + b"\n" for line in lines)
    return path


def texts(folder: Path, **which: float) -> list[str]:
    return [line.text for line in read_logs(folder, **which)]  # type: ignore[arg-type]


def test_instances_are_merged_by_time_over_both_files(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "1.000 |a", "3.000 |c", older=True)
    write(tmp_path, "web-1", "5.000 |e")
    write(tmp_path, "job-1", "2.000 |b", "4.000 +d")
    assert texts(tmp_path) == list("abcde")
    assert texts(tmp_path, since=3.0) == list("cde")
    assert texts(tmp_path, tail=2) == list("de")
    assert texts(tmp_path, tail=0) == []
    assert texts(tmp_path, tail=99) == list("abcde")
    (cut,) = [line for line in read_logs(tmp_path, {ServiceName("job")}) if line.kind is Kind.CUT]
    assert (cut.service, cut.instance, cut.wall) == ("job", "job-1", 4.0)


def test_what_is_not_a_line_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "", "1.0", "x |a", "1.0 ?a", "nan", "2.000 |", "3.000 |\udcff\0\r")
    assert texts(tmp_path) == ["", "\ufffd\0"]


def test_no_logs_at_all_are_no_error(tmp_path: Path) -> None:
    assert texts(tmp_path / "none") == []
    assert last_lines(tmp_path / "none") == ()


def test_the_last_lines_are_those_of_the_latest_run(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", *(f"1.000 |{number}" for number in range(9000)), "2.000 =ended: 1")
    assert last_lines(path, 3) == ("8997", "8998", "8999")
    write(tmp_path, "web-1", "3.000 =started: 7", "3.000 |only", "4.000 =ended: 1")
    assert last_lines(path) == ("only",)


def test_a_follower_hears_new_lines_new_instances_and_rotation(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |before")
    follower = Follower(tmp_path)
    assert follower.poll() == []
    write(tmp_path, "web-1", "2.000 |a")
    write(tmp_path, "web-2", "2.500 |new")
    assert [line.text for line in follower.poll()] == ["a", "new"]
    with path.open("ab") as file:
        file.write(b"3.000 |ha")
    assert follower.poll() == []
    with path.open("ab") as file:
        file.write(b"lf\n")
    path.rename(path.with_name("web-1.log.1"))
    write(tmp_path, "web-1", "4.000 |b")
    assert [line.text for line in follower.poll()] == ["half", "b"]
    assert follower.poll() == []


def test_a_follower_that_is_rotated_past_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "web-1", "1.000 |a")
    follower = Follower(tmp_path, from_start=True)
    assert len(follower.poll()) == 1
    for _ in range(2):
        path.replace(path.with_name("web-1.log.1"))
        write(tmp_path, "web-1", "2.000 |b")
    assert sorted(line.kind for line in follower.poll()) == [Kind.NOTE, Kind.LINE]


def test_a_follower_that_is_far_behind_skips_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "LIVE_LIMIT", 100)
    write(tmp_path, "web-1", *(f"1.000 |{number:04d}" for number in range(1000)))
    lines = Follower(tmp_path, from_start=True)
    found = lines.poll()
    notes = [line.text for line in found if line.kind is Kind.NOTE]
    shown = [line.text for line in found if line.kind is Kind.LINE]
    assert shown[-1] == "0999"
    assert len(shown) + lines.skipped == 1000
    assert notes == [f"{lines.skipped} lines not shown here; `atoll logs web` has them"]


def kept(path: Path) -> list[tuple[Kind, str]]:
    source = Source(ServiceName("web"), InstanceId("web-1"), path)
    found = [
        source.line(raw)
        for part in (source.older, path)
        if part.exists()
        for raw in part.read_bytes().split(b"\n")[:-1]
    ]
    assert None not in found
    return [(line.kind, line.text) for line in found if line is not None]


def test_the_keeper_cuts_a_long_line_however_it_arrives(tmp_path: Path) -> None:
    for number, size in enumerate((1, 7, 1000)):
        log = Log(str(tmp_path / f"{number}.log"), 10, 1 << 16)
        data = b"x" * 10 + b"\n" + b"y" * 11 + b"\n" + b"z" * 500 + b"\nlast"
        for start in range(0, len(data), size):
            log.feed(data[start : start + size])
        log.end()
        assert kept(tmp_path / f"{number}.log") == [
            (Kind.LINE, "x" * 10),
            (Kind.CUT, "y" * 10),
            (Kind.CUT, "z" * 10),
            (Kind.LINE, "last"),
        ]
        assert log.cut == 2


def test_the_keeper_stays_within_its_bytes_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "web-1.log"
    log = Log(str(path), 100, 4096)
    for number in range(2000):
        log.feed(b"%d\n" % number)
    log.feed(b"".join(b"block %d\n" % number for number in range(2000)))  # one write larger than both files
    log.end()
    assert path.stat().st_size + path.with_name("web-1.log.1").stat().st_size <= 4096
    lines = [text for _, text in kept(path)]
    assert lines[-1] == "block 1999"
    assert lines == [f"block {number}" for number in range(2000 - len(lines), 2000)]


def test_the_keeper_counts_every_line_of_a_flood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "BURST", 1 << 18)
    monkeypatch.setattr(keeper, "RATE", 1 << 18)
    path = tmp_path / "web-1.log"
    log = Log(str(path), 100, 1 << 30)
    total = 0
    for _ in range(12):
        log.feed(b"0123456789012345678901234567\n0" * 2000)  # a torn line at every end
        total += 2000
    log.feed(b"\nlast words\n")
    total += 1
    log.end()
    written = sum(kind is not Kind.NOTE for kind, _ in kept(path))
    assert log.dropped > 0
    assert abs(written + log.dropped - total) <= 2
    assert any("lines dropped" in text for kind, text in kept(path) if kind is Kind.NOTE)
    assert kept(path)[-1] == (Kind.LINE, "last words")


def test_a_full_disk_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    log = Log("/dev/full", 100, 1 << 16)
    log.size = 0
    log.feed(b"a\nb\n")
    assert log.dropped == 2
    log = Log(str(tmp_path / "no" / "folder.log"), 100, 1 << 16)
    log.feed(b"a\n")
    assert log.dropped == 1
