"""Which records came in two ways: printed, and sent as OTLP by the same call of a logger. Pure.

Decided when records are read, not when they are stored: the printed line is there at once and the OTLP record some
seconds later, and a crash may keep either from coming. A printed record and a sent one are twins when service and
instance are the same, the traces do not differ, the printed text is the sent one or ends with it, and the printed
one's time is at most LATER after and EARLIER before the sent one's. Each has at most one twin, in order of time: two
equal lines that were logged twice stay two.

What a service prints without a logger is sent too where a trace is known for it (scope PRINTED), line by line. Such a
record only tells the trace of the line that was captured: see `links`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from atoll.telemetry.logs.answers import LogRecord
from atoll.telemetry.logs.parse import parse_line

NANO = 1_000_000_000
PRINTED = "atoll.printed"
"""Scope of lines that were printed and are sent for the sake of their trace."""
ORIGINAL = "log.record.original"
"""Attribute of a record that was sent: what the logger's handler printed for it."""
LATER = 2 * NANO
"""Nanoseconds that a printed line may come after the record was made: it went through a pipe."""
EARLIER = NANO // 4
"""Nanoseconds that it may be stamped before it."""
SUFFIX_LEAST = 4
"""Characters of a sent text that a printed line may end with: shorter ones must be equal to it."""


def twins(records: Sequence[LogRecord]) -> dict[int, int]:
    """Of each printed record (by its index) that was sent as well, the index of the sent one."""
    sent: dict[str, list[int]] = {}
    for index in sorted(_of(records, "otlp"), key=lambda one: records[one].nanos):
        if records[index].scope == PRINTED:
            continue
        sent.setdefault(records[index].service, []).append(index)
    found: dict[int, int] = {}
    if not sent:
        return found
    times = {service: [records[index].nanos for index in indices] for service, indices in sent.items()}
    taken: set[int] = set()
    for printed in sorted(_of(records, "stdout"), key=lambda one: records[one].nanos):
        record = records[printed]
        candidates = sent.get(record.service)
        if candidates is None or record.kind == "note":
            continue
        first = bisect_left(times[record.service], record.nanos - LATER)
        said = first_line(record.text)
        for index in candidates[first:]:
            other = records[index]
            if other.nanos > record.nanos + EARLIER:
                break
            if index not in taken and _same(record, said, other):
                taken.add(index)
                found[printed] = index
                break
    return found


def links(records: Sequence[LogRecord]) -> dict[int, int]:
    """Of each PRINTED record the captured one that has its line; a stack trace has many."""
    captured = sorted(
        (index for index in _of(records, "stdout") if records[index].kind != "note"), key=lambda one: records[one].nanos
    )
    times = [records[index].nanos for index in captured]
    left = {index: [first_line(records[index].text), *_more(records[index].text)] for index in captured}
    found: dict[int, int] = {}
    for sent in sorted(_of(records, "otlp"), key=lambda one: records[one].nanos):
        record = records[sent]
        if record.scope != PRINTED:
            continue
        said = (first_line(parse_line(record.text).body), record.text.strip())
        for index in captured[bisect_left(times, record.nanos - LATER) :]:
            other = records[index]
            if other.nanos > record.nanos + LATER:
                break
            line = next((line for line in left[index] if line in said), None)
            if line is not None and (other.service, other.instance) == (record.service, record.instance):
                left[index].remove(line)
                found[sent] = index
                break
    return found


def _more(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")[1:]]


def first_line(text: str) -> str:
    """The first line of a text without the spaces around it."""
    return text.partition("\n")[0].strip()


def _of(records: Sequence[LogRecord], source: str) -> Iterable[int]:
    return (index for index, record in enumerate(records) if record.source == source)


def _same(printed: LogRecord, said: str, sent: LogRecord) -> bool:
    if printed.instance != sent.instance and printed.instance and sent.instance:
        return False
    if printed.trace != sent.trace and printed.trace and sent.trace:
        return False
    text = first_line(sent.text)
    if said == text:
        return True
    original = sent.attributes.get(ORIGINAL)
    if original and first_line(parse_line(first_line(original)).body) == said:
        return True
    if len(text) < SUFFIX_LEAST or not said.endswith(text):
        return False
    return not said[-len(text) - 1].isalnum()
