"""`atoll logs` without telemetry: the files of the node on this machine, as they were printed."""

from __future__ import annotations

import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from atoll.cli.log_printer import Printer
from atoll.cli.log_wish import Wish
from atoll.model.names import ServiceName
from atoll.settings import Settings
from atoll.supervisor.output import POLL, Follower, Kind, Line, read_logs
from atoll.telemetry.logs.joining import Group
from atoll.telemetry.logs.parse import parse_line

OVERLAP = 5000
"""Newest lines remembered, so that what came between reading and following is not shown twice."""


@dataclass
class Files:
    """The files, and what is wanted of them."""

    settings: Settings
    wish: Wish

    def show(self, printer: Printer, *, follow: bool) -> None:
        """Print what there is; with `follow` go on for ever."""
        follower = Follower(self.settings.logs, self._services)
        if follow:
            follower.poll()  # from here on nothing is missed
        seen: deque[Line] = deque(maxlen=OVERLAP)
        for line in self._kept():
            _print(printer, line)
            seen.append(line)
        sys.stdout.flush()
        if follow:
            shown = Counter(seen)
            while True:
                for line in self._matching(follower.poll()):
                    if shown[line]:
                        shown[line] -= 1
                    else:
                        _print(printer, line)
                sys.stdout.flush()
                threading.Event().wait(POLL)

    @property
    def _services(self) -> tuple[ServiceName, ...] | None:
        return self.wish.services or None

    def _kept(self) -> Iterable[Line]:
        wish = self.wish
        plain = wish == Wish(services=wish.services, since=wish.since, count=wish.count)
        if plain:
            return read_logs(self.settings.logs, self._services, since=wish.since, tail=wish.count)
        matching = self._matching(read_logs(self.settings.logs, self._services, since=wish.since))
        return matching if wish.count is None else deque(matching, maxlen=wish.count)

    def _matching(self, lines: Iterable[Line]) -> Iterator[Line]:
        wish, pattern = self.wish, self.wish.pattern
        chosen = _Chosen(wish)
        for line in lines:
            if wish.instances and line.instance not in wish.instances:
                continue
            if wish.until is not None and line.wall >= wish.until:
                continue
            if not chosen(line):
                continue
            if pattern is None or pattern.search(line.text):
                yield line


class _Chosen:
    """Whether a line's record is grave enough and of the trace; the lines of a stack trace go with its first."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._open: dict[str, tuple[Group, bool]] = {}

    def __call__(self, line: Line) -> bool:
        wish = self._wish
        if not wish.least and not wish.trace:
            return True
        group = self._open.get(line.instance)
        if group is not None and line.kind is Kind.LINE and group[0].takes(line.text, line.wall):
            return group[1]
        made = Group(line.text, line.wall, 0)
        told = parse_line(line.text)
        severity = max(told.severity, 17 if made.state else 0)
        good = severity >= wish.least and (not wish.trace or told.trace == wish.trace)
        self._open[line.instance] = made, good and line.kind is not Kind.NOTE
        return self._open[line.instance][1]


def _print(printer: Printer, line: Line) -> None:
    printer(line.wall, line.service, line.instance, line.text, kind=line.kind.name.lower())
