"""Injected faults: requests that HAProxy delays, answers itself or drops, because an operator said so.

They strike after the circuit breaker has let a request through and in place of the instance, so breakers, retries of
callers and fallbacks meet them as they would meet the real thing. An open breaker's refusal is never struck.

While no fault is there a request pays nothing: the look at `FORCED` that every request takes anyway (see `breaker`)
leads here. What strikes is decided by a script, since HAProxy's rules can neither wait nor read a header whose name is
in a map; it gets the lines of the service, of the route or call, and of the caller that named itself. A line is
`until:share:delay:jitter:effect:header:value:name`, several are joined by `,`; times are epoch seconds and milliseconds,
the share is of 10,000, the value in base64. An HAProxy that was built without Lua injects nothing.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from atoll.gateway.config import FAULTS, map_path
from atoll.gateway.problem import INJECTED
from atoll.gateway.quote import line
from atoll.model.fault import Fault

SCRIPT = "faults.lua"
"""Beside haproxy.cfg."""
SOURCE = Path(__file__).with_name(SCRIPT).read_text()
ANY = "ANY"
"""The key that says that there is a fault."""
STRUCK = "txn.struck"
"""What was done to the request: `delay`, `abort` or `drop`; not set: nothing."""
MARKED = "fault"
"""What the log's mark begins with: `fault-delay:NAME`."""

_MAP = map_path(FAULTS)
_SERVICE = "var(txn.at),field(4,|)"


GLOBAL_RULES = f"""\
.if feature(LUA)
  lua-load-per-thread {SCRIPT}
.endif"""

CONDITIONS = f"""\
  acl faulty str({ANY}),map_str({_MAP}) -m found
"""
"""Asked only where something is wrong anyway, or forced."""

REQUEST_RULES = f"""\
  acl struck var({STRUCK}) -m found
  acl aborted var({STRUCK}) -m str abort
  acl aimed_at var(txn.fault_of_service) -m found
  acl aimed_at var(txn.fault_of_way) -m found
  acl aimed_at var(txn.fault_of_call) -m found
  http-request set-var(txn.called) {_SERVICE} if faulty
  http-request set-var(txn.fault_of_service) var(txn.called),map_str({_MAP}) if faulty
  http-request set-var(txn.fault_of_way) var(txn.at),field(2,|),concat(~),map_str({_MAP}) if faulty
  http-request set-var(txn.fault_of_call) var(txn.caller),concat(>,txn.called,~),map_str({_MAP}) if faulty
.if feature(LUA)
  http-request lua.strike if faulty aimed_at
.endif
  http-request reject if {{ var({STRUCK}) -m str drop }}
{line("http-request", "set-var-fmt(txn.fault_body)", INJECTED.body().replace('"status":503', '"status":%[var(txn.fault_status)]'))} if aborted
.if feature(LUA)
  http-request lua.abort if aborted
.endif
"""
"""The last rules before an instance is chosen."""

ANSWER_RULES = f"""\
  http-after-response set-header x-fault-injected %[var({STRUCK})] if {{ var({STRUCK}) -m found }}
"""


def fault_entries(faults: Iterable[Fault]) -> Iterator[tuple[str, str]]:
    """The map: a line for each service, route and call that is struck."""
    lines: dict[str, list[str]] = {}
    for fault in sorted(faults, key=lambda each: each.name):
        lines.setdefault(_key(fault), []).append(_words(fault))
    if lines:
        yield ANY, "1"
    for key, words in sorted(lines.items()):
        yield key, ",".join(words)


def _key(fault: Fault) -> str:
    """`orders`, `ROUTE~` or `web>orders~`: what a verdict says of its way ends in `~`, so no route is taken for a service."""
    if fault.route is not None:
        return f"{fault.route}~"
    return f"{fault.caller}>{fault.service}~" if fault.caller else str(fault.service)


def _words(fault: Fault) -> str:
    value = base64.b64encode((fault.value or "").encode()).decode()
    effect = "drop" if fault.drop else str(fault.abort or "")
    numbers = (
        math.ceil(fault.until),
        round(fault.percent * 100),
        round(fault.delay * 1000),
        round(fault.jitter * 1000),
    )
    return ":".join((*map(str, numbers), effect, fault.header or "", value, fault.name))
