"""How OTLP's values become columns: the words `{{…}}` of schema/*.sql, written out as ClickHouse's SQL.

An attribute is text in our tables: a string as it is, a number or truth value as JSON writes it, an array or a map as
JSON, bytes as hex. Nothing that a sender can put into a body makes one of these expressions fail: ids of a wrong
length are cut or filled with zeros, times far away become the time of arrival, what is nested deeper than DEPTH stays
as the hex of its protobuf.
"""

from __future__ import annotations

import re
from collections.abc import Callable

DEPTH = 2
"""Levels of arrays and maps that become JSON in the attributes of spans and log records, and in a log's body. One level
elsewhere: each level of each place costs 20 ms of CPU with every insert, only for its analysis."""
PAST_DAYS = 100
"""Days; a time further back is a mistake (1970) and becomes the time of arrival, also so that one body cannot make a
partition for each day of the century."""
FUTURE_DAYS = 1
"""Days; a time further ahead is a wrong clock, and would never be deleted."""
WORD = re.compile(r"\{\{(\w+)(?:\((.*?)\))?\}\}")


def expand(sql: str) -> str:
    """`sql` with every `{{word(arguments)}}` written out."""
    return WORD.sub(lambda found: WORDS[found[1]](*_arguments(found[2])), sql)


def _arguments(text: str | None) -> list[str]:
    """The first argument may be an expression with commas; further ones are numbers."""
    if text is None:
        return []
    head, comma, last = text.rpartition(", ")
    return [head, last] if comma and last.isdecimal() else [text]


def _value(depth: int = DEPTH) -> str:
    """The type of an AnyValue. The Enum named like the oneof tells an empty value from none."""
    nested = (
        "array_value String, kvlist_value String"
        if depth == 0
        else f"array_value Tuple(`values` Array({_value(depth - 1)})), "
        f"kvlist_value Tuple(`values` Array(Tuple(key String, value {_value(depth - 1)})))"
    )
    return (
        "Tuple(`value` Enum8('none' = 0, 'string_value' = 1, 'bool_value' = 2, 'int_value' = 3, 'double_value' = 4, "
        "'array_value' = 5, 'kvlist_value' = 6, 'bytes_value' = 7), string_value String, bool_value Bool, "
        f"int_value Int64, double_value Float64, {nested}, bytes_value String)"
    )


def _attributes(depth: str = str(DEPTH)) -> str:
    return f"Array(Tuple(key String, value {_value(int(depth))}))"


def _text(value: str, depth: int = DEPTH, *, inner: bool = False) -> str:
    """A value as text: at the top a string stands for itself, inside of an array or a map it is JSON."""
    q = f"q{depth}"
    if depth == 0:
        array, mapping = (
            f"concat('\"protobuf:', lower(hex({value}.{part}_value)), '\"')" for part in ("array", "kvlist")
        )
    else:
        array = (
            f"concat('[', arrayStringConcat(arrayMap({q} -> {_text(q, depth - 1, inner=True)}, "
            f"{value}.array_value.`values`), ','), ']')"
        )
        mapping = (
            f"concat('{{', arrayStringConcat(arrayMap({q} -> concat(toJSONString({q}.key), ':', "
            f"{_text(f'{q}.value', depth - 1, inner=True)}), {value}.kvlist_value.`values`), ','), '}}')"
        )
    string, hexed, nothing = f"{value}.string_value", f"lower(hex({value}.bytes_value))", "''"
    if inner:
        string, hexed, nothing = f"toJSONString({string})", f"concat('\"', {hexed}, '\"')", "'null'"
    return (
        f"multiIf({value}.`value` = 'string_value', {string}, "
        f"{value}.`value` = 'int_value', toString({value}.int_value), "
        f"{value}.`value` = 'double_value', toString({value}.double_value), "
        f"{value}.`value` = 'bool_value', if({value}.bool_value, 'true', 'false'), "
        f"{value}.`value` = 'array_value', {array}, "
        f"{value}.`value` = 'kvlist_value', {mapping}, "
        f"{value}.`value` = 'bytes_value', {hexed}, {nothing})"
    )


def _map(attributes: str, depth: str = str(DEPTH)) -> str:
    """A list of attributes as a map of texts."""
    texts = f"arrayMap(kv -> {_text('kv.value', int(depth))}, {attributes})"
    return f"CAST((arrayMap(kv -> kv.key, {attributes}), {texts}), 'Map(LowCardinality(String), String)')"


def _id(value: str, size: str) -> str:
    return f"toFixedString(substring({value}, 1, {size}), {size})"


def _time(nanoseconds: str) -> str:
    """A time of OTLP; far from now it is a mistake, and the time of arrival stands for it."""
    now = "toUnixTimestamp64Nano(now64(9))"
    day = 86_400 * 10**9
    return (
        f"fromUnixTimestamp64Nano(if({nanoseconds} BETWEEN {now} - {PAST_DAYS * day} AND {now} + {FUTURE_DAYS * day}, "
        f"toInt64({nanoseconds}), {now}), 'UTC')"
    )


WORDS: dict[str, Callable[..., str]] = {
    "value": _value,
    "attributes": _attributes,
    "text": _text,
    "map": _map,
    "id": _id,
    "time": _time,
}
