"""Where an instance answers, and which addresses nobody may register.

Only literal IP addresses are taken: a DNS name would be resolved by HAProxy, at a time and to a place of somebody
else's choosing. Link-local addresses are refused because cloud metadata services live there (Kubernetes
CVE-2021-25740); unspecified, multicast and reserved ones because no service can be there.
"""

from __future__ import annotations

import ipaddress

import msgspec

from atoll.errors import AddressForbidden
from atoll.kit.text import scrub

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Endpoint(msgspec.Struct, frozen=True, order=True):
    """host:port of an instance; `host` is a canonical IP literal, `port` is 1 to 65535."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def endpoint(host: object, port: object) -> Endpoint:
    """Parse host and port into an endpoint; `localhost` means 127.0.0.1.

    Raises:
        AddressForbidden: not an IP literal in its usual notation, a forbidden range, or a port outside 1-65535.
    """
    address = _address(host)
    reason = _forbidden(address)
    if reason:
        raise AddressForbidden(
            f"address {address} is {reason}",
            hint="register an address at which the service can be reached",
            host=str(address),
        )
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise AddressForbidden(f"port {scrub(str(port), limit=40)} is not 1-65535", hint="give the port as a number")
    return Endpoint(str(address), port)


def _address(host: object) -> IPAddress:
    text = "127.0.0.1" if host == "localhost" else host
    if isinstance(text, str) and len(text) <= 45 and "%" not in text:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            pass
        else:
            mapped = getattr(address, "ipv4_mapped", None)
            return mapped or address
    shown = scrub(str(host), limit=80)
    raise AddressForbidden(
        f"host {shown!r} is not an IP address",
        hint="give an IPv4 or IPv6 address such as 127.0.0.1 (names and unix paths are not resolved)",
        host=shown,
    )


def _forbidden(address: IPAddress) -> str | None:
    if address.is_link_local:
        return "link-local (cloud metadata services live there)"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, ipaddress.IPv4Address) and (
        address.is_reserved or address in ipaddress.ip_network("0.0.0.0/8")
    ):
        return "reserved"
    if isinstance(address, ipaddress.IPv6Address) and (address.sixtofour or address.teredo or address in _NAT64):
        return "a tunnel to an IPv4 address"
    if str(address) in _METADATA:
        return "a cloud metadata service"
    return None


_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset({"100.100.100.200", "fd00:ec2::254", "168.63.129.16"})
"""Metadata services outside the link-local ranges: Alibaba Cloud, AWS over IPv6, Azure's wire server."""
