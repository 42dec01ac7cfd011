"""Log records on stdout: `orders-1 | INFO  text`, several lines as one record, or a JSON document a line."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Any

from atoll.cli.invocation import Invocation
from atoll.cli.prefix import Prefixer
from atoll.cli.tint import tint

LEVEL_COLORS = ((17, "red"), (13, "yellow"), (1, ""))
"""From this severity number on."""
LEVEL_WIDTH = 5


class Printer:
    """Prints records the way that was asked for."""

    def __init__(self, invocation: Invocation, *, timestamps: bool) -> None:
        self._show = invocation.show
        self._color = invocation.use_color()
        self._prefixer = Prefixer(color=self._color)
        self._timestamps = timestamps

    def __call__(
        self,
        wall: float,
        service: str,
        instance: str,
        text: str,
        *,
        kind: str = "line",
        severity: int = 0,
        level: str = "",
        more: dict[str, Any] | None = None,
    ) -> None:
        """One record; `more` is only shown as JSON."""
        if self._show.as_json:
            told = {"time": wall, "service": service, "instance": instance, "kind": kind, "text": text}
            self._show.json_line({**told, **(more or {})})
            return
        stamp = f"{local_time(wall)} " if self._timestamps else ""
        quiet = kind == "note"
        lines = [f"({text})"] if quiet else (text + ("…" if kind == "cut" else "")).split("\n")
        word = "" if quiet or not level else f"{level[:8]:<{LEVEL_WIDTH}} "
        for index, line in enumerate(lines):
            shown = self._prefixer.line(
                service,
                instance or service,
                line,
                stamp=stamp,
                quiet=quiet,
                level="" if index else self._level(word, severity),
            )
            sys.stdout.write(shown + "\n")

    def _level(self, word: str, severity: int) -> str:
        color = next((name for least, name in LEVEL_COLORS if severity >= least), "")
        return tint(word, color, on=self._color) if word.strip().isalpha() else ""


def local_time(wall: float) -> str:
    """Wall time on this machine, to the millisecond."""
    try:
        return dt.datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return "?"
