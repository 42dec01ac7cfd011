"""Values on their way into a statement: `{name:Type}` stands in the SQL, and here the value becomes the text that
ClickHouse reads as that type. A value is never a part of the statement, so none of them can be one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from atoll.errors import InvalidValue

ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n"})
"""What would end a value too early."""
QUOTED = str.maketrans({"\\": "\\\\", "'": "\\'"})


def encode(parameters: Mapping[str, Any] | None) -> dict[str, str]:
    """The texts of str, bool, int, float, None, and lists, tuples and dicts of them.

    Raises:
        InvalidValue: a value of another type, or a text that is not Unicode.
    """
    return {name: _encoded(name, value) for name, value in (parameters or {}).items()}


def _encoded(name: str, value: Any) -> str:
    if isinstance(value, str):
        text = value.translate(ESCAPES)
    elif value is None:
        text = "\\N"
    else:
        text = _literal(name, value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{name} is not Unicode text", parameter=name) from None
    return text


def _literal(name: str, value: Any) -> str:
    """A value as it stands inside of an array or map."""
    if isinstance(value, str):
        return f"'{value.translate(QUOTED)}'"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_literal(name, item) for item in value)}]"
    if isinstance(value, Mapping):
        pairs = (f"{_literal(name, key)}:{_literal(name, item)}" for key, item in value.items())
        return f"{{{','.join(pairs)}}}"
    raise InvalidValue(f"{name} cannot be a parameter of type {type(value).__name__}", parameter=name)
