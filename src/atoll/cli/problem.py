"""An RFC 9457 problem document, turned back into the error it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atoll.errors import AtollError

_STANDARD = frozenset({"type", "title", "status", "detail", "code", "hint", "instance"})


class Refused(AtollError):
    """The control plane said no with a code this version does not know; field `code` has it."""

    title = "Refused"


def error_of(document: Mapping[str, Any], status: int) -> AtollError:
    """The error a problem document tells of, of the class its code belongs to."""
    code = str(document.get("code", ""))
    kind = _kinds().get(code, Refused)
    detail = str(document.get("detail") or document.get("title") or f"refused with status {status}")
    hint = document.get("hint")
    fields = {str(key): value for key, value in document.items() if key not in _STANDARD}
    if kind is Refused:
        detail = f"{detail} ({code or status})"
    return kind(detail, hint=str(hint) if hint else None, **{k: v for k, v in fields.items() if k != "self"})


def _kinds() -> dict[str, type[AtollError]]:
    return {kind.code: kind for kind in _tree(AtollError) if kind is not Refused}


def _tree(kind: type[AtollError]) -> Iterator[type[AtollError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)
