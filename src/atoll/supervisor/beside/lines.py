"""What the app says while it answers a request, with the trace it belongs to; what it prints stays as it is.

Records of `logging` are taken where its loggers hand them to handlers, so the app's handlers, formats and `basicConfig` are
untouched; the text that a handler printed for a record goes along as `log.record.original`. Other printed lines are sent
when a trace is known for them. Whoever collects the printed lines as well finds the equal text here.
"""

import contextlib
import io
import logging
import sys
import threading
import time
import traceback
from types import ModuleType
from typing import Any

from . import wire
from .note import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outbox import Outbox

PRINTED = wire.Scope("atoll.printed")
LINE_MOST = 8192
"""Characters of a printed line; the rest is cut, as it is where the output is captured."""
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}
_SILENT = ("opentelemetry", "atoll_beside")


class State(threading.local):
    """Of this thread: the record that handlers are printing, and the lines that have no end yet."""

    record: list[str] | None = None
    open: dict[str, str] | None = None


_state = State()
_outbox: "Outbox | None" = None
_ids: Any = None


def send_to(outbox: "Outbox", ids: Any) -> None:
    """From now on there is somebody to send to; `ids` gives (trace id, span id, flags) of this moment."""
    global _outbox, _ids
    _outbox, _ids = outbox, ids


def flush() -> None:
    """Send what waits: the process is about to end."""
    if _outbox is not None:
        _outbox.flush()


def ids_now() -> tuple[int, int, int] | None:
    """Trace id, span id and flags of what runs here; zeros for none, None when it is no news."""
    found: tuple[int, int, int] | None = _ids()
    return found


def listen() -> None:
    """Hear the standard streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is not io.TextIOWrapper or stream.closed or stream.isatty():
            continue
        stream.flush()
        encoding, errors = stream.encoding, stream.errors
        at_once, through = stream.line_buffering, stream.write_through
        heard = Heard(stream.detach(), encoding, errors, "\n", line_buffering=at_once, write_through=through)
        heard.mode = "w"
        heard.called = name
        setattr(sys, name, heard)
        setattr(sys, f"__{name}__", heard)


class Heard(io.TextIOWrapper):
    """A standard stream whose lines are heard."""

    called = ""
    mode = "w"

    def write(self, text: str, /) -> int:
        """As it was."""
        written = super().write(text)
        if _outbox is not None:
            _hear(self.called, text)
        return written


def _hear(stream: str, text: str) -> None:
    state = _state
    if state.record is not None:
        state.record.append(text)
        return
    begun = state.open
    if begun is None:
        begun = state.open = {}
    whole = begun.pop(stream, "") + text
    *lines, rest = whole.split("\n")
    if rest:
        begun[stream] = rest[:LINE_MOST]
    if lines:
        state.record = []  # what we print ourselves is not heard
        try:
            _printed(stream, lines)
        except Exception as error:
            note("printed lines are not linked to traces", error)
        finally:
            state.record = None


def _printed(stream: str, lines: list[str]) -> None:
    found = ids_now()
    if found is None or not found[0] or _outbox is None:
        return
    trace_id, span_id, flags = found
    now = time.time_ns()
    for line in lines:
        if line.strip():
            text, where = line.removesuffix("\r")[:LINE_MOST], {"log.iostream": stream}
            _outbox.put_line(wire.Line(now, PRINTED, text, 0, "", trace_id, span_id, flags, "", where))


def hear_logging(module: ModuleType) -> None:
    """Take what loggers hand to their handlers."""
    logger = module.Logger
    original = logger.callHandlers

    def callHandlers(self: logging.Logger, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        if _outbox is None or record.name.startswith(_SILENT):
            original(self, record)
            return
        state = _state
        outer, state.record = state.record, []
        try:
            original(self, record)
        finally:
            printed, state.record = "".join(state.record), outer
            if outer is not None:
                outer.append(printed)
            try:
                _send(record, printed)
            except Exception as error:
                note("log records are not sent", error)

    logger.callHandlers = callHandlers


def _send(record: logging.LogRecord, printed: str) -> None:
    found = ids_now()
    if _outbox is None or found is None:
        return
    trace_id, span_id, flags = found
    attributes: dict[str, Any] = {
        name: given
        for name, given in vars(record).items()
        if name not in _STANDARD and isinstance(given, str | int | float | bool)
    }
    if record.exc_info and record.exc_info[0] is not None:
        kind, error, trace = record.exc_info
        attributes["exception.type"] = kind.__name__
        attributes["exception.message"] = str(error)
        attributes["exception.stacktrace"] = "".join(traceback.format_exception(kind, error, trace))
    if printed.strip():
        attributes["log.record.original"] = printed.rstrip("\r\n")[: 4 * LINE_MOST]
    body = str(record.msg)
    with contextlib.suppress(Exception):  # arguments that do not fit their format: the app's own handlers said so
        body = record.getMessage()
    _outbox.put_line(
        wire.Line(
            int(record.created * 1e9),
            wire.Scope(record.name),
            body,
            severity=severity(record.levelno),
            severity_text=record.levelname,
            trace_id=trace_id,
            span_id=span_id,
            flags=flags,
            attributes=attributes,
        )
    )


def severity(level: int) -> int:
    """OTLP's number for one of logging's."""
    if level < logging.DEBUG:
        return 1
    for floor, number in ((logging.CRITICAL, 21), (logging.ERROR, 17), (logging.WARNING, 13), (logging.INFO, 9)):
        if level >= floor:
            return number
    return 5
