r"""Runtime commands as values. Every argument passes a grammar here, whatever was checked before it came.

HAProxy's command line splits at white space, `;` and newlines, and knows quotes, `\` and `<<`. None of these, nor any
character outside visible ASCII, can stand in a command or a map entry made here: one value is always one word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from atoll.errors import GatewayRefused
from atoll.kit.text import scrub

LINE_LIMIT = 14_000
"""Characters of one line or payload: below HAProxy's buffer of 16,384 bytes with room for its reserve."""

_NAME = re.compile(r"[A-Za-z0-9_.:@,+-]{1,255}")
"""Of a backend, server or map file: HAProxy's own alphabet of names, and `@`, `,`, `+` of upstreams."""
_FILE = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_OPTION = re.compile(r"[A-Za-z0-9_.:/@+,=()*!&~|%\[\]-]{1,512}")
"""One word of a server's options."""
_ENTRY = re.compile(r"[A-Za-z0-9_.:/@+,=()*!&~|^$?%{}>-]{1,8192}")
"""A map key or value. A leading `#` would be a comment in the file."""
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class Command(msgspec.Struct, frozen=True):
    """One runtime command; `done` are the beginnings of answers that mean success (the empty answer always does)."""

    line: str
    done: tuple[str, ...] = ()
    payload: tuple[str, ...] = ()
    """Lines sent after it."""
    silent: bool = True
    """Whether the empty answer means success."""

    def accepts(self, answer: str) -> bool:
        """Whether HAProxy's answer means that the command was done."""
        text = answer.strip()
        return (self.silent and not text) or (bool(self.done) and text.startswith(self.done))


def add_server(backend: str, server: str, host: str, port: int, options: Iterable[str]) -> Command:
    """Make a server, in maintenance and unchecked; `options` say everything, since no default holds."""
    address = _word(_ADDRESS, host, "address")
    where = f"[{address}]:{_port(port)}" if ":" in address else f"{address}:{_port(port)}"
    words = [where, *(_word(_OPTION, word, "server option") for word in options)]
    return Command(
        f"add server {_server(backend, server)} {' '.join(words)}", ("New server registered.",), silent=False
    )


def enable_health(backend: str, server: str) -> Command:
    """Start the active checks."""
    return Command(f"enable health {_server(backend, server)}")


def health_up(backend: str, server: str) -> Command:
    """Believe it well until `fall` checks have failed, not one; only after `ready`, which takes that back."""
    return Command(f"set server {_server(backend, server)} health up")


def ready(backend: str, server: str) -> Command:
    """Take traffic."""
    return Command(f"set server {_server(backend, server)} state ready")


def drain(backend: str, server: str) -> Command:
    """Take no new traffic, finish what is there."""
    return Command(f"set server {_server(backend, server)} state drain")


def maintenance(backend: str, server: str) -> Command:
    """Take no traffic at all; checks stop; idle connections are closed."""
    return Command(f"set server {_server(backend, server)} state maint")


def weigh(backend: str, server: str, weight: int) -> Command:
    """Set the weight, 0 to 256."""
    if not 0 <= weight <= 256:
        raise _refused("weight", weight)
    return Command(f"set server {_server(backend, server)} weight {weight}")


def readdress(backend: str, server: str, host: str, port: int) -> Command:
    """Point it elsewhere; closes the idle connections to where it pointed."""
    where = f"addr {_word(_ADDRESS, host, 'address')} port {_port(port)}"
    return Command(
        f"set server {_server(backend, server)} {where}",
        ("IP changed", "port changed", "no need to change", "nothing changed"),
    )


def shut_sessions(backend: str, server: str) -> Command:
    """End every request and connection on it now."""
    return Command(f"shutdown sessions server {_server(backend, server)}")


def delete_server(backend: str, server: str) -> Command:
    """Forget a server that is in maintenance and has no connection left."""
    return Command(f"del server {_server(backend, server)}", ("Server deleted.",), silent=False)


def prepare_map(file: str) -> Command:
    """Begin a new version of a map; `prepared` reads the answer."""
    return Command(f"prepare map {_word(_FILE, file, 'map')}", ("New version created:",), silent=False)


def prepared(answer: str) -> int:
    """The number of the version that `prepare_map` made.

    Raises:
        GatewayRefused: the answer names none.
    """
    said = re.search(r"New version created: (\d+)", answer)
    if said is None:
        raise GatewayRefused(f"HAProxy refused to prepare a map: {scrub(answer, limit=200)}")
    return int(said[1])


def fill_map(file: str, version: int, entries: Iterable[tuple[str, str]]) -> Iterator[Command]:
    """Put `entries` into the prepared version, in as many commands as payloads are needed."""
    line = f"add map @{version} {_word(_FILE, file, 'map')}"
    lines: list[str] = []
    size = 0
    for key, value in entries:
        entry = f"{_word(_ENTRY, key, 'map key')} {_word(_ENTRY, value, 'map value')}"
        if lines and size + len(entry) + 1 > LINE_LIMIT:
            yield Command(line, payload=tuple(lines))
            lines, size = [], 0
        lines.append(entry)
        size += len(entry) + 1
    if lines:
        yield Command(line, payload=tuple(lines))


def commit_map(file: str, version: int) -> Command:
    """Make the prepared version the map, in one step."""
    return Command(f"commit map @{version} {_word(_FILE, file, 'map')}")


def drop_version(file: str, version: int) -> Command:
    """Forget a prepared version that will not be committed."""
    return Command(f"clear map @{version} {_word(_FILE, file, 'map')}")


def _server(backend: str, server: str) -> str:
    return f"{_word(_NAME, backend, 'backend')}/{_word(_NAME, server, 'server')}"


def _port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise _refused("port", port)
    return port


def _word(grammar: re.Pattern[str], raw: str, what: str) -> str:
    if grammar.fullmatch(raw):
        return raw
    raise _refused(what, raw)


def _refused(what: str, raw: object) -> GatewayRefused:
    return GatewayRefused(
        f"{what} {scrub(str(raw), limit=80)!r} cannot stand in a runtime command",
        hint="this is a bug in atoll: names are checked before they come here",
    )
