"""What the questions about logs are answered with: the JSON of the API, and what the command line reads."""

from __future__ import annotations

import msgspec


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record. Ids are lower-case hex, empty when there are none."""

    time: str
    """ISO 8601, UTC, with nanoseconds."""
    nanos: int
    """The same since 1970."""
    service: str
    instance: str = ""
    source: str
    """`otlp`, `stdout` (captured output) or `platform` (atoll's own)."""
    kind: str = "line"
    """`line`; `cut` when the end is missing; `note` when atoll says it about the instance."""
    severity: int = 0
    """OTLP's number: 1 trace, 5 debug, 9 info, 13 warn, 17 error, 21 fatal; 0: not known."""
    level: str = ""
    """The level as it was printed."""
    scope: str = ""
    """The logger."""
    trace: str = ""
    span: str = ""
    run: str = ""
    """Start of the run of the instance, of captured lines."""
    text: str
    attributes: dict[str, str] = {}


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Records in the order that was asked for."""

    records: list[LogRecord]
    cursor: str | None = None
    """Where the next page begins; None: there is none. A page may hold fewer records than were asked for: a record
    that came in two ways is shown once.
    """


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """What is new since the last call with this cursor."""

    records: list[LogRecord]
    cursor: str
    skipped: int = 0
    """Records that were passed over because there were too many."""


class LogPattern(msgspec.Struct, frozen=True, kw_only=True):
    """Similar lines of one service."""

    service: str
    pattern: str
    """Their text, `<*>` where they differ."""
    count: int
    first: str
    """When the oldest of them was seen, since the beginning of the store."""
    last: str
    severity: int
    """The gravest."""
    level: str
    example: str
    new: bool
    """Not seen before the last deployment of the service."""


class Patterns(msgspec.Struct, frozen=True, kw_only=True):
    """The most frequent first."""

    patterns: list[LogPattern]
    deployed: dict[str, str]
    """When the last deployment of each service began, as far as its instances' output tells."""
    more: bool = False
    """There were more lines that differ than are looked at."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """How many records of each level began in one step of time."""

    time: str
    counts: dict[str, int]


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Buckets in order of time; empty ones are left out."""

    step: float
    """Seconds."""
    buckets: list[Bucket]
