"""What a policy is bound to: the requests of one verdict. And the words that its line in the policies map is made of."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntFlag

import msgspec

from atoll.model.names import ServiceName
from atoll.model.policy import Effective
from atoll.model.service import Service

DOES = "txn.does"
"""The sum of a request's `Does`; not set: nothing is said of it."""


class Does(IntFlag):
    """What a line asks for, as bits: to look at one costs half of looking at text."""

    TIMED = 1
    """A time for all tries is said,"""
    TRIED = 2
    """one for each of them."""
    OWNER = 4
    """This hop retries for all behind it,"""
    PATIENT = 8
    """also when a try takes too long."""
    ONCE = 16
    """An instance that has had the request keeps it."""
    CHOOSY = 32
    """Methods are said, or"""
    BUDGET = 64
    """a share of retries."""
    OWN = 128
    """A limit of the route's or call's own,"""
    WHOLE = 256
    """of the service as a whole,"""
    ROOM = 512
    """of each instance."""
    SCOPED = 1024
    """Rules must be told the scope of the circuit breaker."""
    WATCHED = 2048
    """Answers must be looked at although nothing has failed anywhere."""


class Bound(msgspec.Struct, frozen=True):
    """What counts for the requests of one verdict to a service."""

    who: str
    """The line's key: `route:NAME`, `web>orders`, `orders`."""
    service: ServiceName
    effective: Effective
    callee: Service
    """Its own words, some of which count beside what wins."""


Bits = Callable[[Bound], Does]
Number = Callable[[Bound], int]
"""A number of the line, 0 to 999,999,999; 0 as well where it is not said."""
Text = Callable[[Bound], str]
"""A text of the line, without `|` and white space."""
Named = Callable[[str], str]
"""The expression of a column, by its name."""


def does(what: Does) -> str:
    """The condition that any of these is asked for, to be named by `acl`."""
    return f"var({DOES}),and({what:d}) -m bool"
