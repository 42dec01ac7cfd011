"""The request log: one line of tab-separated text for every request, through HAProxy's ring to the telemetry process.

HAProxy never waits for its reader: the ring is in memory and bounded, what does not fit is lost, and HAProxy numbers
its lines (`%lc`), so the reader knows how many. It connects by itself, as soon as somebody listens on the socket.

What a client wrote is cut. Its headers are captured, and HAProxy writes of them as `#09` what is not plain; a path has
no space and no control characters, else its request was refused; everything else in a line is a number, a word of ours
or was checked by a rule. The columns are those of `raw_requests` in telemetry's schema; the last one says that the line
is whole, and which layout it has.

A line is written for every request, so it holds what is cheap: a captured header costs a third of one in a variable, an
address as text as much as a third of the line (it is made once for a connection).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atoll.gateway import trace
from atoll.gateway.problem import MARK
from atoll.gateway.quote import line, section
from atoll.gateway.trace import REQUEST_ID_LIMIT
from atoll.settings import Settings

RING = "requests"
RUN = "proc.run"
"""When this HAProxy started, ms since 1970: a new process counts its lines from 0 again."""
PATH_LIMIT, HOST_LIMIT, AGENT_LIMIT = 512, 128, 160
"""Bytes of what a client wrote that a line has of it; of a header's, three may be written for one."""
LINE_LIMIT = 8192
"""Bytes of a line; above all the limits together."""
ENDING = ".2"

_MARK = f"%[var({MARK})]"
"""`open`, `forced`, `probe` (the circuit breaker), `expired` (its deadline was over), or nothing."""
_CALLER = "txn.caller"
_PATH = f"%[var(txn.path),bytes(0,{PATH_LIMIT})]"
_CAPTURED = "%hr"


@dataclass(frozen=True, kw_only=True)
class RequestLog:
    """Where the lines go. Without one, HAProxy logs nothing and leaves trace headers alone."""

    socket: Path
    ring_bytes: int
    """Bytes of lines that wait in HAProxy while nobody reads."""
    sampling: float = 1.0
    """Share of new traces that are recorded; all requests are counted."""


def request_log_of(settings: Settings) -> RequestLog | None:
    """The request log that the settings ask for."""
    knobs = settings.telemetry
    if not knobs.enabled:
        return None
    return RequestLog(socket=settings.requests_socket, ring_bytes=knobs.ring_bytes, sampling=knobs.sampling)


def global_lines(log: RequestLog) -> list[str]:
    """For the section `global`."""
    lines = [f"  set-var {RUN} date(0,ms)"]
    hidden = trace.unsampled(log.sampling)
    if hidden:
        lines.append(f"  set-var {trace.UNSAMPLED} int({hidden})")
    form = ("len", str(LINE_LIMIT), "format", "raw", "local0")
    length, last = form[:2], form[2:]
    each = [
        line("log", str(path), *length, *last[:2], "sample", f"{turn}:{LAST_SOCKETS}", *last[2:], LAST)
        for turn, path in enumerate(last_lines(log.socket), 1)
    ]
    return [line("log", f"ring@{RING}", *form, "info"), *each, *lines]


def ring_section(log: RequestLog) -> str:
    """The buffer and its reader. A reader that stands still keeps its connection: to close it would lose what it has."""
    lines = [
        section("ring", RING),
        line("format", "raw"),
        line("maxlen", str(LINE_LIMIT)),
        line("size", str(log.ring_bytes)),
        line("timeout", "connect", "1s"),
        line("timeout", "server", "1h"),
        line("server", "telemetry", f"unix@{log.socket}", "log-proto", "legacy"),
    ]
    return "\n".join(lines) + "\n"


# one byte more than is allowed, so that one too long is known
_CAPTURE_ID = f"  capture request header X-Request-Id len {REQUEST_ID_LIMIT + 1}\n"
GATEWAY_RULES = f"""\
  tcp-request connection set-var(sess.from) "var(sess.client),concat(\\t,{RUN})"
{_CAPTURE_ID}\
  capture request header Host len {HOST_LIMIT}
  capture request header User-Agent len {AGENT_LIMIT}
"""


LAST_SOCKETS = 8
"""A HAProxy that ends answers once more on each kept connection, all at once: 80 lines find room."""
LAST = "notice"
"""Level of the lines that do not only go into the ring."""
ENDING_RULES = f"""\
  http-after-response set-log-level {LAST} if {{ stopping }}
"""
"""A HAProxy that ends after a reload closes its ring at once; what its clients still ask for is sent line by line."""


GRPC_RULES = f"""\
  http-after-response set-var-fmt({MARK}) grpc=%[res.hdr(grpc-status)] if {{ res.hdr(grpc-status) -m reg ^[1-9][0-9]?$ }} !{{ var({MARK}) -m found }} {{ status 200 }}
"""
"""A gRPC call that fails before its first message says so in the head of its answer (one that HAProxy answers has another status than 200, too). What it says after a message, in
the trailer, HAProxy passes on and cannot read: only spans tell. First in backends of gRPC: what follows may leave."""


def last_lines(socket: Path) -> list[Path]:
    """The datagram sockets beside the ring's `socket`, which take turns: the system queues ten for each."""
    return [socket.with_suffix(f".last{turn}") for turn in range(LAST_SOCKETS)]


def mesh_rules(services: str) -> str:
    """Who calls, when it says so and is registered: what the map file `services` knows. Before the header is dropped."""
    return (
        f"{_CAPTURE_ID}  http-request set-var({_CALLER}) req.hdr(x-atoll-caller)"
        f" if {{ req.hdr(x-atoll-caller),map_str({services}) -m found }}\n"
    )


def http_format(edge: str) -> str:
    """The `log-format` of the gateway's or the mesh's listener."""
    outside = edge == "gateway"
    began = "%[var(sess.from)]" if outside else f"- %[var({RUN})]"
    caller = "-" if outside else f"%[var({_CALLER})]"
    return _format(
        f"{edge} {began} %lc %[var(txn.start)] %[date(0,us)] %ID %[var(txn.parent)]",
        f"%[var(txn.at),field(2,|,3)] %s {caller} %HM %HV %ST %ts %rc %TR %Tw %Tc %Tr %Ta %U %B",
        f"{_MARK} {_CAPTURED} {_PATH}",
    )


def inside_format(edge: str) -> str:
    """The `log-format` of a frontend behind a listener: its lines are spans below that one's."""
    return (
        _format(
            f"{edge} - %[var({RUN})] %lc - %[date(0,us)] %[var(txn.trace)] %[var(txn.parent)]",
            "%[var(txn.at),field(2,|,3)] %s %[var(txn.owner)] %HM %HV %[var(txn.status)] %ts %rc %TR %Tw %Tc %Tr %Ta %U %B",
            f"%[var(txn.failure)] - {_PATH}",
        )
        + "\n"
    )


def tcp_format(port: int) -> str:
    """The `log-format` of a tcp service's listener: one line for a connection, when it ends."""
    # no breaker is asked about bytes
    return _format(
        f"tcp:{port:d} - %[var({RUN})] %lc - %[date(0,us)] - -",
        "|%b| %s - - - 0 %ts %rc 0 %Tw %Tc 0 %Tt %U %B",
        "- - -",
    )


def _format(*columns: str) -> str:
    # between double quotes \t is a tab; nothing here is from outside
    return '  log-format "' + r"\t".join(" ".join((*columns, ENDING)).split()) + '"'
