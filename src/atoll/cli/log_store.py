"""`atoll logs` with telemetry: records of all services, instances and past runs, OTLP ones included; live tail; patterns."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import msgspec

from atoll.cli.api import Api
from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.log_printer import Printer
from atoll.cli.log_wish import Wish
from atoll.cli.numbers import clock_time
from atoll.cli.show import Cell, service_cell
from atoll.errors import InvalidValue, NotFound, Overloaded, TelemetryUnavailable, Unreachable
from atoll.telemetry.logs.answers import LogRecord, Page, Patterns, Tail

PAGE = 1000
"""Records asked for at a time."""
WAIT = 5
"""Seconds that a question for new records waits for some."""
PRESENT = 2.0
"""Seconds that telemetry has for a sign of life; without one the files are read."""
AGAIN = 1.0
"""Seconds between two tries while telemetry is away."""
NANO = 1_000_000_000
AWAY = (TelemetryUnavailable, Unreachable, Overloaded)


class Store:
    """Telemetry's records over the control plane."""

    def __init__(self, invocation: Invocation, api: Api, wish: Wish) -> None:
        self._invocation = invocation
        self._api = api
        self._wish = wish
        self.printed = False
        """Something was printed: who falls back to files now would print it twice."""

    def present(self) -> None:
        """Ask for a sign of life, and do not wait long for it.

        Raises:
            TelemetryUnavailable, NotFound, Unreachable: there is no telemetry now.
        """
        self._api.get(f"{V1}/telemetry/status", timeout=PRESENT)

    def show(self, printer: Printer, *, follow: bool) -> None:
        """Print what there is; with `follow` go on for ever, over restarts of telemetry too.

        Raises:
            TelemetryUnavailable, NotFound, Unreachable: it is not there; see `printed`.
        """
        cursor = self._begin() if follow else ""  # from here on nothing is missed
        shown: Counter[tuple[int, str, str, str]] = Counter()
        last = 0
        for record in self._kept():
            self._print(printer, record)
            last = max(last, record.nanos)
            if follow:
                shown[_key(record)] += 1
        sys.stdout.flush()
        while follow:
            try:
                answer = self._api.get_as(
                    f"{V1}/logs/tail", Tail, [("cursor", cursor), ("wait", WAIT)], timeout=WAIT + 10.0
                )
                found, cursor = answer.records, answer.cursor
                if answer.skipped:
                    self._invocation.talk.note(f"{answer.skipped} records not shown here; without -f all are")
            except (InvalidValue, *AWAY) as error:
                cursor, found = self._again(error, last)
            for record in found:
                if shown[_key(record)]:
                    shown[_key(record)] -= 1
                    continue
                self._print(printer, record)
                last = max(last, record.nanos)
            sys.stdout.flush()

    def patterns(self, *, new: bool, limit: int) -> None:
        """Similar lines, grouped, as a table.

        Raises:
            TelemetryUnavailable, NotFound, Unreachable: there is no telemetry.
        """
        query = [*self._wish.query(), ("limit", min(limit, 5000)), ("new", "true" if new else "false")]
        found = self._api.get_as(f"{V1}/logs/patterns", Patterns, query)
        out = self._invocation.show
        if out.as_json:
            out.json(msgspec.to_builtins(found))
            return
        out.table(
            ("COUNT", "LEVEL", "SERVICE", "FIRST", "LAST", "PATTERN"),
            [
                [
                    str(one.count),
                    Cell(one.level, "red" if one.severity >= 17 else "yellow" if one.severity >= 13 else ""),
                    service_cell(one.service),
                    _local(one.first),
                    _local(one.last),
                    ("new: " if one.new and not new else "") + one.pattern,
                ]
                for one in found.patterns
            ],
        )
        if new and not found.patterns:
            self._invocation.talk.note("no line that was not seen before the last deployment")
        if found.more:
            self._invocation.talk.note("there are more patterns: name a service, a level, or a shorter time")

    def _begin(self) -> str:
        return self._api.get_as(f"{V1}/logs/tail", Tail, self._wish.query(live=True)).cursor

    def _kept(self) -> Iterator[LogRecord]:
        """The records that there are, the oldest first."""
        wish = self._wish
        if wish.count is None:
            yield from self._pages("oldest", None)
        elif wish.count:
            yield from reversed(list(self._pages("newest", wish.count)))

    def _pages(self, order: str, count: int | None) -> Iterator[LogRecord]:
        cursor: str | None = None
        left = count
        while left is None or left > 0:
            query = [*self._wish.query(), ("order", order), ("limit", PAGE if left is None else min(left, PAGE))]
            page = self._api.get_as(f"{V1}/logs", Page, query if cursor is None else [*query, ("cursor", cursor)])
            yield from page.records
            if left is not None:
                left -= len(page.records)
            if page.cursor is None or page.cursor == cursor:
                return
            cursor = page.cursor

    def _again(self, error: Exception, last: int) -> tuple[str, list[LogRecord]]:
        """A new tail after a break, and what was stored meanwhile."""
        self._invocation.talk.note(f"telemetry is away, what is missing comes later: {error}")
        while True:
            threading.Event().wait(AGAIN)
            try:
                cursor = self._begin()
                since = (last + 1) / NANO if last else self._invocation.clock.wall()
                missed = Store(self._invocation, self._api, replace(self._wish, since=since, count=None))
                return cursor, [record for record in missed._pages("oldest", None) if record.nanos > last]
            except AWAY:
                continue

    def _print(self, printer: Printer, record: LogRecord) -> None:
        told = msgspec.to_builtins(record)
        self.printed = True
        printer(
            record.nanos / NANO,
            record.service,
            record.instance,
            record.text,
            kind=record.kind,
            severity=record.severity,
            level=record.level,
            more={name: told[name] for name in MORE if name in told},
        )


MORE = ("nanos", "source", "severity", "level", "scope", "trace", "span", "run", "attributes")
"""What JSON has beside time, service, instance, kind and text."""
ABSENT = (*AWAY, NotFound)
"""How a platform without telemetry answers."""


def _key(record: LogRecord) -> tuple[int, str, str, str]:
    return record.nanos, record.instance, record.source, record.text


def _local(time: str) -> str:
    import datetime as dt

    return clock_time(dt.datetime.fromisoformat(time[:26] + "Z").timestamp())[:19]
