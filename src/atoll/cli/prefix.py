"""`orders-1 | text`: the prefix that says whose line it is, aligned, in the service's colour."""

from __future__ import annotations

from atoll.cli.tint import service_tint, tint
from atoll.kit.text import scrub

PREFIX_LIMIT = 32
"""Columns that instance names are padded to at most."""
LINE_LIMIT = 16 << 10
"""Characters of one line of output that are shown; the keeper of the instance cuts earlier."""


class Prefixer:
    """Renders lines of output; the prefix grows with the longest name seen."""

    def __init__(self, *, color: bool) -> None:
        self._color = color
        self._width = 0

    def line(
        self, service: str, instance: str, text: str, *, stamp: str = "", quiet: bool = False, level: str = ""
    ) -> str:
        """One line without its newline, scrubbed. `quiet`: a note about the output, not the output; `level`: a word
        of ours, in its colour, before the text.
        """
        label = scrub(instance if instance.startswith(service) else f"{service}/{instance}", limit=64)
        self._width = max(self._width, min(len(label), PREFIX_LIMIT))
        prefix = service_tint(f"{label:<{self._width}} |", service, on=self._color)
        shown = scrub(text, limit=LINE_LIMIT)
        return f"{stamp}{prefix} {level}{tint(shown, 'dim', on=self._color) if quiet else shown}"
