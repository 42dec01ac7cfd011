"""What a policy is bound to: the requests of one verdict."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from atoll.model.names import ServiceName
from atoll.model.policy import Effective
from atoll.model.service import Service


class Bound(msgspec.Struct, frozen=True):
    """What counts for the requests of one verdict to a service."""

    who: str
    """The line's key: `route:NAME`, `web>orders`, `orders`."""
    service: ServiceName
    effective: Effective
    callee: Service
    """Its own words, some of which count beside what wins."""


Column = Callable[[Bound], str]
"""A word of the line, without `|` and white space; empty: nothing is to be done."""
Named = Callable[[str], str]
"""The expression of a column, by its name."""
