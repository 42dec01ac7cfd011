"""What HAProxy says of itself, as values. Pure: text in, words out; texts that do not parse are `Unanswered`.

Column meanings: management guide 9.3 `show servers state`, 9.1 `show stat`, `show map`, `show proc`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator

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
_PASSED = frozenset({"L4OK", "L6OK", "L7OK", "L7OKC"})
_UNCHECKED = frozenset({"", "INI", "UNK", "HANA"})
"""No check yet, or none since failed requests took it out."""
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


class ServerStat(msgspec.Struct, frozen=True, kw_only=True):
    """What `show stat` tells of a server."""

    backend: str
    server: str
    up: bool
    cause: str
    """Check status, code and detail such as `L4CON: Connection refused`; empty when there is nothing to say."""
    since: int
    """Seconds since it last changed between up and down."""
    sessions: int
    requests: int
    failures: int = 0
    """Answers of 500 and above, broken ones, and connections that failed."""
    ejections: int = 0
    """Times that a row of failed requests counted against it."""
    downs: int = 0
    passes: bool = False
    """Its last check passed; False also when it is out because of failed requests and not checked since."""
    fails: bool = False
    """It is out, and its last check failed."""


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


def parse_stat(text: str) -> Iterator[ServerStat]:
    """The servers in an answer to `show stat`; frontends and backends are left out.

    Raises:
        Unanswered: this is no such answer.
    """
    if not text.startswith("# pxname,svname,"):
        raise Unanswered(f"no statistics: {scrub(text, limit=200)!r}")
    reader = csv.reader(io.StringIO(text[2:]))
    header = {name: column for column, name in enumerate(next(reader))}
    try:
        columns = [
            header[name] for name in ("pxname", "svname", "status", "scur", "stot", "lastchg", "check_status", "type")
        ]
        code, reason, detail = header["check_code"], header["check_desc"], header["last_chk"]
        failed = [header[name] for name in ("hrsp_5xx", "econ", "eresp")]
        ejections, downs = header["hanafail"], header["chkdown"]
    except KeyError as error:
        raise Unanswered(f"statistics without {error}") from None
    for row in reader:
        if not row:
            continue
        try:
            backend, server, status, sessions, requests, since, check, kind = (row[column] for column in columns)
            if kind == "2":
                check = check.lstrip("* ")
                said = (check, row[code], row[detail] or row[reason])
                up = status.startswith(("UP", "no check", "DRAIN", "NOLB"))
                yield ServerStat(
                    backend=backend,
                    server=server,
                    up=up,
                    cause=_cause(status, *said),
                    since=int(since or 0),
                    sessions=int(sessions or 0),
                    requests=int(requests or 0),
                    failures=sum(int(row[column] or 0) for column in failed),
                    ejections=int(row[ejections] or 0),
                    downs=int(row[downs] or 0),
                    passes=check in _PASSED,
                    fails=not up and check not in _PASSED and check not in _UNCHECKED,
                )
        except (ValueError, IndexError):
            raise Unanswered(f"no statistics line: {scrub(','.join(row), limit=200)!r}") from None


class ServerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What `show stat` counts of a server, or (with an empty `server`) of a whole section. Counts of this HAProxy process."""

    backend: str
    server: str
    port: int
    """0 when it does not tell."""
    up: bool
    weight: int
    requests: int
    failed: int
    """Connections that failed."""
    retried: int
    """Attempts after the first one, on this server or another."""


def parse_counts(text: str) -> Iterator[ServerCounts]:
    """The servers and sections in an answer to `show stat`.

    Raises:
        Unanswered: this is no such answer.
    """
    if not text.startswith("# pxname,svname,"):
        raise Unanswered(f"no statistics: {scrub(text, limit=200)!r}")
    for row in csv.DictReader(io.StringIO(text[2:])):
        try:
            if row["type"] not in {"1", "2"}:
                continue
            yield ServerCounts(
                backend=row["pxname"],
                server=row["svname"] if row["type"] == "2" else "",
                port=_port(row.get("addr") or ""),
                up=row["status"].startswith(("UP", "no check")),
                weight=int(row["weight"] or 0),
                requests=int(row["stot"] or 0),
                failed=int(row["econ"] or 0),
                retried=int(row["wretr"] or 0) + int(row["wredis"] or 0),
            )
        except (ValueError, KeyError, AttributeError, TypeError):
            raise Unanswered(f"no statistics line: {scrub(str(row), limit=200)!r}") from None


def _port(address: str) -> int:
    """Of `host:port`; 0 of a unix socket, or when there is none."""
    text = address.rpartition(":")[2]
    return int(text) if text.isascii() and text.isdigit() else 0


def _cause(status: str, check: str, code: str, detail: str) -> str:
    if status == "MAINT" or not check or check in _PASSED or check == "INI":
        return "" if status != "MAINT" else "leaving the gateway"
    name = f"{check}/{code}" if code and code != "0" else check
    return scrub(f"{name}: {detail}" if detail else name, limit=200)


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


class BreakerRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the breakers' table; epoch seconds."""

    who: str
    """Whose requests it counts: `orders`, `web>orders`, `route:shop`."""
    until: int = 0
    """Open until then; 0: closed."""
    began: int = 0
    """The window."""
    opened_at: int = 0
    closed_at: int = 0
    requests: int = 0
    failures: int = 0
    probes: int = 0
    opened: int = 0
    """Times."""
    rejected: int = 0
    slow: int = 0
    """Of the window's requests."""


def parse_breakers(text: str) -> Iterator[BreakerRow]:
    """The answer to `show table` of the breakers; lines that are no entries are passed over.

    Raises:
        Unanswered: one counts what is no number.
    """
    for said in text.splitlines():
        words = dict(word.split("=", 1) for word in said.split() if "=" in word)
        if "key" in words and "gpt0" in words:
            yield BreakerRow(
                who=words["key"],
                **{
                    field: whole(words.get(column, "0"))
                    for field, column in (
                        ("until", "gpt0"), ("began", "gpt1"), ("opened_at", "gpt2"), ("closed_at", "gpt3"),
                        ("requests", "gpc0"), ("failures", "gpc1"), ("probes", "gpc2"), ("opened", "gpc4"),
                        ("rejected", "gpc5"), ("slow", "gpc6"),
                    )
                },
            )  # fmt: skip


def whole(word: str) -> int:
    """Of an answer.

    Raises:
        Unanswered: it is none.
    """
    if not word.isdecimal():
        raise Unanswered(f"no number: {scrub(word, limit=80)!r}")
    return int(word)
