"""atoll's own log lines while a console is shown: they pass through it, so they never tear a line apart."""

from __future__ import annotations

import logging
import time

from atoll.cli.console import Console


class ConsoleHandler(logging.Handler):
    """Warnings and errors as such, the rest as notes. `stamped`: with time and level, for a log file."""

    def __init__(self, console: Console, *, stamped: bool) -> None:
        super().__init__()
        self._console = console
        self._stamped = stamped

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record to the console; a broken record is logging's own business."""
        try:
            text = f"{record.name.removeprefix('atoll.')}: {record.getMessage()}"
        except (TypeError, ValueError):
            self.handleError(record)
            return
        if self._stamped:
            text = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {text}"
        if record.levelno >= logging.WARNING:
            self._console.warning(text)
        else:
            self._console.note(text)


def log_to_console(console: Console, verbose: int, *, plain: bool) -> None:
    """Send atoll's log lines to the console: warnings, with -v everything worth knowing, with -vv everything."""
    handler = ConsoleHandler(console, stamped=plain)
    root = logging.getLogger("atoll")
    root.handlers[:] = [handler]
    wanted = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler.setLevel(wanted)  # others may want more
    root.setLevel(wanted)
    root.propagate = False
