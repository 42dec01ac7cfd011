"""What HAProxy says of itself, as values. Pure: text in, words out; texts that do not parse are `Unanswered`.

Column meanings: management guide 9.3 `show servers state`, `show map`, `show proc`. What it counts is in `counts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from atoll.gateway.config import Backend, Entries, GatewayConfig, Server, Traits, map_path
from atoll.gateway.runtime import Unanswered
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, ServiceName

_STATE_COLUMNS = [
    "be_id",
    "be_name",
    "srv_id",
    "srv_name",
    "srv_addr",
    "srv_op_state",
    "srv_admin_state",
    "srv_uweight",
]
_STATE_WIDTH = 25
_CLIENT = re.compile(r" back=0 .* fam=ipv[46] .*fe=")
_IDLE = re.compile(r" mux=H1 (?!.* h1s=).*\.obuf=0@| mux=H2 .*\.nbst=0 .*\.mbuf=\[1\.\.1\|\d+\],h=\[0@")
"""A connection to a client that is between two requests, its last answer handed over to the kernel."""
_CHECK_CONFIGURED, _CHECK_ENABLED = 2, 4


class ServerRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of `show servers state`."""

    backend_id: int
    backend: str
    id: int
    name: str
    host: str
    port: int
    weight: int
    up: bool
    halted: bool
    """In maintenance or drain, or its checks were never switched on: it does not do its work as the file says."""


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """What `show proc` tells."""

    master: int
    current: int | None
    old: tuple[int, ...] = ()
    """Oldest first."""
    reloads: int = 0


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """What runs, read back: `config` has the servers that do their work, `halted` (backend, server) those that do not."""

    config: GatewayConfig
    halted: frozenset[tuple[str, str]] = frozenset()


def parse_servers(text: str) -> list[ServerRow]:
    """The servers in one or several answers to `show servers state`.

    Raises:
        Unanswered: this is no such answer.
    """
    rows = []
    seen = False
    for line in text.splitlines():
        if line.startswith("# be_id"):
            if line.split()[1 : 1 + len(_STATE_COLUMNS)] != _STATE_COLUMNS:
                raise Unanswered(f"unknown columns: {scrub(line, limit=200)}")
            seen = True
        elif line.startswith("Can't find backend"):
            seen = True
        elif len(line) > 1:
            rows.append(_server_row(line.split(" ")))
    if not seen:
        raise Unanswered(f"no server states: {scrub(text, limit=200)!r}")
    return rows


def _server_row(fields: list[str]) -> ServerRow:
    if len(fields) < _STATE_WIDTH:
        raise Unanswered(f"half a server state: {scrub(' '.join(fields), limit=200)!r}")
    try:
        checks = int(fields[13])
        unchecked = bool(checks & _CHECK_CONFIGURED) and not checks & _CHECK_ENABLED
        return ServerRow(
            backend_id=int(fields[0]),
            backend=fields[1],
            id=int(fields[2]),
            name=fields[3],
            host=fields[4],
            up=fields[5] != "0",
            # bits inherited from elsewhere (tracked servers, DNS) do not occur here; the slow-start state is `up`
            halted=fields[6] != "0" or unchecked,
            weight=int(fields[7]),
            port=int(fields[18]),
        )
    except ValueError:
        raise Unanswered(f"no server state: {scrub(' '.join(fields), limit=200)!r}") from None


def states_to_hand_over(text: str) -> str:
    """Of an answer to `show servers state`, what the next process shall know: who is down, and weights.

    Not who is in maintenance: it is on its way out, and stands in the next file only when it is wanted again.
    """
    return "".join(f"{line}\n" for line in text.splitlines() if not _in_maintenance(line))


def _in_maintenance(line: str) -> bool:
    fields = line.split(" ")
    return len(fields) >= _STATE_WIDTH and fields[0] != "#" and fields[6] != "0"


def parse_workers(text: str) -> Workers:
    """The processes in an answer to `show proc`.

    Raises:
        Unanswered: this is no such answer.
    """
    master, reloads, workers = 0, 0, []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 3 and fields[0].isdecimal() and fields[2].isdecimal():
            if fields[1] == "master":
                master, reloads = int(fields[0]), int(fields[2])
            elif fields[1] == "worker":
                workers.append((int(fields[2]), int(fields[0])))
    if not master:
        raise Unanswered(f"no processes: {scrub(text, limit=200)!r}")
    # the column counts the reloads that a worker has seen: the current one has seen none
    old = tuple(pid for age, pid in sorted(workers, reverse=True) if age > 0)
    return Workers(
        master=master, current=next((pid for age, pid in workers if age == 0), None), old=old, reloads=reloads
    )


