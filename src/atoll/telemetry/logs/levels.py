"""Levels: the words and numbers that loggers use, as OTLP's severity numbers (1 trace, 5 debug, 9 info, 13 warn, 17
error, 21 fatal). A word that is not here is no level.
"""

from __future__ import annotations

import re

TRACE, DEBUG, INFO, NOTICE, WARN, ERROR, FATAL = 1, 5, 9, 10, 13, 17, 21

SEVERITY: dict[str, int] = {
    "TRACE": TRACE,
    "TRC": TRACE,
    "FINEST": TRACE,
    "FINER": 3,
    "VERBOSE": 3,
    "DEBUG": DEBUG,
    "DBG": DEBUG,
    "FINE": DEBUG,
    "CONFIG": 8,
    "INFO": INFO,
    "INF": INFO,
    "INFORMATION": INFO,
    "INFORMATIONAL": INFO,
    "LOG": INFO,
    "SUCCESS": INFO,
    "NOTICE": NOTICE,
    "WARN": WARN,
    "WARNING": WARN,
    "WRN": WARN,
    "ERROR": ERROR,
    "ERR": ERROR,
    "EXCEPTION": ERROR,
    "SEVERE": ERROR,
    "DPANIC": ERROR,
    "CRITICAL": FATAL,
    "CRIT": FATAL,
    "FATAL": FATAL,
    "FTL": FATAL,
    "PANIC": FATAL,
    "ALERT": 22,
    "EMERG": 24,
    "EMERGENCY": 24,
}
"""Of a word in capitals."""

WORDS = "|".join(sorted(SEVERITY, key=len, reverse=True))
"""For regular expressions, longest first."""
FILTERS = {
    "trace": TRACE,
    "debug": DEBUG,
    "info": INFO,
    "warn": WARN,
    "warning": WARN,
    "error": ERROR,
    "fatal": FATAL,
    "critical": FATAL,
}
"""What `--level` understands: everything at least as grave."""
NAMES = ((FATAL, "FATAL"), (ERROR, "ERROR"), (WARN, "WARN"), (INFO, "INFO"), (DEBUG, "DEBUG"), (1, "TRACE"))

_NODE: dict[float, int] = {10: TRACE, 20: DEBUG, 30: INFO, 40: WARN, 50: ERROR, 60: FATAL}
_SYSLOG = (24, 22, FATAL, ERROR, WARN, NOTICE, INFO, DEBUG)
_PYTHON: dict[float, int] = {10: DEBUG, 20: INFO, 30: WARN, 40: ERROR, 50: FATAL}
# Capitals anywhere near the start, or any spelling that a colon or bracket marks as a level.
_IN_TEXT = re.compile(
    r"(?<![\w.-])(?:(TRACE|DEBUG|INFO|NOTICE|WARNING|WARN|ERROR|CRITICAL|FATAL|PANIC|SEVERE)(?![\w=/-])"
    r"|(?i:(debug|info|notice|warning|warn|error|err|critical|crit|fatal|panic))(?=\]|: |:$))"
)
TEXT_LIMIT = 80
"""Characters of a text in which a level is looked for."""


def severity_of(word: str) -> int:
    """The number of a level's word in any spelling; 0 when it is none."""
    return SEVERITY.get(word) or SEVERITY.get(word.strip().upper(), 0)


def name_of(severity: int) -> str:
    """The plain name of a severity number; empty for 0."""
    return next((name for least, name in NAMES if severity >= least), "")


def severity_of_number(number: float, key: str) -> int:
    """The number of a numeric level under `key` of a JSON line: pino and bunyan (10–60), syslog (0–7), and Python's
    own (10–50) where the key is Python's.
    """
    if key == "levelno":
        return _PYTHON.get(number, 0)
    if key in {"severity_number", "SeverityNumber", "severityNumber"}:
        return int(number) if 1 <= number <= 24 else 0
    if number in _NODE:
        return _NODE[number]
    return _SYSLOG[int(number)] if number in range(8) else 0


def in_text(text: str) -> tuple[int, str]:
    """The level that a text names near its start, and the word; (0, '') when none."""
    found = _IN_TEXT.search(text, 0, TEXT_LIMIT)
    if found is None:
        return 0, ""
    word = (found[1] or found[2]).upper()
    return SEVERITY[word], word
