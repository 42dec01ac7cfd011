"""The platform's own listeners, which nobody may register as a backend: the admin API would be open to the world (E9)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from atoll.errors import AddressForbidden
from atoll.model.address import Endpoint


@dataclass(frozen=True)
class Listener:
    """`count` ports from `port` on, listened to at `host`."""

    name: str
    host: str
    port: int
    count: int = 1


@dataclass(frozen=True)
class Listeners:
    """What the platform listens on; `local` are this machine's own addresses, for listeners at the wildcard address."""

    own: tuple[Listener, ...] = ()
    local: frozenset[str] = frozenset()

    def check(self, endpoint: Endpoint) -> None:
        """Refuse an endpoint that is one of ours.

        Raises:
            AddressForbidden: it is.
        """
        for listener in self.own:
            if listener.port <= endpoint.port < listener.port + listener.count and self._reaches(endpoint, listener):
                raise AddressForbidden(
                    f"{endpoint} is atoll's own {listener.name}",
                    hint="register the address and port of the service itself",
                    host=endpoint.host,
                    port=endpoint.port,
                )

    def _reaches(self, endpoint: Endpoint, listener: Listener) -> bool:
        address = ipaddress.ip_address(endpoint.host)
        try:
            at = ipaddress.ip_address("127.0.0.1" if listener.host == "localhost" else listener.host)
        except ValueError:  # a host name: any address of this machine may be meant
            return address.is_loopback or endpoint.host in self.local
        if at.is_unspecified:
            return address.is_loopback or endpoint.host in self.local
        return address == at or (address.is_loopback and at.is_loopback)
