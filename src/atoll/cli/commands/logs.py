"""`atoll logs`: what services print, merged by time, read from the files of the node on this machine."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator

import click

from atoll.cli.facts import parse_services, service_names, unknown_service
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import moment
from atoll.cli.options import command, complete_services
from atoll.cli.place import settings_here
from atoll.cli.prefix import Prefixer
from atoll.errors import AtollError, InvalidValue, Unreachable
from atoll.kit.text import scrub
from atoll.model.names import ServiceName
from atoll.settings import Settings
from atoll.supervisor.output import POLL, Follower, Kind, Line, read_logs, sources

TAIL = 100
"""Lines shown when nothing is said about how many."""
OVERLAP = 5000
"""Newest lines remembered, so that what came between reading and following is not shown twice."""


@command("logs", reads=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("--since", metavar="TIME", help="From then on (10m, or 2026-11-21T14:30).")
@click.option("-n", "--tail", metavar="N", help=f"The last N lines, or `all` [default: {TAIL}; all with --since].")
@click.option("--grep", metavar="REGEX", help="Only lines in which it is found.")
@click.option("-t", "--timestamps", is_flag=True, help="With the time of each line.")
def logs(
    invocation: Invocation,
    services: tuple[str, ...],
    *,
    follow: bool,
    since: str | None,
    tail: str | None,
    grep: str | None,
    timestamps: bool,
) -> None:
    """Show and follow what services print."""
    settings = settings_here(invocation)
    if settings is None:
        raise Unreachable(
            "no platform's logs are here or above", hint="logs are read on the machine of the node: go to its folder"
        )
    wanted = _known(invocation, settings, parse_services(services)) or None
    wall = invocation.clock.wall()
    start = moment(since, wall=wall, name="--since") if since is not None else None
    count = _count(tail, everything=since is not None)
    pattern = _pattern(grep)
    follower = Follower(settings.logs, wanted)
    if follow:
        follower.poll()  # from here on nothing is missed
    print_line = Printer(invocation, timestamps=timestamps)
    seen: deque[Line] = deque(maxlen=OVERLAP)
    for line in _kept(settings, wanted, start, count, pattern):
        print_line(line)
        seen.append(line)
    sys.stdout.flush()
    if follow:
        shown = Counter(seen)
        while True:
            for line in _matching(follower.poll(), pattern):
                if shown[line]:
                    shown[line] -= 1
                else:
                    print_line(line)
            sys.stdout.flush()
            threading.Event().wait(POLL)


def _kept(
    settings: Settings,
    wanted: tuple[ServiceName, ...] | None,
    start: float | None,
    count: int | None,
    pattern: re.Pattern[str] | None,
) -> Iterable[Line]:
    if pattern is None:
        return read_logs(settings.logs, wanted, since=start, tail=count)
    matching = _matching(read_logs(settings.logs, wanted, since=start), pattern)
    return matching if count is None else deque(matching, maxlen=count)


def _matching(lines: Iterable[Line], pattern: re.Pattern[str] | None) -> Iterator[Line]:
    for line in lines:
        if pattern is None or pattern.search(line.text):
            yield line


def _known(invocation: Invocation, settings: Settings, wanted: tuple[ServiceName, ...]) -> tuple[ServiceName, ...]:
    """Refuse a service that has neither a log nor a place in the running platform."""
    logged = {str(source.service) for source in sources(settings.logs)} if wanted else set()
    if not logged.issuperset(wanted):
        with contextlib.suppress(AtollError):
            logged |= set(service_names(invocation.quick_api))
        for name in wanted:
            if name not in logged:
                raise unknown_service(name, sorted(logged))
    return wanted


def _count(tail: str | None, *, everything: bool) -> int | None:
    if tail is None:
        return None if everything else TAIL
    if tail == "all":
        return None
    if not (tail.isascii() and tail.isdigit()) or len(tail) > 9:
        raise InvalidValue(f"--tail: {scrub(tail, limit=40)!r} is no number of lines", hint="write 100, or all")
    return int(tail)


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    if grep is None:
        return None
    try:
        return re.compile(grep)
    except re.error as error:
        raise InvalidValue(
            f"--grep: {error}", hint="it is a regular expression; quote ( ) [ ] . * with a backslash"
        ) from None


class Printer:
    """Prints one line the way that was asked for."""

    def __init__(self, invocation: Invocation, *, timestamps: bool) -> None:
        self._show = invocation.show
        self._prefixer = Prefixer(color=invocation.use_color())
        self._timestamps = timestamps

    def __call__(self, line: Line) -> None:
        """Print it."""
        if self._show.as_json:
            self._show.json_line(
                {
                    "time": line.wall,
                    "service": line.service,
                    "instance": line.instance,
                    "kind": line.kind.name.lower(),
                    "text": line.text,
                }
            )
            return
        stamp = f"{_time(line.wall)} " if self._timestamps else ""
        note = line.kind is Kind.NOTE
        text = f"({line.text})" if note else line.text + ("…" if line.kind is Kind.CUT else "")
        sys.stdout.write(self._prefixer.line(line.service, line.instance, text, stamp=stamp, quiet=note) + "\n")


def _time(wall: float) -> str:
    try:
        return dt.datetime.fromtimestamp(wall).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return "?"
