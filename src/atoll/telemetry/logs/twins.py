"""Which records came in two ways: printed, and sent as OTLP by the same call of a logger. Pure.

Decided when records are read, not when they are stored: the printed line is there at once and the OTLP record some
seconds later, and a crash may keep either from coming. A printed record and a sent one are twins when service and
instance are the same, the traces do not differ, the printed text is the sent one or ends with it, and the printed
one's time is at most LATER after and EARLIER before the sent one's. Each has at most one twin, in order of time: two
equal lines that were logged twice stay two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from atoll.telemetry.logs.answers import LogRecord

NANO = 1_000_000_000
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
    if len(text) < SUFFIX_LEAST or not said.endswith(text):
        return False
    return not said[-len(text) - 1].isalnum()
