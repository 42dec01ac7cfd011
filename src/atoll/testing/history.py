"""What was asked and what was answered, one JSON line a call: the record that every check judges.

Owns the format and the file. Promises that a call is in the file before its caller goes on, so that a history is whole
up to the moment of a crash, and that it can be judged again later (etcd's practice). Times are monotonic seconds of
this machine, so histories of several processes can be merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from atoll.kit.clock import Clock, SystemClock


class Outcome(StrEnum):
    """What a caller knows of its call."""

    OK = "ok"
    REFUSED = "refused"
    """It did not happen, and the caller was told so."""
    UNKNOWN = "unknown"
    """No answer: it may have happened, or may happen until the process that had it is dead."""


class Call(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One call of one client. `end` is when the answer came, or when the client gave up."""

    client: str
    call: str
    arguments: dict[str, Any] = {}
    start: float
    end: float
    outcome: Outcome
    answer: Any = None
    error: str | None = None
    """A code for a refusal, a few words for an unknown outcome."""
    revision: int | None = None
    """The store's revision that the answer speaks of."""


class Pending:
    """A call under way; made by `History.call`. Without a word its outcome is unknown."""

    def __init__(self) -> None:
        self.outcome = Outcome.UNKNOWN
        self.value: Any = None
        self.error: str | None = "no answer"
        self.revision: int | None = None

    def answered(self, value: Any = None, *, revision: int | None = None) -> None:
        """It happened."""
        self.outcome, self.value, self.error, self.revision = Outcome.OK, value, None, revision

    def refused(self, error: str, *, value: Any = None) -> None:
        """It did not happen, for the reason with this code."""
        self.outcome, self.value, self.error = Outcome.REFUSED, value, error

    def lost(self, error: str) -> None:
        """Nobody knows; in a few words, why."""
        self.outcome, self.error = Outcome.UNKNOWN, error


class History:
    """Appends calls to the file at `path`; `calls` holds those of this object."""

    def __init__(self, path: Path, clock: Clock | None = None) -> None:
        self.path = path
        self.calls: list[Call] = []
        self._clock = clock or SystemClock()
        self._file = path.open("ab", buffering=0)

    @contextmanager
    def call(self, client: str, name: str, **arguments: Any) -> Iterator[Pending]:
        """Record one call: started here, ended with the block, also when it raises (outcome as told by then)."""
        pending = Pending()
        start = self._clock.now()
        try:
            yield pending
        finally:
            self.append(
                Call(
                    client=client,
                    call=name,
                    arguments=arguments,
                    start=start,
                    end=self._clock.now(),
                    outcome=pending.outcome,
                    answer=pending.value,
                    error=pending.error,
                    revision=pending.revision,
                )
            )

    def append(self, call: Call) -> None:
        """Write a call down."""
        self._file.write(msgspec.json.encode(call) + b"\n")
        self.calls.append(call)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(*paths: Path) -> list[Call]:
    """The calls of all files, in the order in which they started.

    A last line that was cut off by a crash is left out; any other bad line raises.

    Raises:
        msgspec.DecodeError: a line is not a call.
    """
    calls: list[Call] = []
    for path in paths:
        lines = path.read_bytes().split(b"\n")
        calls.extend(msgspec.json.decode(line, type=Call) for line in lines[:-1])  # what follows the last \n is torn
    return sorted(calls, key=lambda call: call.start)


def acknowledged(calls: Iterable[Call], *names: str) -> list[Call]:
    """Those calls (of these names, or of all) that were answered."""
    return [call for call in calls if call.outcome is Outcome.OK and (not names or call.call in names)]