def parse_info(text: str) -> dict[str, str]:
    """The lines of `show info`.

    Raises:
        Unanswered: this is no such answer.
    """
    found = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    if found.get("Name") != "HAProxy":
        raise Unanswered(f"no process information: {scrub(text, limit=200)!r}")
    return found


def in_flight(text: str) -> int:
    """Clients in an answer to `show fd` that wait for something: a request (half of one too), or the rest of an answer.

    Who only keeps a connection open is none of them; who speaks what we do not know always is.
    """
    return sum(_CLIENT.search(line) is not None and _IDLE.search(line) is None for line in text.splitlines())


def parse_map_versions(text: str) -> dict[str, tuple[int, int]]:
    """File → (current version, entries) of every map in an answer to `show map`.

    Raises:
        Unanswered: this is no such answer.
    """
    if not text.startswith("# id (file) description"):
        raise Unanswered(f"no list of maps: {scrub(text, limit=200)!r}")
    found = {}
    for line in text.splitlines()[1:]:
        name = line[line.find("(") + 1 : line.find(")")]
        numbers = dict(word.split("=", 1) for word in line.split()[-3:] if "=" in word)
        try:
            found[name] = (int(numbers["curr_ver"]), int(numbers["entry_cnt"]))
        except (KeyError, ValueError):
            raise Unanswered(f"no map: {scrub(line, limit=200)!r}") from None
    return found


def parse_map(text: str) -> Entries:
    """The entries in an answer to `show map FILE`, in HAProxy's order.

    Raises:
        Unanswered: this is no such answer.
    """
    found = []
    for line in text.splitlines():
        if line:
            address, _, entry = line.partition(" ")
            key, gap, value = entry.partition(" ")
            if not address.startswith("0x") or not gap:
                raise Unanswered(f"no map entry: {scrub(line, limit=200)!r}")
            found.append((key, value))
    return tuple(found)


def present(loaded: GatewayConfig, rows: Iterable[ServerRow], maps: dict[str, Entries]) -> Present:
    """What runs: sections, traits and listeners of the `loaded` file, servers and maps as HAProxy says.

    A server that `loaded` does not name is shown with what the socket tells of it.
    """
    by_backend: dict[str, dict[str, ServerRow]] = {}
    for row in rows:
        by_backend.setdefault(row.backend, {})[row.name] = row
    halted = set()
    sections = []
    for backend in (*loaded.backends, *loaded.idle):
        servers, stopped = _servers(backend, by_backend.get(backend.name, {}))
        sections.append(
            msgspec.structs.replace(backend, servers=servers) if servers is not backend.servers else backend
        )
        halted |= {(backend.name, name) for name in stopped}
    split = len(loaded.backends)
    # an apply that was cut off leaves servers in slots that the loaded file knows as spare
    for kind, slot in loaded.slots:
        if slot in by_backend:
            spare = Backend(name=slot, upstream="", service=ServiceName(""), traits=Traits(kind=kind))
            servers, stopped = _servers(spare, by_backend[slot])
            sections.append(msgspec.structs.replace(spare, servers=servers))
            halted |= {(slot, name) for name in stopped}
    config = msgspec.structs.replace(
        loaded,
        backends=tuple(sections[:split]),
        idle=tuple(sections[split:]),
        maps={name: maps.get(map_path(name), entries) for name, entries in loaded.maps.items()},
    )
    return Present(config=config, halted=frozenset(halted))


def _servers(backend: Backend, rows: dict[str, ServerRow]) -> tuple[tuple[Server, ...], list[str]]:
    known = {server.name: server for server in backend.servers}
    servers, halted = [], []
    changed = len(rows) != len(known)
    for name, row in rows.items():
        server = known.get(name)
        if row.halted or (server is not None and (server.host, server.port) != (row.host, row.port)):
            halted.append(name)
        elif server is None:
            servers.append(
                Server(name=name, instance=InstanceId(name), host=row.host, port=row.port, weight=row.weight)
            )
        elif server.effective_weight == row.weight:
            servers.append(server)
            continue
        else:
            servers.append(msgspec.structs.replace(server, weight=row.weight, drained=False, standby=False))
        changed = True
    # the very same words when nothing differs, in their order: whoever compares by identity is quick
    return (tuple(servers) if changed else backend.servers), halted
