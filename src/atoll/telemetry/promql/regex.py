"""Regular expressions as Prometheus has them: RE2, so that none can run away; anchored at both ends.

Matchers are decided by the engine, which has RE2 too. Here patterns are checked before they are sent, and
`label_replace` is carried out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import re2

PATTERN_LIMIT = 16 << 10
"""Characters of one pattern."""
MEMORY = 4 << 20
"""Bytes that one compiled pattern may take; RE2 refuses beyond."""
_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))", re.ASCII)


def refusal(pattern: str) -> str | None:
    """Why a pattern cannot be taken, or None."""
    try:
        compiled(pattern)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """The pattern, anchored; a dot takes newlines in matchers as in Prometheus since 2.0.

    Raises:
        ValueError: it cannot be read, or is too large.
    """
    if len(pattern) > PATTERN_LIMIT:
        raise ValueError(f"longer than {PATTERN_LIMIT} characters")
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    try:
        return re2.compile(f"^(?:{pattern})$", options)
    except re2.error as error:
        said = error.args[0] if error.args else "it cannot be read"
        raise ValueError(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from None


def replacer(pattern: str, template: str) -> Callable[[str], str | None]:
    """A function that gives what `template` says of a text that matches as a whole, and None of others.

    `$1`, `${1}`, `$name`, `${name}` stand for groups, `$$` for a dollar; a group that is not there is empty.

    Raises:
        ValueError: the pattern cannot be taken.
    """
    program = compiled(pattern)

    def replaced(text: str) -> str | None:
        found = program.search(text)
        if found is None:
            return None

        def group(reference: re.Match[str]) -> str:
            if reference[1]:
                return "$"
            name = reference[2] or reference[3]
            try:
                return found.group(int(name) if name.isdigit() else name) or ""
            except (IndexError, KeyError):
                return ""

        return _REFERENCE.sub(group, template)

    return replaced
