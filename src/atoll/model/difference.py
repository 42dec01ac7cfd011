"""What differs between two versions of a fact: by dotted path, and in a sentence that tells no secret. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

SHOWN = 6
"""Fields that a sentence names."""
PLAIN = bool | int | float
"""Values that are shown; text may be a command line or a credential."""


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The values of a fact by dotted path, defaults too; lists are values."""
    if isinstance(value, msgspec.Struct):
        parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
    elif isinstance(value, dict):
        parts = ((str(key), part) for key, part in value.items())
    else:
        yield path, msgspec.to_builtins(value)
        return
    for name, part in parts:
        yield from leaves(part, f"{path}.{name}" if path else name)


def told(before: msgspec.Struct, after: msgspec.Struct) -> str:
    """The fields that differ, in words: `run.replicas 1 → 3, run.command changed`; empty when none does.

    What an operator said of a circuit breaker is told for itself (`registry.breakers`).
    """
    old, new = dict(leaves(before)), dict(leaves(after))
    differing = [
        path for path in dict.fromkeys((*new, *old)) if old.get(path) != new.get(path) and "breaker_word" not in path
    ]
    words = [_words(path, old.get(path), new.get(path)) for path in differing[:SHOWN]]
    return ", ".join([*words, *([f"and {len(differing) - SHOWN} more"] if len(differing) > SHOWN else [])])


def _words(path: str, before: object, after: object) -> str:
    if path.startswith("run.environment."):
        return f"{path} changed"
    shown = [_shown(value) for value in (before, after)]
    return f"{path} {shown[0]} → {shown[1]}" if all(shown) else f"{path} changed"


def _shown(value: object) -> str:
    if value is None:
        return "unset"
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, PLAIN) else ""
