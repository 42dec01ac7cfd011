"""The lease table: memory only, because renewals may be lost and facts may not. Full TTL for everybody at the start."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable

from atoll.kit.clock import Instant
from atoll.model.lease import Lease
from atoll.model.service import ROUTABLE, Instance
from atoll.registry.expiry import Held, InstanceKey

ENDED_LIMIT = 10_000
"""Ended leases remembered, so that a late renewal does not bring a deregistered instance back."""


def new_token() -> str:
    """A fencing token: unguessable, so that a stale holder cannot renew by accident."""
    return secrets.token_hex(8)


class Leases:
    """Who holds which lease, and which leases have ended."""

    def __init__(self, make_token: Callable[[], str] = new_token) -> None:
        self.make_token = make_token
        self._held: dict[InstanceKey, Lease] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    def follow(self, instances: Iterable[Instance], now: Instant) -> None:
        """Make the table agree with the facts: a lease for each instance, none for the rest.

        An instance that was read from disk (or registered elsewhere) gets its full TTL from now on.
        """
        seen: set[InstanceKey] = set()
        for instance in instances:
            key = instance.service, instance.id
            seen.add(key)
            lease = self._held.get(key)
            if lease is None or lease.token != instance.lease:
                self._held[key] = Lease(instance.lease, instance.ttl, now)
            elif lease.ttl != instance.ttl:
                self._held[key] = Lease(lease.token, instance.ttl, lease.renewed)
        for key in self._held.keys() - seen:
            del self._held[key]

    def renew(self, instance: Instance, now: Instant) -> None:
        """Start the lease of an instance anew."""
        self._held[instance.service, instance.id] = Lease(instance.lease, instance.ttl, now)

    def end(self, key: InstanceKey, token: str, reason: str) -> None:
        """The instance is gone; whoever shows this lease later is told why."""
        self._held.pop(key, None)
        self._ended[token] = reason
        while len(self._ended) > ENDED_LIMIT:
            self._ended.popitem(last=False)

    def ended(self, token: str) -> str | None:
        """Why a lease ended; None when it did not, or nobody remembers."""
        return self._ended.get(token)

    def population(self, instances: Iterable[Instance]) -> dict[InstanceKey, Held]:
        """Every lease with what `expiry.decide` needs to know of its holder."""
        found: dict[InstanceKey, Held] = {}
        for instance in instances:
            key = instance.service, instance.id
            lease = self._held.get(key)
            if lease is not None:
                found[key] = Held(lease, routable=instance.state in ROUTABLE)
        return found

    def __len__(self) -> int:
        return len(self._held)
