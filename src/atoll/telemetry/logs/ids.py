"""Trace and span ids in printed text: `trace_id=…`, `traceId":"…`, a traceparent. Lower-case hex, never all zeros."""

from __future__ import annotations

import re

_TRACE = re.compile(r"(?i:trace[_.\-]?id)[\"']?\s{0,4}[=:]\s{0,4}[\"']?([0-9a-fA-F]{32})(?![0-9a-fA-F])")
_SPAN = re.compile(r"(?i:span[_.\-]?id)[\"']?\s{0,4}[=:]\s{0,4}[\"']?([0-9a-fA-F]{16})(?![0-9a-fA-F])")
_PARENT = re.compile(r"(?<![0-9a-f])00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?![0-9a-f])")
_TRACE_HEX = re.compile(r"[0-9a-fA-F]{32}")
_SPAN_HEX = re.compile(r"[0-9a-fA-F]{16}")


def trace_id(text: object) -> str:
    """`text` as a trace id; empty when it is none. A UUID's dashes are left out."""
    if not isinstance(text, str) or len(text) > 36:
        return ""
    plain = text.replace("-", "") if len(text) == 36 else text
    return plain.lower() if _TRACE_HEX.fullmatch(plain) and plain.strip("0") else ""


def span_id(text: object) -> str:
    """`text` as a span id; empty when it is none."""
    if not isinstance(text, str):
        return ""
    return text.lower() if _SPAN_HEX.fullmatch(text) and text.strip("0") else ""


def ids_in(text: str) -> tuple[str, str]:
    """The ids that a text names; empty where it names none."""
    trace = span = ""
    if "race" in text or "RACE" in text:
        found = _TRACE.search(text)
        if found:
            trace = trace_id(found[1])
            found = _SPAN.search(text)
            span = span_id(found[1]) if found else ""
            return trace, span
    if "00-" in text:
        found = _PARENT.search(text)
        if found and found[1].strip("0"):
            trace, span = found[1], span_id(found[2])
    return trace, span
