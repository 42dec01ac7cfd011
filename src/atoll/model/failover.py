"""Where requests to a service go when it is not well: an ordered list of groups, and when to leave one and to return."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from atoll.model import names
from atoll.model.breaker import MOMENT_CEILING, REASON_LIMIT
from atoll.model.names import ServiceName, Token

ZONE = "zone:"
"""How a zone is told from other names."""
GROUPS_LIMIT = 4
"""Groups of one service: each is a rule that its requests pass."""
RETURN_CEILING = 3600.0
"""Seconds."""


class Group(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The instances of a service (`orders`), those in one zone (`orders@zone:b`), or those of one version (`orders@v2`)."""

    service: ServiceName
    zone: Token | None = None
    version: Token | None = None

    def __str__(self) -> str:
        if self.zone is not None:
            return f"{self.service}@{ZONE}{self.zone}"
        return f"{self.service}@{self.version}" if self.version is not None else self.service


def parse_group(raw: object, *, field: str = "group") -> Group:
    """`orders`, `orders@zone:b` or `orders@v2`.

    Raises:
        InvalidName: a part of it does not follow its grammar.
    """
    service, at, part = str(raw).partition("@")
    name = names.service_name(service, field=field)
    if part.startswith(ZONE):
        return Group(service=name, zone=names.token(part.removeprefix(ZONE), field=field))
    return Group(service=name, version=names.token(part, field=field) if at else None)


class Failover(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The groups of a service. A group that no instance takes requests of is always left, by HAProxy itself."""

    groups: tuple[Group, ...]
    """In the order in which they are wanted."""
    error_rate: int | None = None
    """Percent of a group's requests that must have failed for it to be left; None: only its open breaker counts."""
    return_after: float = 30.0
    """Seconds for which an earlier group must have been well before requests return to it."""


class FailoverWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an operator said of a service's failover. Wall seconds; the word ends by itself."""

    to: Group | None = None
    """Where requests shall go; None: back to the first group, now."""
    until: float = 0.0
    reason: str = ""
    since: float = 0.0

    def holds(self, wall: float) -> Group | None:
        """The group that is forced at `wall`, if any."""
        return self.to if wall < self.until else None


def failover_problems(service: ServiceName, said: Failover) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is absurd in `said` by itself: path and reason."""
    if not 2 <= len(said.groups) <= GROUPS_LIMIT:
        yield ("groups",), f"{len(said.groups)} groups are not 2 to {GROUPS_LIMIT}: the wanted one, then where to go"
    for index, group in enumerate(said.groups):
        if group in said.groups[:index]:
            yield ("groups", index), f"`{group}` is there twice"
    if said.groups and not any(group.service == service for group in said.groups):
        yield ("groups",), f"none of them is of `{service}` itself"
    if said.error_rate is not None and not 1 <= said.error_rate <= 100:
        yield ("when", "error_rate"), f"{said.error_rate} is not 1 to 100 percent"
    if not (math.isfinite(said.return_after) and 0 <= said.return_after <= RETURN_CEILING):
        yield ("return_after",), f"{said.return_after:g} is not 0 to {RETURN_CEILING:g} seconds"


def failover_word_problems(said: FailoverWord) -> Iterator[tuple[str, str]]:
    """What is absurd in `said`: field and reason."""
    for field in ("until", "since"):
        if not 0 <= getattr(said, field) <= MOMENT_CEILING:
            yield field, f"{getattr(said, field):g} is no moment"
    if len(said.reason) > REASON_LIMIT:
        yield "reason", f"it has more than {REASON_LIMIT} characters"
