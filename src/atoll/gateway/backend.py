"""A backend section and its servers, as text. The words of a server are the same in the file and in `add server`.

What all backends of a kind have in common stands in a `defaults` section of that kind. A server added while HAProxy
runs inherits nothing from there, so every option is said on every server.
"""

from __future__ import annotations

import hashlib

from atoll.gateway import breaker, budget, deadline, injection, leading, limits, policies, retries
from atoll.gateway.config import CHECKS, Backend, Kind, Server, Traits, map_path
from atoll.gateway.frontend import address
from atoll.gateway.maps import REWRITTEN
from atoll.gateway.members import health_request
from atoll.gateway.problem import RETRYABLE
from atoll.gateway.quote import line, section
from atoll.model import names
from atoll.model.cadence import cadence
from atoll.model.service import Balance, BalanceKind

BODY_LIMIT = 15_000
"""Bytes of a request body that is held back until it is whole, so that a retry can send it again (one buffer)."""
BODY_WAIT = 10_000
"""Milliseconds of holding back, at most: HAProxy answers 408 then, so it is what a header may take."""
ERROR_LIMIT = 5
"""Failed requests in a row after which a server is taken out."""

_BALANCE = {
    BalanceKind.LEAST_CONNECTIONS: "leastconn",
    BalanceKind.ROUND_ROBIN: "roundrobin",
    BalanceKind.RANDOM: "random",
}
_CHECKS = map_path(CHECKS)

# PRI, an empty SETTINGS frame, HEADERS of POST http /grpc.health.v1.Health/Check (HPACK without a dynamic table).
_PATH = b"/grpc.health.v1.Health/Check"
_HEADERS = b"".join(
    (
        b"\x83\x86",
        b"\x04" + bytes([len(_PATH)]) + _PATH,
        b"\x01\x09localhost",
        b"\x0f\x10\x10application/grpc",
        b"\x00\x02te\x08trailers",
    )
)
HEALTH_CALL = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\0\0\0\x04\0\0\0\0\0" + len(_HEADERS).to_bytes(3, "big") + b"\x01\x04\0\0\0\x01" + _HEADERS
)
SERVING = b"\0\0\0\0\x02\x08\x01"
"""The answer that passes: an uncompressed message of two bytes, status SERVING."""


# A plain GET of a platform on which nothing failed passes one rule. The rewrite is `<put>^<cut>`: with the path behind it, one expression replaces the head
# (and, where a bare `/` is put, the slash that follows).
#
# A request may be sent again when nothing of it can have had an effect: the connection failed, or the method is
# idempotent, or the client says so, or a policy. A retry needs the whole body, thus the wait.
#
# What policies and deadlines ask stands behind an `allow` of all that have neither.
def request_rules(kind: Kind) -> str:
    """What a request passes on its way into a section of this kind."""
    calls = kind in {Kind.GRPC, Kind.CALLS}
    unhurried = deadline.CALLS_CALM if calls else deadline.CALM
    return rf"""{breaker.CONDITIONS}{injection.CONDITIONS}{budget.CONDITIONS}{deadline.CALLS_CONDITIONS if calls else deadline.CONDITIONS}  acl safe method GET HEAD OPTIONS TRACE
  http-request allow if safe {{ var(txn.at) -m end | }} {breaker.CALM} {unhurried}
  acl rewrite var(txn.at) -m end r rt rp rtp
  http-request add-header x-forwarded-prefix %[var(txn.at),field(5,|),field(2,^)] if rewrite
  http-request set-path '{REWRITTEN}' if rewrite
  http-request set-timeout server var(txn.at),field(-3,|) if {{ var(txn.at) -m end t tp }}
{policies.RULES}{breaker.WATCH_RULES}  http-request allow if !policied safe {unhurried} {breaker.CALM}
{deadline.FOREIGN_CONDITIONS}  http-request allow if !policied safe {deadline.FOREIGN}{" !hurried" if calls else ""} {breaker.CALM}
{breaker.plain_rules(f"!policied safe {unhurried}")}{retries.method_rules(policies.column)}  acl repeatable method PUT DELETE
  acl repeatable req.hdr(idempotency-key) -m found
  acl repeatable var(txn.chosen) -m str yes
  http-request disable-l7-retry if !safe !repeatable
  http-request set-var({RETRYABLE}) str(false) if !safe !repeatable
  acl small req.hdr(content-length),add(0) -m int 1:{BODY_LIMIT}
  http-request wait-for-body time {BODY_WAIT}ms if !safe {{ method PUT DELETE POST PATCH }} small repeatable
  http-request allow if !policied {unhurried} {breaker.CALM}
{limits.rules(policies.column)}{policies.UNTIMED}  http-request allow if !timed_or_tried {unhurried} {limits.LET_THROUGH} {breaker.CALM}
{deadline.own_rules(policies.column, calls=calls)}{retries.RULES}{budget.patient_rules(policies.column)}  http-request allow if !comes {limits.LET_THROUGH} {breaker.CALM}
{breaker.asleep_rules(f"!comes {limits.LET_THROUGH}")}{limits.REFUSALS}{deadline.brought_rules(policies.column, calls=calls)}  http-request allow if !policied {breaker.CALM}
{budget.laden_patient_rules(policies.column)}  http-request allow if {breaker.CALM}
{budget.request_rules(policies.column)}{breaker.REQUEST_RULES}{injection.REQUEST_RULES}"""


