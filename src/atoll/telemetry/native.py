"""Columns in ClickHouse's own format: what is inserted without pyarrow, which alone would cost an idle process 43 MB,
and 45 MB more for pandas, which it imports where it can. Bits of numbers are kept; text that is no Unicode is replaced.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

MILLISECONDS = "DateTime64(3, 'UTC')"
_CODES = {"Int8": "b", "Int32": "i", "UInt64": "Q", "Float64": "d", MILLISECONDS: "q"}


@dataclass(frozen=True)
class Column:
    """Values of one type, written out."""

    type: str
    data: bytes


def numbers(kind: str, values: Iterable[float]) -> Column:
    """Int8, Int32, UInt64, Float64, or MILLISECONDS since 1970.

    Raises:
        OverflowError: a value is outside of its type.
    """
    code = _CODES[kind]
    held = values if isinstance(values, array) and values.typecode == code else array(code, values)
    return Column(kind, held.tobytes())


def texts(values: Iterable[str]) -> Column:
    """String."""
    return Column("String", _texts(values))


def lists(kind: str, values: Sequence[Sequence[float]]) -> Column:
    """Arrays of numbers."""
    flat = numbers(kind, [number for one in values for number in one])
    return Column(f"Array({kind})", _ends(map(len, values)) + flat.data)


def maps(values: Sequence[Mapping[str, str]]) -> Column:
    """Map(String, String)."""
    keys, words = _texts(key for one in values for key in one), _texts(word for one in values for word in one.values())
    return Column("Map(String, String)", _ends(map(len, values)) + keys + words)


def block(rows: int, columns: Mapping[str, Column]) -> bytes:
    """All columns, each of `rows` values, as the body of an insert with FORMAT Native."""
    parts = [_varint(len(columns)), _varint(rows)]
    for name, column in columns.items():
        parts += [_text(name), _text(column.type), column.data]
    return b"".join(parts)


def _ends(lengths: Iterable[int]) -> bytes:
    return array("Q", accumulate(lengths)).tobytes()


def _texts(values: Iterable[str]) -> bytes:
    known: dict[str, bytes] = {}
    written = []
    for value in values:
        found = known.get(value)
        if found is None:
            found = known[value] = _text(value)
        written.append(found)
    return b"".join(written)


def _text(value: str) -> bytes:
    encoded = value.encode("utf-8", "replace")
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
