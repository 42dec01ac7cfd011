"""What an error of ClickHouse means to us: its numbered codes, translated once."""

from __future__ import annotations

import re

from atoll.errors import AtollError, BadRequest, InvalidValue, LimitReached, Overloaded, StorageFailed, StorageFull

CODE = re.compile(r"Code: (\d+)")
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "PiB": 1 << 50, "EiB": 1 << 60}
CHUNK = re.compile(
    rf"allocate chunk of ([\d.]+) ({'|'.join(UNITS)})\b.*?maximum: ([\d.]+) ({'|'.join(UNITS)})\b", re.DOTALL
)
SHOWN = 500
"""Characters of the engine's text that an error carries."""

NO_SPACE = 243
MEMORY = 241
TOO_MANY_PARTS = 252
LIMITS = frozenset({158, 159, 160, 191, 290, 307, 396})
"""Rows read, time, speed, size of a set, rows or bytes of an answer."""
UNREADABLE = frozenset(
    {
        6,
        7,
        26,
        27,
        32,
        33,
        34,
        36,
        38,
        41,
        43,
        53,
        69,
        70,
        72,
        73,
        108,
        109,
        117,
        128,
        130,
        131,
        190,
        198,
        321,
        349,
        395,
    }
    | {407, 432, 433, 434, 436, 441, 444, 448, 453, 469, 547, 561, 592, 609, 634, 636, 691}
)
"""Of an insert: the data is not what its format says, or does not fit the columns."""
BROKEN = frozenset({40, 49, 74, 75, 76, 84, 107, 210, 246, 279, 1000, 1001, 1002})
"""The disk, the connection or the engine itself."""
AWAY = frozenset({209, 210, 279})


def of_insert(text: str) -> AtollError:
    """The error of an insert that said `text`. What is not known to be the data's fault is not blamed on it: the
    data is kept and tried again.
    """
    code, shown = _read(text)
    if _full(code, text):
        return StorageFull(
            "no room on the telemetry disk", hint="make room, or lower ATOLL_TELEMETRY_DISK_BYTES", engine_code=code
        )
    if code in UNREADABLE or (code == MEMORY and _lying(text)):
        return BadRequest(f"the engine cannot read the rows: {shown}", engine_code=code)
    return Overloaded(f"the engine did not take the rows: {shown}", retry_after=5, engine_code=code)


def of_query(text: str) -> AtollError:
    """The error of a query or command that said `text`."""
    code, shown = _read(text)
    if _full(code, text):
        return StorageFull("no room on the telemetry disk", hint="make room on the disk", engine_code=code)
    if code == MEMORY and "total" in text.lower():
        return Overloaded("the telemetry engine's memory is used up", retry_after=5, engine_code=code)
    if code in LIMITS or code == MEMORY:
        return LimitReached(
            f"the query is over its limit: {shown}", hint="ask for less: a shorter time, or a filter", engine_code=code
        )
    if code in AWAY:
        return Overloaded(f"the engine is away: {shown}", retry_after=5, engine_code=code)
    if code in BROKEN or code is None:
        return StorageFailed(f"the telemetry engine failed: {shown}", engine_code=code)
    return InvalidValue(f"the engine does not understand the query: {shown}", engine_code=code)


def _full(code: int | None, text: str) -> bool:
    return code == NO_SPACE or "No space left on device" in text


def _lying(text: str) -> bool:
    """Whether one piece was larger than all memory that there is: a length in the data that is not true."""
    found = CHUNK.search(text)
    if not found:
        return False
    piece, piece_unit, most, most_unit = found.groups()
    return float(piece) * UNITS[piece_unit] > float(most) * UNITS[most_unit]


def _read(text: str) -> tuple[int | None, str]:
    found = CODE.search(text)
    shown = text.partition("DB::Exception: ")[2] or text
    return (int(found[1]) if found else None), shown[:SHOWN]
