"""Colours: a handful by name, and a stable one for each service."""

from __future__ import annotations

import zlib

CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}
PALETTE = ("36", "35", "34", "33", "32", "96", "95", "94", "93", "92", "38;5;208", "38;5;141")
"""Of services. Red is not among them: it means trouble."""


def tint(text: str, color: str, *, on: bool) -> str:
    """`text` in a colour of CODES, or unchanged when colours are off or the colour is empty."""
    return f"\x1b[{CODES[color]}m{text}\x1b[0m" if on and color else text


def service_tint(text: str, service: str, *, on: bool) -> str:
    """`text` in the colour of a service: the same today and tomorrow, on every machine."""
    if not on:
        return text
    code = PALETTE[zlib.crc32(service.encode("utf-8", "surrogatepass")) % len(PALETTE)]
    return f"\x1b[{code}m{text}\x1b[0m"