ANSWER_RULES = f"""\
{budget.TRIES}{injection.ANSWER_RULES}\
  http-after-response allow if once {breaker.UNASKED}
{breaker.MEASURE_RULES}\
  acl later date({breaker.ATTENTION}),sub(proc.attentive) -m int le 0
  http-after-response set-var(proc.attentive) date({breaker.ATTENTION}) if !later !once or !later {" or !later ".join(breaker.WAKE)}
{budget.ANSWER_RULES}{breaker.ANSWER_RULES}"""
"""What came back, retried or failed, is counted."""

CHECK_RULES = {
    Kind.HTTP: f"""\
  option httpchk
  http-check send meth GET uri-lf %[be_name,map_str({_CHECKS},/)] ver HTTP/1.1 hdr host localhost hdr user-agent atoll
  http-check expect status 200-399
""",
    Kind.PLAIN: "",
    Kind.GRPC: f"""\
  option tcp-check
  tcp-check connect
  tcp-check send-binary {HEALTH_CALL.hex()}
  tcp-check send-binary-lf %[be_name,map_str({_CHECKS},{health_request("").hex()})]
  tcp-check expect binary {SERVING.hex()}
""",
    Kind.CALLS: "",
    Kind.TCP: "",
}


def backend_section(backend: Backend) -> str:
    """The section of `backend`, with its servers."""
    return "\n".join(
        [
            *_head(backend.name, backend.traits, backend.service),
            *(server_line(backend.traits, server) for server in backend.servers),
            "",
        ]
    )


def slot_section(kind: Kind, name: str) -> str:
    """A spare section."""
    return "\n".join([*_head(name, Traits(kind=kind), ""), ""])


def server_line(traits: Traits, server: Server) -> str:
    """A `server` line."""
    return line("server", server.name, address(server.host, server.port), *server_options(traits, server))


def server_options(traits: Traits, server: Server) -> list[str]:
    """All that follows name and address, on a `server` line as in `add server`: nothing is left to defaults."""
    words = ["weight", str(server.effective_weight)]
    if server.check is not None:
        check = server.check
        words += ["check", "inter", milliseconds(check.interval)]
        words += ["fastinter", milliseconds(cadence(check).again), "downinter", milliseconds(check.interval)]
        words += ["fall", str(check.fall), "rise", str(check.rise)]
    if server.check is not None and server.eject:
        layer = "layer4" if traits.kind is Kind.TCP else "layer7"
        words += ["observe", layer, "error-limit", str(ERROR_LIMIT), "on-error", "mark-down"]
    if server.room:
        words += ["maxconn", str(server.room)]
    if server.h2:
        words += ["proto", "h2"]
    if server.slow_start > 0:
        words += ["slowstart", milliseconds(server.slow_start)]
    if traits.sticky:
        words += ["cookie", hashlib.sha256(server.instance.encode()).hexdigest()[:16]]
    return words


def defaults_of(traits: Traits) -> str:
    """The `defaults` that a section comes from."""
    return f"{traits.kind.value}:led" if leading.speaks(traits) else traits.kind.value


def cookie_name(service: str) -> str:
    """The sticky cookie of a service; service names have no `_`, so no two share one."""
    return f"ATOLL_{service.upper().replace('-', '_')}"


def milliseconds(seconds: float) -> str:
    """A duration as HAProxy reads it, at least one millisecond."""
    return f"{max(1, round(seconds * 1000))}ms"


def _head(name: str, traits: Traits, service: str) -> list[str]:
    lines = [section("backend", name, "from", defaults_of(traits)), *_balance(traits.kind, traits.balance)]
    if leading.speaks(traits):
        lines.append(leading.PIN)
    if traits.check_timeout != Traits().check_timeout:
        lines.append(line("timeout", "check", milliseconds(traits.check_timeout)))
    if traits.retries != Traits().retries:
        lines.append(line("retries", str(traits.retries)))
    if traits.retry_on != Traits().retry_on:
        lines.append(line("retry-on", *traits.retry_on))
    if traits.queue_timeout != Traits().queue_timeout:
        lines.append(line("timeout", "queue", milliseconds(traits.queue_timeout)))
    if traits.sticky:
        name = cookie_name(service)
        lines.append(line("cookie", name, "insert", "indirect", "nocache", "httponly", "attr", "SameSite=Lax"))
    return lines


def _balance(kind: Kind, balance: Balance) -> list[str]:
    if balance.kind is not BalanceKind.HASH:
        return [line("balance", _BALANCE[balance.kind])]
    what, _, header = balance.hash_on.partition(":")
    if kind is Kind.TCP:
        return ["  balance hash src", "  hash-type consistent"]
    if what == "header":
        return [f"  balance hash req.hdr({names.header_name(header)})", "  hash-type consistent"]
    if what == "path":
        return ["  balance hash var(txn.path)", "  hash-type consistent"]
    # Behind the gateway this is the gateway's own word, also when a service passes it on. A call between services
    # that does not pass it on has no client; such calls are spread evenly.
    return ["  balance hash req.hdr(x-forwarded-for,1)", "  hash-type consistent"]
