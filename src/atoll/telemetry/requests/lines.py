"""What comes over HAProxy's ring: lines of requests, and now and then a line of HAProxy itself. Pure.

A block that holds only lines of requests, which nearly all do, is known by two counts and not looked at further.
"""

from __future__ import annotations

import re

import msgspec

ENDING = b"\t.2\n"
"""What a whole line of a request ends with (gateway/request_log.py); nothing that a client sends can look so."""
REMARK_LIMIT = 1024
"""Bytes of a line of HAProxy itself."""
REMARKS = 200
"""Lines of HAProxy itself of one block that are kept; a start or reload of a large platform says a lot."""

_DROPPED = re.compile(rb"(?:<\d+>)?\s*(\d+) events? dropped\.?")


class Block(msgspec.Struct, frozen=True):
    """One block, sorted."""

    requests: bytes
    """Whole lines, as they came."""
    count: int
    dropped: int = 0
    """Lines that HAProxy says it had no room for."""
    remarks: tuple[str, ...] = ()
    """What HAProxy says of servers and of itself."""
    odd: int = 0
    """Lines that are nothing of this: cut, or of a layout that we do not know."""


def sort(block: bytes) -> Block:
    """Tell apart what stands in `block`, which ends with a line's end."""
    count = block.count(ENDING)
    if count == block.count(b"\n"):
        return Block(block, count)
    requests: list[bytes] = []
    remarks: list[str] = []
    dropped = odd = 0
    for line in (each + b"\n" for each in block.split(b"\n")[:-1]):
        if line.endswith(ENDING):
            requests.append(line)
        elif notice := _DROPPED.fullmatch(line.rstrip()):
            dropped += int(notice[1])
        elif b"\t" in line or not line.strip() or len(remarks) == REMARKS:
            odd += 1
        else:
            remarks.append(line[:REMARK_LIMIT].decode("utf-8", "replace").rstrip())
    return Block(b"".join(requests), len(requests), dropped, tuple(remarks), odd)


def halves(lines: bytes) -> tuple[bytes, bytes]:
    """The two halves of some lines, cut at a line's end; the second is empty when there is only one line."""
    at = lines.find(b"\n", len(lines) // 2 - 1) + 1 or len(lines)
    if at == len(lines):
        at = lines.rfind(b"\n", 0, len(lines) - 1) + 1 or len(lines)
    return lines[:at], lines[at:]
