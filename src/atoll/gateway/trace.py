r"""Trace context (W3C, level 1): what a request brings is continued, else a trace begins here. Rules of both HTTP edges.

`txn.trace` is the traceparent that goes on, with this hop's own span id in it, so that what the service records is its
child; `txn.parent` is what came, when it was valid. Both are in the request log, which makes the span.

A header that is not valid, came twice or has a forbidden version (ff) counts as none, and tracestate, which belongs to
it, goes too. A newer version is continued as 00, with the sampled flag as the only flag. No tracestate above
STATE_LIMIT and no baggage above BAGGAGE_LIMIT (see `deadline`) goes on; a request whose header fills HAProxy's buffer (16 KiB) was
refused before.

A trace id is half of its connection and half of its request: text of random bytes is dear, so the first half is made
once. The request's half, which is also its span id, is a hash of 31 random bits and the time in µs.
"""

from __future__ import annotations

STATE_LIMIT = 2048
"""Bytes of tracestate that go on; the recommendation asks for 512."""
BAGGAGE_LIMIT = 8192
"""Bytes of one baggage header that go on: the limit of the recommendation."""
REQUEST_ID_LIMIT = 128
UNSAMPLED = "proc.unsampled"
"""Ten-thousandths of new traces that are not recorded; not set: none."""
SHARES = 10_000

_ID = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}"
_SAMPLED = f"^00-{_ID}-[0-9a-f][13579bdf]$"
_NOT_SAMPLED = f"^00-{_ID}-[0-9a-f][02468ace]$"
_NEWER = "^(?!00|ff)[0-9a-f]{2}(-.{52})(?:-.*)?$"

CONNECTION = """\
  tcp-request connection set-var(sess.trace) var(sess.id),xxh64,hex,lower
  tcp-request connection set-var(sess.trace) str(00-),concat(,sess.trace)
"""
"""Needs `sess.id`, which is random."""

# A rule costs even where its condition fails, and most requests bring no trace: what only concerns those that do is kept
# to few rules. HAProxy's unique id, which it
# puts in a header and a line for half of what a rule and a variable cost, is the traceparent. `rand` times 2^32 plus the time stays below 2^63, where HAProxy's arithmetic ends.
RULES = rf"""  http-request set-var(txn.start) date(0,us)
  http-request set-var(txn.span) rand(2147000000),mul(4294967296),add(txn.start),xxh64,hex,lower
  http-request set-var(txn.parent) req.fhdr(traceparent)
  acl parent var(txn.parent) -m found
  acl traced var(txn.trace) -m found
  acl twice req.fhdr_cnt(traceparent) gt 1
  http-request set-var(txn.parent) 'var(txn.parent),regsub("{_NEWER}","00\1")' if parent !{{ var(txn.parent) -m beg 00- }}
  http-request set-var(txn.trace) var(txn.parent),bytes(0,36),concat(,txn.span,-01) if {{ var(txn.parent) -m reg {_SAMPLED} }} !twice
  http-request set-var(txn.trace) var(txn.parent),bytes(0,36),concat(,txn.span,-00) if {{ var(txn.parent) -m reg {_NOT_SAMPLED} }} !twice
  http-request unset-var(txn.parent) if parent !traced
  http-request del-header tracestate if !traced or {{ req.fhdr(tracestate) -m len gt {STATE_LIMIT} }}
  http-request set-var(txn.trace) var(sess.trace),concat(,txn.span,-),concat(,txn.span,-00) if {{ var({UNSAMPLED}) -m found }} !traced {{ rand({SHARES}),sub({UNSAMPLED}) lt 0 }}
  http-request set-var(txn.trace) var(sess.trace),concat(,txn.span,-),concat(,txn.span,-01) if !traced
  http-request del-header traceparent
  unique-id-format %[var(txn.trace)]
  unique-id-header traceparent
"""
"""Before every rule that may answer, so that each answer can name its trace."""

# What came is kept when it is harmless; what is made here is unique and has the trace in it.
REQUEST_ID = rf"""  http-request set-header x-request-id %[var(txn.trace),bytes(3,49)] if !{{ req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{{1,{REQUEST_ID_LIMIT}}}$ }}
"""

ANSWER = """\
  http-after-response set-header x-trace-id %[var(txn.trace),bytes(3,32)] if { var(txn.trace) -m found }
"""
"""A client of the gateway is told the trace of its request, whoever answered it."""

BELOW = """\
  http-{when} set-var(txn.parent) var(txn.trace)
  http-{when} set-var(txn.start) date(0,us)
  http-{when} set-var(txn.span) rand(2147000000),mul(4294967296),add(txn.start),xxh64,hex,lower
  http-{when} set-var(txn.flags) var(txn.parent),bytes(52,3)
  http-{when} set-var(txn.trace) var(txn.parent),bytes(0,36),concat(,txn.span),concat(,txn.flags)
"""
"""A span of its own below the hop that is behind this one: `txn.trace` was that hop's, and becomes the new one's."""

TRACE_ID = "%[var(txn.trace),bytes(3,32)]"
"""As log format: the trace's id, for problem documents."""


def unsampled(sampling: float) -> int:
    """The value of UNSAMPLED when this share of new traces is to be recorded (0.0 to 1.0; outside: the nearer end)."""
    return round((1.0 - min(1.0, max(0.0, sampling))) * SHARES)
