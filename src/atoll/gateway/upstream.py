"""Which instances a share means, and what that set is called.

`orders` is every instance of the service, `orders@v2` those of one version, `orders@-v2,v3` all but those of the
versions that other shares of the same route name, `orders@zone:b` those in a zone. With `~1a2b3c4d` behind it the same
instances, in a section of their own (see `variant`).
"""

from __future__ import annotations

import hashlib

import msgspec

from atoll.model.failover import Group
from atoll.model.names import ServiceName, Token
from atoll.model.route import Route, Share
from atoll.model.service import Instance


class Upstream(msgspec.Struct, frozen=True):
    """A service, one version of it, all but some versions of it, or those of its instances that are in one zone."""

    service: ServiceName
    version: Token | None = None
    but: tuple[Token, ...] = ()
    variant: str = ""
    """Of lower-case hex digits; empty: the service's usual section."""
    zone: Token | None = None

    def __str__(self) -> str:
        which = self.service if self.version is None else f"{self.service}@{self.version}"
        which += f"@-{','.join(self.but)}" if self.but else ""
        which += f"@zone:{self.zone}" if self.zone is not None else ""
        return f"{which}~{self.variant}" if self.variant else which

    def __lt__(self, other: Upstream) -> bool:
        # by name: None and a version do not compare
        return str(self) < str(other)

    def has(self, instance: Instance) -> bool:
        """Whether `instance`, one of this service, belongs to it."""
        if self.zone is not None:
            return instance.zone == self.zone
        if self.version is not None:
            return instance.version == self.version
        return instance.version not in self.but

    @property
    def section(self) -> str:
        """The name of its own section in haproxy.cfg: of `a-z A-Z 0-9 . _ : -`, different for different upstreams."""
        return f"{self._which()}:x:{self.variant}" if self.variant else self._which()

    def _which(self) -> str:
        if self.zone is not None:
            return f"{self.service}:z:{self.zone.replace('+', ':')}"
        if self.version is not None:
            return f"{self.service}:v:{self.version.replace('+', ':')}"
        if self.but:
            return f"{self.service}:not:{hashlib.sha256(','.join(self.but).encode()).hexdigest()[:16]}"
        return self.service


def upstream_of_group(group: Group) -> Upstream:
    """The upstream that a failover group means."""
    return Upstream(group.service, group.version, zone=group.zone)


def upstream_of(route: Route, share: Share) -> Upstream:
    """The upstream that `share`, one of the route's, sends to."""
    if share.version is not None:
        return Upstream(share.service, share.version)
    named = {other.version for other in route.shares if other.service == share.service and other.version is not None}
    return Upstream(share.service, None, tuple(sorted(named)))
