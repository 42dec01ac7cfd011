"""Log lines of atoll's own processes: one line each, `key=value`, scrubbed, to stderr.

Our own logs stay on the standard `logging` module, so a host program's handlers keep working. What is logged is data
from outside more often than not; every value passes `scrub`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from atoll.kit.text import scrub

FORMAT, TIME = "%(asctime)s %(levelname)-7s %(name)s %(message)s", "%H:%M:%S"
"""Of a line, and of the time in it."""


class Log:
    """A named logger whose methods take fields instead of formatted text."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"atoll.{name}")

    def debug(self, event: str, **fields: Any) -> None:
        """Detail for whoever debugs atoll itself."""
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Something happened that an operator may want to know."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something is not as it should be, and atoll copes."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed that somebody must look at."""
        self._write(logging.ERROR, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", render_line(event, fields))


def render_line(event: str, fields: dict[str, Any]) -> str:
    """`event key=value …`; values with spaces or quotes are quoted, all are scrubbed."""
    return " ".join([scrub(event), *(f"{key}={_value(value)}" for key, value in fields.items())])


def _value(value: Any) -> str:
    text = scrub(f"{value:.6g}" if isinstance(value, float) else str(value), limit=512)
    if not text or any(character in ' ="' for character in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def log_to_stderr(level: str = "INFO") -> None:
    """Send atoll's own log lines to stderr, with time and level; replaces an earlier call's handler."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(FORMAT, TIME))
    root = logging.getLogger("atoll")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
