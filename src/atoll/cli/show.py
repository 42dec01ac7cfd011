"""Data for stdout: JSON, or tables of aligned columns that need no library. Every value is scrubbed.

On a terminal the last column is cut at the right edge; into a pipe nothing is cut.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple, TextIO

from atoll.cli.tint import service_tint, tint
from atoll.kit.text import scrub

STATE_COLORS = {
    "passing": "green",
    "running": "green",
    "up": "green",
    "create": "green",
    "ok": "green",
    "suspect": "yellow",
    "draining": "yellow",
    "maint": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "waiting": "yellow",
    "backoff": "yellow",
    "change": "yellow",
    "warning": "yellow",
    "degraded": "yellow",
    "forced": "yellow",
    "failing": "red",
    "crash-loop": "red",
    "delete": "red",
    "broken": "red",
}


class Cell(NamedTuple):
    """A value and its colour: a name of `tint.CODES`, or `service:NAME`."""

    text: str
    color: str = ""


def state_cell(state: str) -> Cell:
    """A state in the colour of its meaning."""
    return Cell(state, STATE_COLORS.get(state, ""))


def service_cell(name: str, text: str | None = None) -> Cell:
    """A service's name (or `text`) in the service's own colour."""
    return Cell(name if text is None else text, f"service:{name}")


class Show:
    """Writes data to one stream. Errors of the stream (a closed pipe) are the caller's."""

    def __init__(self, stream: TextIO, *, json: bool = False, color: bool = False, width: int | None = None) -> None:
        self._stream = stream
        self._color = color
        self.width = width
        """Columns of the terminal; None: a pipe, in which nothing is cut."""
        self.as_json = json

    def json(self, value: Any) -> None:
        """One JSON document, indented; anything msgspec can encode."""
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode("utf-8", "backslashreplace")
        self._stream.write(_json_safe(text) + "\n")

    def json_line(self, value: Any) -> None:
        """One JSON document on one line, for endless lists."""
        import msgspec

        self._stream.write(_json_safe(msgspec.json.encode(value).decode()) + "\n")
        self._stream.flush()

    def text(self, text: str = "") -> None:
        """Lines of text; each is scrubbed."""
        self._stream.write("\n".join(scrub(line) for line in text.split("\n")) + "\n")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> None:
        """Aligned columns under their headings; columns in which no row has anything are left out."""
        for line in table_lines(columns, rows, color=self._color, width=self.width):
            self._stream.write(line + "\n")

    def fields(self, pairs: Sequence[tuple[str, str | Cell]]) -> None:
        """`name  value` lines; pairs without a value are left out."""
        kept = [(name, _cell(value)) for name, value in pairs if _cell(value).text]
        widest = max((len(name) for name, _ in kept), default=0)
        for name, cell in kept:
            self._stream.write(f"{scrub(name):<{widest}}  {_painted(scrub(cell.text), cell.color, self._color)}\n")

    def screen(self) -> None:
        """Clear a terminal before the next picture (`--watch`); a pipe gets an empty line between pictures."""
        self._stream.write("\x1b[H\x1b[2J" if self.width is not None and not self.as_json else "\n")

    def flush(self) -> None:
        """Hand everything to the reader."""
        self._stream.flush()


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, color: bool = False, width: int | None = None
) -> list[str]:
    """A table as lines (see Show.table)."""
    cells = [[Cell(scrub(cell.text, limit=1000), cell.color) for cell in map(_cell, row)] for row in rows]
    used = [index for index in range(len(columns)) if not rows or any(row[index].text for row in cells)]
    table = [[Cell(columns[index], "bold") for index in used], *([row[index] for index in used] for row in cells)]
    widths = [max(columns_of(row[index].text) for row in table) for index in range(len(used))]
    lines = []
    for row in table:
        room = width
        parts = []
        for index, cell in enumerate(row):
            last = index == len(row) - 1
            text = cell.text if room is None else cut(cell.text, max(room, 1))
            padding = "" if last else " " * (widths[index] - columns_of(text) + 2)
            if room is not None:
                room -= widths[index] + 2
            parts.append(_painted(text, cell.color, color) + padding)
            if room is not None and room <= 0:
                break
        lines.append("".join(parts).rstrip())
    return lines


def _cell(value: str | Cell) -> Cell:
    return value if isinstance(value, Cell) else Cell(value)


def _painted(text: str, color: str, on: bool) -> str:
    if color.startswith("service:"):
        return service_tint(text, color.removeprefix("service:"), on=on)
    return tint(text, color, on=on)


def columns_of(text: str) -> int:
    """Terminal columns of scrubbed text: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def cut(text: str, room: int) -> str:
    """`text` in at most `room` terminal columns, with an ellipsis where it was cut."""
    if columns_of(text) <= room:
        return text
    kept = ""
    for character in text:
        if columns_of(kept) + columns_of(character) >= room:
            break
        kept += character
    return kept + "…"


def _json_safe(text: str) -> str:
    """JSON as it is, with DEL, C1 and format characters (bidi) escaped: a terminal may be reading."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        f"\\u{ord(character):04x}"
        if ord(character) < 0x10000
        and unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}
        and character != "\n"
        else character
        for character in text
    )
