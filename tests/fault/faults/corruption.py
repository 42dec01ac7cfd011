"""Files made wrong: cut, flipped, overwritten; pure functions of bytes with one edge each."""

from __future__ import annotations

import random
from pathlib import Path

WAL_HEADER = 32
FRAME_HEADER = 24


def cut(path: Path, size: int) -> None:
    """Keep the first `size` bytes: what a torn write leaves."""
    with path.open("r+b") as file:
        file.truncate(size)


def flip(path: Path, offset: int, bit: int) -> None:
    """Flip one bit."""
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def garble(path: Path, rng: random.Random) -> str:
    """Make a text file wrong in one of the ways people and disks do; returns which."""
    text = path.read_bytes()
    kinds = {
        "empty": b"",
        "half": text[: len(text) // 2],
        "NULs": b"\0" * len(text),
        "binary": rng.randbytes(max(1, len(text))),
        "doubled": text + text,
        "wrong case": text.swapcase(),
    }
    kind = rng.choice(sorted(kinds))
    path.write_bytes(kinds[kind])
    return kind


def frame_edges(wal: bytes) -> list[int]:
    """Where the frames of a write-ahead log end (SQLite file format, section 4.1); the first is the header's end."""
    page = int.from_bytes(wal[8:12], "big")
    return list(range(WAL_HEADER, len(wal) + 1, FRAME_HEADER + page))
