"""A row of numbers as a line of bars, one character each: ▁▂▃▄▅▆▇█, blanks where there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """`values` in at most `width` characters, scaled from the least to the greatest; where several share a character
    the greatest is shown. A line that is flat is drawn at the bottom.
    """
    cells = _cells(values, max(1, width))
    known = [value for value in cells if value is not None]
    if not known:
        return " " * len(cells)
    least, most = min(known), max(known)
    return "".join(" " if value is None else BARS[_height(value, least, most)] for value in cells)


def _height(value: float, least: float, most: float) -> int:
    share = (value / 2 - least / 2) / (most / 2 - least / 2) if most > least else 0.0
    return min(len(BARS) - 1, int(share * len(BARS)))


def _cells(values: Sequence[float | None], width: int) -> list[float | None]:
    """Infinities count as gaps: no scale could show them."""
    finite = [value if value is not None and math.isfinite(value) else None for value in values]
    if len(finite) <= width:
        return finite
    cells: list[float | None] = []
    for at in range(width):
        part = [
            value for value in finite[at * len(finite) // width : (at + 1) * len(finite) // width] if value is not None
        ]
        cells.append(max(part, default=None))
    return cells
