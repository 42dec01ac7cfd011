"""`atoll logs`: what services print and send: out of telemetry's store, or, without it, the files of the node here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.facts import parse_services, service_names, unknown_service
from atoll.cli.invocation import Invocation
from atoll.cli.log_wish import TAIL, Wish, checked_count, checked_level, checked_trace, unknown_among
from atoll.cli.numbers import moment
from atoll.cli.options import command, complete_services
from atoll.cli.place import settings_here
from atoll.errors import AtollError, InvalidValue
from atoll.settings import Settings

if TYPE_CHECKING:
    from atoll.cli.log_store import Store

WAY_OF_LEVELS = "Only records at least as grave: debug, info, warn, error, fatal."


@command("logs", reads=True)
@click.argument("services", nargs=-1, metavar="[SERVICE]...", shell_complete=complete_services)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("--since", metavar="TIME", help="From then on (10m, or 2026-11-21T14:30).")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("-n", "--tail", metavar="N", help=f"The last N lines, or `all` [default: {TAIL}; all with --since].")
@click.option("--level", metavar="LEVEL", help=WAY_OF_LEVELS)
@click.option("--grep", metavar="REGEX", help="Only lines in which it is found.")
@click.option("-w", "--word", is_flag=True, help="--grep is whole words that all occur: fast over everything kept.")
@click.option("--trace", metavar="ID", help="Only what belongs to this trace.")
@click.option("--instance", "instances", metavar="ID", multiple=True, help="Only of this instance; may be repeated.")
@click.option("--patterns", is_flag=True, help="Similar lines grouped, with counts (last hour, or --since).")
@click.option("--new", is_flag=True, help="With --patterns: only what the last deployment of a service brought.")
@click.option("--platform", is_flag=True, help="What atoll's own processes print, instead of the services.")
@click.option("-t", "--timestamps", is_flag=True, help="With the time of each line.")
def logs(
    invocation: Invocation,
    services: tuple[str, ...],
    *,
    follow: bool,
    since: str | None,
    until: str | None,
    tail: str | None,
    level: str | None,
    grep: str | None,
    word: bool,
    trace: str | None,
    instances: tuple[str, ...],
    patterns: bool,
    new: bool,
    platform: bool,
    timestamps: bool,
) -> None:
    """Show and follow what services print and send.

    With telemetry: of all instances and past runs, with level and trace, stack traces as one record. Without it: the
    files on this machine, line by line.
    """
    wall = invocation.clock.wall()
    wish = Wish(
        services=parse_services(services),
        instances=instances,
        level=checked_level(level),
        grep=grep or "",
        word=word,
        trace=checked_trace(trace),
        since=moment(since, wall=wall, name="--since") if since is not None else None,
        until=moment(until, wall=wall, name="--until") if until is not None else None,
        count=checked_count(tail, everything=since is not None),
        platform=platform,
    )
    if follow and until is not None:
        raise InvalidValue("--follow and --until do not go together", hint="leave one of them out")
    if (new or patterns) and follow:
        raise InvalidValue("--follow and --patterns do not go together", hint="leave one of them out")
    if word and not grep:
        raise InvalidValue("--word is about --grep", hint="say which words with --grep")
    if patterns or new:
        _store(invocation, wish).patterns(new=new, limit=wish.count or 5000)
        return
    _show(invocation, wish, follow=follow, timestamps=timestamps)


def _show(invocation: Invocation, wish: Wish, *, follow: bool, timestamps: bool) -> None:
    from atoll.cli.log_printer import Printer
    from atoll.cli.log_store import ABSENT

    settings = settings_here(invocation)
    _known(invocation, settings, wish)
    printer = Printer(invocation, timestamps=timestamps)
    store: Store | None = None
    try:
        store = _store(invocation, wish)
        store.present()
        store.show(printer, follow=follow)
    except ABSENT as error:
        if settings is None or wish.platform or (store is not None and store.printed):
            raise
        from atoll.cli.log_files import Files

        if invocation.url or settings.socket.exists():  # else nothing runs: of course the files are all there is
            invocation.talk.note(f"only the files on this machine are read: {error}")
        Files(settings, wish).show(printer, follow=follow)


def _store(invocation: Invocation, wish: Wish) -> Store:
    from atoll.cli.log_store import Store

    return Store(invocation, invocation.api, wish)


def _known(invocation: Invocation, settings: Settings | None, wish: Wish) -> None:
    """Refuse a service that has neither a log nor a place in the running platform."""
    from atoll.supervisor.output import sources

    logged = {str(source.service) for source in sources(settings.logs)} if settings and wish.services else set()
    if wish.platform or unknown_among(wish.services, logged) is None:
        return
    try:
        logged |= set(service_names(invocation.quick_api))
    except AtollError:
        if settings is None:
            return  # the question itself will tell what is wrong
    missing = unknown_among(wish.services, logged)
    if missing is not None:
        raise unknown_service(missing, sorted(logged))
