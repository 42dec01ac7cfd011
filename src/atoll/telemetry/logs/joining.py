"""Lines that belong to one record: the stack traces of Python, Java, Node.js and Go, with the log line that told of them.

Pure: a group is asked of each next line of the same instance whether it takes it. It is closed by a line that it does
not take, by time, and by size; two instances never share one.
"""

from __future__ import annotations

import re
from enum import IntEnum

from atoll.telemetry.logs.levels import ERROR, FATAL
from atoll.telemetry.logs.parse import parse_line
from atoll.telemetry.logs.record import VALUE_LIMIT, Parsed

GAP = 1.0
"""Seconds between two lines of one record at most, by the keeper's stamps."""
TOLD = 0.1
"""Seconds between a log line and the trace below it at most: they are one write of the program."""
LINES = 1000
"""Lines of one record at most; what follows is a record of its own."""
CHARACTERS = 64 << 10
"""Of one record at most."""
TRACEBACK = "Traceback (most recent call last)"
_GROUP = "  + Exception Group Traceback (most recent call last)"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_AT = re.compile(r"[ \t]{1,16}(?:at \S|\.\.\. \d+ (?:more|common frames)|Suppressed: |Caused by: )|Caused by: \S")
_JAVA = re.compile(
    r"(?:Exception in thread \"|(?:[a-z_$][\w$]*\.){1,20}[A-Z][\w$]*(?:Exception|Error|Throwable)(?::|$))"
)
_PYTHON = re.compile(r"(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_THROWN = re.compile(
    r"(?:Exception in thread \"[^\"]*\" |Uncaught )?(?P<type>[A-Za-z_$][\w.$]*)(?:: (?P<message>.*))?$"
)
_CALL = re.compile(r"[\w./*()\-\[\]{}·%$]{1,500}?\(")
_PANICS = ("panic: ", "fatal error: ", "SIGSEGV", "runtime: goroutine stack")
STARTS = (TRACEBACK, _GROUP, *_PANICS)
"""What a record of several lines may begin with, without a log line above it."""
_GRAVE = (
    "rror",
    "ERROR",
    "WARN",
    "xception",
    "CRIT",
    "FATAL",
    "SEVERE",
    "hrowable",
    "panic",
    "arning",
    "atal",
    "Traceback",
)
_NEXT = " \tTC"


class State(IntEnum):
    """Where in a record we are."""

    HEAD = 0
    FRAMES = 1
    """Of a Python traceback, before the exception's line."""
    RAISED = 2
    """Behind the exception's line."""
    CHAINED = 3
    """Between two tracebacks of one chain."""
    AT = 4
    """Frames of Java or Node.js."""
    GO = 5


def may_go_on(text: str) -> bool:
    """Whether a line could be the first of several: the last line that was read is held back for a moment then."""
    return any(word in text for word in _GRAVE) or text.startswith(_PANICS)


def may_belong(text: str) -> bool:
    """Whether a line could belong to the one before it: a quick look that is never wrong with no."""
    return text[:1] in _NEXT or "xception" in text or "Error" in text or "hrowable" in text


class Group:
    """One record in the making. `start` is the caller's: where its first line begins."""

    __slots__ = ("first", "last", "more", "raised", "size", "start", "state", "wall")

    def __init__(self, text: str, wall: float, start: int) -> None:
        self.first, self.wall, self.last, self.start = text, wall, wall, start
        self.more: list[str] = []
        self.raised = ""
        self.size = len(text)
        self.state = State.HEAD
        if text.startswith((TRACEBACK, _GROUP)):
            self.state = State.FRAMES
        elif text.startswith(_PANICS):
            self.state = State.GO

    def takes(self, text: str, wall: float) -> bool:
        """Add the line if it belongs here."""
        if not 0 <= wall - self.last <= GAP or len(self.more) >= LINES or self.size + len(text) > CHARACTERS:
            return False
        state = self._after(text, wall)
        if state is None:
            return False
        self.state, self.last = state, wall
        self.size += len(text) + 1
        self.more.append(text)
        return True

    def _after(self, text: str, wall: float) -> State | None:
        """The state after this line; None: it does not belong here."""
        match self.state:
            case State.HEAD:
                return self._after_head(text, wall)
            case State.FRAMES:
                if not text or text[0] in " \t":
                    return State.FRAMES
                self.raised = text
                return State.RAISED
            case State.RAISED:
                if text.startswith(_CHAINED):
                    return State.CHAINED
                return State.RAISED if not text.strip() or text[0] in " \t" else None
            case State.CHAINED:
                if text.startswith(TRACEBACK):
                    return State.FRAMES
                return State.CHAINED if not text.strip() else None
            case State.AT:
                return State.AT if _AT.match(text) or text[:1] in {" ", "\t"} or text == "}" else None
            case State.GO:
                known = not text or text[0] in "\t[" or text.startswith(("goroutine ", "created by ", "exit status "))
                return (
                    State.GO
                    if known or text.startswith(_PANICS) or (text.endswith(")") and _CALL.match(text))
                    else None
                )

    def _after_head(self, text: str, wall: float) -> State | None:
        if not may_go_on(self.first):
            return None
        if _AT.match(text):
            return State.AT
        if wall - self.wall > TOLD:
            return None
        if text.startswith((TRACEBACK, _GROUP)):
            return State.FRAMES
        if _JAVA.match(text):
            self.raised = text
            return State.AT
        return None

    def parsed(self) -> Parsed:
        """The record: what the first line says, with the others below it in the body."""
        told = parse_line(self.first)
        more = self.more
        while more and not more[-1].strip():
            more.pop()
        if not more:
            return told
        attributes = dict(told.attributes or {})
        match = _PYTHON.match(self.raised) if self.state in {State.RAISED, State.CHAINED} else None
        if self.state is State.AT:
            match = _THROWN.match(self.raised or told.body)
        if match is not None:
            attributes["exception.type"] = match["type"][:VALUE_LIMIT]
            if match["message"]:
                attributes["exception.message"] = match["message"][:VALUE_LIMIT]
        severity, level = told.severity, told.level
        if self.state is State.GO and severity < FATAL:
            severity, level = FATAL, "FATAL"
        elif not severity:
            severity, level = ERROR, "ERROR"
        return told._replace(
            body="\n".join((told.body, *more)), severity=severity, level=level, attributes=attributes or None
        )
