"""Terminal codes: taken out of what is stored. Colours carry no fact; whatever else is left is escaped when shown."""

from __future__ import annotations

import re

_CODES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")


def bare(text: str) -> str:
    """`text` without terminal codes."""
    return _CODES.sub("", text) if "\x1b" in text else text
