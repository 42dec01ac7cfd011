"""Problem documents back into the errors they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from atoll.errors import AtollError, Unreachable
from atoll.kit.text import scrub

STANDARD = frozenset({"type", "title", "status", "detail", "code", "hint", "origin", "retryable", "self"})


def _tree(kind: type[AtollError]) -> Iterator[type[AtollError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


def known_codes() -> dict[str, type[AtollError]]:
    """Every error that the control plane can answer with, by its code."""
    return {kind.code: kind for kind in _tree(AtollError) if kind.__module__ == AtollError.__module__}


def error_of(status: int, content: bytes) -> AtollError:
    """The error in an answer; Unreachable when it is not one of the control plane's."""
    try:
        found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
        code, detail = found["code"], found["detail"]
    except (msgspec.DecodeError, KeyError, ValueError, RecursionError):
        return Unreachable(
            f"something that is not atoll answered with status {status}", hint="is this the URL or socket of atoll?"
        )
    kind = known_codes().get(code if isinstance(code, str) else "", AtollError)
    hint = found.get("hint")
    fields = {name: value for name, value in found.items() if name not in STANDARD and name.isidentifier()}
    return kind(scrub(str(detail)), hint=scrub(hint) if isinstance(hint, str) else None, **fields)
