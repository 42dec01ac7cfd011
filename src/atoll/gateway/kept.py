"""Last good answers: kept in HAProxy's cache when they come, given when the service fails. Memory only, bounded.

Kept are the 200s to a GET of somebody who did not say who they are (no Authorization, Cookie or API key), unless the
service says that they are personal or must not be given later (Set-Cookie; Cache-Control: private, no-store, no-cache,
must-revalidate), vary by more than encoding and origin, or never end (event streams). A reload forgets them.

HAProxy's cache answers by itself whatever it has; here it may only when the service failed. So the attempt looks it up
with `no-cache`, which makes it only learn, and what comes back is stored under a lifetime of our own. The cache tells
requests apart by host and path; the host that it sees is a hash of everything in which they may differ here. Request and
answer get back their own words. Whether there is a copy, and of when, is remembered in a table beside it: then a failure
without one stays what it is. Who is given a copy is told not to keep it.
"""

from __future__ import annotations

from atoll.gateway.quote import line, section

TABLE = "edge:kept"
CACHE = "kept"
MEGABYTES = 16
"""Of all copies together."""
LARGEST = 1 << 20
"""Bytes of one answer."""
KEYS = 20_000
AGE_CEILING = 86_400
"""Seconds."""
COPY = "txn.copy"
"""The key under which an answer is kept; not set: this request's never is."""
COUNTER = 6
"""Which of HAProxy's counters of a request holds the table's entry."""

_HOST = "txn.copy_host"

CONDITIONS = f"""\
  acl copied var({COPY}) -m found
  acl fresh date(),sub(txn.copied_until) -m int lt 0
"""

ASKING = f"""\
  acl keeping var(txn.line) -m beg g
  acl named req.hdr(authorization) -m found
  acl named req.hdr(cookie) -m found
  acl named req.hdr(x-api-key) -m found
  acl named req.fhdr_cnt(cache-control) gt 1
  http-request set-var-fmt({COPY}) "%[var(txn.at),field(7,|)] %[req.hdr(host)] %[pathq] %[req.fhdr(accept-encoding)] %[req.fhdr(origin)]" if keeping METH_GET !named
  http-request set-var({COPY}) var({COPY}),xxh64,hex if copied
  http-request set-var({_HOST}) req.hdr(host) if copied
"""
"""Which copy a request is about. The third of the line's words is the age."""

_HIDDEN = f"""\
  http-request set-header host %[var({COPY})] if copied
"""
_SHOWN = f"""\
  http-request set-header host %[var({_HOST})] if copied
"""

LEARNING = f"""\
  http-request set-var(txn.asked_control) req.fhdr(cache-control) if copied
  http-request set-header cache-control no-cache if copied
{_HIDDEN}\
  http-request cache-use {CACHE} if copied
{_SHOWN}\
  http-request del-header cache-control if copied
  http-request set-header cache-control %[var(txn.asked_control)] if copied {{ var(txn.asked_control) -m found }}
"""
"""Before the service is asked."""

STORING = f"""\
  acl whole status 200
  acl private res.hdr(cache-control) -m sub -i private no-store no-cache must-revalidate proxy-revalidate
  acl private res.hdr(set-cookie) -m found
  acl private res.hdr(content-type) -m beg -i text/event-stream
  acl private res.hdr(content-length),add(0) -m int gt {LARGEST}
  acl private res.fhdr_cnt(cache-control) gt 1
  acl private res.fhdr_cnt(vary) gt 1
  acl varies res.fhdr(vary) -m found
  acl plainly res.fhdr(vary) -m reg -i ^(accept-encoding|origin)(,\\s*(accept-encoding|origin))*$
  http-response set-var(txn.storing) bool(true) if copied whole !private !varies or copied whole !private plainly
  acl storing var(txn.storing) -m found
  http-response set-var(txn.said_control) res.fhdr(cache-control) if storing
  http-response set-var(txn.said_vary) res.fhdr(vary) if storing
  http-response set-header cache-control max-age=%[var(txn.line),field(3,|)] if storing
  http-response del-header vary if storing
  http-response cache-store {CACHE} if storing
  http-response track-sc{COUNTER} var({COPY}) table {TABLE} if storing
  http-response sc-set-gpt(0,{COUNTER}) date() if storing
  http-response del-header cache-control if storing
  http-response set-header cache-control %[var(txn.said_control)] if storing {{ var(txn.said_control) -m found }}
  http-response set-header vary %[var(txn.said_vary)] if storing {{ var(txn.said_vary) -m found }}
"""
"""When it answered."""

GIVEN = """\
  acl copy res.cache_hit
  http-after-response set-var(txn.given) str(last-good) if copy
  http-after-response set-header cache-control no-store if copy
"""
"""It was given."""

COPY_KNOWN = """\
  http-after-response set-var(txn.again) bool(true) if copied fresh
"""
"""A failure of which there is a copy; after `looking`."""

GIVING = f"""\
{_HIDDEN}\
  http-request cache-use {CACHE} if copied fresh
{_SHOWN}\
  http-request allow if copied fresh
"""
"""The copy, when there is one; after `looking`. Rules go on when there is one, but no section's are asked."""


def looking(when: str) -> str:
    """The rules that find out until when there is a copy that may be given, for `fresh`."""
    return f"""\
  {when} set-var(txn.copy_age) var(txn.line),field(3,|),add(0) if copied
  {when} set-var(txn.copied_until) var({COPY}),table_gpt(0,{TABLE}),add(txn.copy_age) if copied
"""


def kept_sections() -> str:
    """The cache, and the table beside it. The table is not handed over at a reload: the cache is not either."""
    lines = [
        section("cache", CACHE),
        line("total-max-size", str(MEGABYTES)),
        line("max-object-size", str(LARGEST)),
        line("max-age", str(AGE_CEILING)),
        "",
        section("backend", TABLE),
        line("stick-table", "type", "string", "len", "16", "size", str(KEYS), "expire", "1d", "store", "gpt(1)"),
        "",
    ]
    return "\n".join(lines)
