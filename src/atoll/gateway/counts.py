"""What HAProxy counts of servers and breakers, as values. Pure: text in, words out; texts that do not parse are `Unanswered`.

Column meanings: management guide 9.1 `show stat`, 9.3 `show table`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec

from atoll.gateway.runtime import Unanswered
from atoll.kit.text import scrub

_PASSED = frozenset({"L4OK", "L6OK", "L7OK", "L7OKC"})
_UNCHECKED = frozenset({"", "INI", "UNK", "HANA"})
"""No check yet, or none since failed requests took it out."""


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
