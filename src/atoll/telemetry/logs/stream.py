"""The lines of one instance on their way into rows: joined into records, parsed, stamped, in the order they were printed.

A record's time is the keeper's, to the millisecond, and behind it a count, so that lines of one millisecond keep their
order. What a line says of its own time is an attribute. A record that more lines may belong to is held back; until it is
in a row, the place to read on after a crash is its first line.
"""

from __future__ import annotations

from atoll.kit.clock import Instant
from atoll.telemetry.logs import rows
from atoll.telemetry.logs.joining import STARTS, Group, may_belong, may_go_on
from atoll.telemetry.logs.levels import INFO, WARN
from atoll.telemetry.logs.parse import parse_line
from atoll.telemetry.logs.record import CUT, Parsed
from atoll.telemetry.logs.source import Piece, Place

HOLD = 0.3
"""Seconds that a record waits for more lines of its own."""
NOTE_SCOPE = "atoll.keeper"
"""The logger's name of what is told about an instance and was not printed by it."""
STARTED = "started: "


class Stream:
    """One instance. `run`: the start of its present run, empty when it began before the oldest line."""

    def __init__(self, service: str, instance: str, source: str, run: str = "") -> None:
        self.run = run
        self.place: Place | None = None
        """Behind the last line that is in a row."""
        self._whose = f"{rows.escaped(service)}\t{rows.escaped(instance)}\t{source}"
        self._stamps = rows.Stamps()
        self._millis = 0.0
        self._extra = 0
        self._held: Group | None = None
        self._held_since = Instant(0.0)
        self._held_run = ""
        self._held_place: Place = (0, "", 0)
        self._behind: Place = (0, "", 0)

    @property
    def kept_run(self) -> str:
        """The run of the line at `place`."""
        return self._held_run if self._held is not None else self.run

    @property
    def holds(self) -> bool:
        """Whether a record waits for more lines."""
        return self._held is not None

    def take(self, piece: Piece, out: list[bytes], now: Instant) -> None:
        """Put what these lines say into `out`, but for a record that may go on."""
        texts, kinds, walls = piece.texts, piece.kinds, piece.walls
        inode, head, behind = piece.place
        if (piece.lost or piece.gap) and walls:
            self._close(out)
            self._lost(piece.lost, walls[0], out)
        last = len(texts) - 1
        for index, text in enumerate(texts):
            wall = walls[index]
            if kinds[index] != "|":
                self._close(out)
                self._other(kinds[index], text, wall, out)
                continue
            if self._held is not None:
                if self._held.takes(text, wall):
                    self._held_since = now
                    continue
                self._close(out)
            if index < last:
                alone = kinds[index + 1] != "|" or not may_belong(texts[index + 1])
                if alone and not text.startswith(STARTS):
                    if text:
                        self._emit(parse_line(text), wall, out)
                    continue
            elif not may_go_on(text):
                if text.strip():
                    self._emit(parse_line(text), wall, out)
                continue
            if text.strip():
                self._held, self._held_since = Group(text, wall, piece.starts[index]), now
                self._held_place = (inode, head, piece.starts[index])
                self._held_run = self.run
        self.place = self._held_place if self._held is not None else (inode, head, behind)
        self._behind = (inode, head, behind)

    def settle(self, out: list[bytes], now: Instant) -> None:
        """Put a record that has waited long enough into `out`."""
        if self._held is not None and now - self._held_since >= HOLD:
            self._close(out)
            self.place = self._behind

    def _close(self, out: list[bytes]) -> None:
        group, self._held = self._held, None
        if group is not None:
            self._emit(group.parsed(), group.wall, out)

    def _other(self, kind: str, text: str, wall: float, out: list[bytes]) -> None:
        """A line that was cut, or a note of the keeper's."""
        if kind == "+":
            told = parse_line(text)
            self._emit(told._replace(attributes={**(told.attributes or {}), CUT: "line"}), wall, out)
            return
        if text.startswith(STARTED):
            self.run = rows.Stamps().text(wall, 0)[:23].replace(" ", "T") + "Z"
        grave = "dropped" in text or "failed" in text
        self._emit(Parsed(text, WARN if grave else INFO, "WARN" if grave else "INFO"), wall, out, note=NOTE_SCOPE)

    def _lost(self, lines: int, wall: float, out: list[bytes]) -> None:
        said = f"{lines} lines" if lines else "lines"
        self._emit(
            Parsed(f"{said} before this were rotated away before they could be stored", WARN, "WARN"),
            wall,
            out,
            note=NOTE_SCOPE,
        )

    def _emit(self, told: Parsed, wall: float, out: list[bytes], *, note: str = "") -> None:
        if wall == self._millis:
            self._extra = min(self._extra + 1, 999_999)
        else:
            self._millis, self._extra = wall, 0
        out.append(rows.row(self._stamps.text(wall, self._extra), told, self._whose, self.run, note=note))
