"""One label set that is being written to, and the little that must be known of it between two samples."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec


def series_id(name: str, labels: dict[str, str]) -> int:
    """The number of a series: the same in every process and at all times. Labels in any order, none empty."""
    text = msgspec.json.encode([name, *sorted(labels.items())])
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


class Entry:
    """Its series (one; for a histogram one for each bucket, and sum and count) and where they stand.

    Labels are not held: 100,000 series would take 100 MB. They are made again when the series is told again.
    """

    __slots__ = (
        "family",
        "ids",
        "last",
        "names",
        "overflow",
        "rising",
        "seen",
        "service",
        "start",
        "told",
        "totals",
        "turn",
    )

    def __init__(self, family: str, service: str, names: tuple[str, ...], ids: tuple[int, ...]) -> None:
        self.family = family
        self.service = service
        self.names = names
        self.ids = ids
        self.rising = False
        """Its values only grow, but for a new start; kept here for scraped series."""
        self.overflow = False
        """Many label sets are added up in it."""
        self.told = 0
        """When its series were written down, in milliseconds; 0: they must be."""
        self.seen = 0
        """When it last came, by our clock, in milliseconds."""
        self.last = 0
        """Time of its newest sample in milliseconds."""
        self.start = 0
        """Since when it counts, as its sender says, in nanoseconds."""
        self.totals: Any = None
        """What differences have added up to: a list of numbers, or a native histogram."""
        self.turn = 0
        """The body that it last came in."""
