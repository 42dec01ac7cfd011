"""From a service and its instances to a section's traits and servers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import quote as percent_encoded

import msgspec

from atoll.errors import AddressForbidden, AtollError, InvalidName, InvalidValue
from atoll.gateway.config import Kind, Server, Traits
from atoll.gateway.ejection import NO_OUTLIERS, Outliers
from atoll.kit.text import scrub
from atoll.model import names
from atoll.model.address import endpoint
from atoll.model.bulkhead import Queue
from atoll.model.cadence import Cadence, cadence
from atoll.model.names import InstanceId
from atoll.model.registration import WEIGHT_CEILING
from atoll.model.service import ROUTABLE, Balance, BalanceKind, Check, CheckKind, Instance, Mode, Protocol, Service

ASKED = frozenset({CheckKind.HTTP, CheckKind.TCP, CheckKind.GRPC})
"""Checks that HAProxy makes; of the others the node knows."""
CHECK_FLOOR, CHECK_CEILING = 0.1, 3600.0
"""Seconds: HAProxy checks no faster than it is worth, and an hour is as good as never."""
COUNT_CEILING = 100
"""Failures or successes in a row."""
PATH_BYTES = 1024
_PLAIN_PATH = "/!$&()*+,=:@-._~?%"


def traits_of(service: Service) -> Traits:
    """What the section of an upstream of `service` must be.

    Raises:
        InvalidValue, InvalidName: a check or balance that no section can have.
    """
    balance = _balance(service)
    if service.check.kind not in ASKED:
        return Traits(
            kind=_kind(service),
            balance=balance,
            sticky=_sticky(service),
            queue_timeout=_queue_timeout(service),
            led=is_led(service),
        )
    return Traits(
        kind=_kind(service),
        balance=balance,
        sticky=_sticky(service),
        check_timeout=_cadence(service.check).patience,
        queue_timeout=_queue_timeout(service),
        led=is_led(service),
    )


def _queue_timeout(service: Service) -> float:
    return float((service.queue or Queue()).timeout)


def is_led(service: Service) -> bool:
    """Whether one instance of it gets everything."""
    return service.mode is Mode.ACTIVE_PASSIVE


def check_of(service: Service) -> Check | None:
    """What of the service's check is the servers' own; the path and the gRPC service are the section's, by map.

    Raises:
        InvalidValue: a number outside its limits.
    """
    check = service.check
    if check.kind not in ASKED:
        return None
    _within("check rise", check.rise, 1, COUNT_CEILING)
    return Check(kind=check.kind, interval=_cadence(check).every, fall=check.fall, rise=check.rise)


def _cadence(check: Check) -> Cadence:
    _within("check interval", check.interval, CHECK_FLOOR, CHECK_CEILING)
    _within("check fall", check.fall, 1, COUNT_CEILING)
    if check.timeout is not None:
        _within("check timeout", check.timeout, CHECK_FLOOR, CHECK_CEILING)
    return cadence(check)


def check_entry(service: Service, kind: Kind) -> str | None:
    """What the check of a section of this kind asks for, as the checks map says it; None: the section's default.

    Of an http check the path, with everything but plain characters percent-encoded; of a gRPC check the request's
    DATA frame in hex.
    """
    if kind is Kind.HTTP and service.check.path != "/":
        path = percent_encoded(service.check.path, safe=_PLAIN_PATH, errors="replace")
        return path[:PATH_BYTES] if path.startswith("/") else f"/{path}"[:PATH_BYTES]
    if kind is Kind.GRPC and service.check.grpc_service:
        return health_request(service.check.grpc_service).hex()
    return None


def health_request(service: str) -> bytes:
    """The HTTP/2 DATA frame that ends a grpc.health.v1 Check request for `service`."""
    asked = service.encode(errors="replace")[:PATH_BYTES]
    size = len(asked)
    length = bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])
    message = b"\x0a" + length + asked if asked else b""
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return len(body).to_bytes(3, "big") + b"\0\x01" + (1).to_bytes(4, "big") + body


def servers_of(
    upstream: str,
    service: Service,
    instances: Sequence[Instance],
    outliers: Outliers = NO_OUTLIERS,
    leader: InstanceId | None = None,
) -> tuple[tuple[Server, ...], tuple[str, ...]]:
    """The servers of an upstream, by instance id, and what was wrong with those left out. `leader`: of a led service.

    Ejection after failed requests needs a check to come back by and another server to go on with: it is off for the
    only server that takes requests, and in a panic. An outlier gets its share of its weight.
    """
    check = check_of(service)
    panic, shares = outliers[0], dict(outliers[1])
    sound: list[Instance] = []
    refused: list[str] = []
    for instance in sorted(instances, key=lambda each: each.id):
        objection = _objection(instance)
        if objection:
            refused.append(f"instance {scrub(instance.id, limit=64)} of {upstream}: {objection}")
        else:
            sound.append(instance)
    taking = sum(instance.state in ROUTABLE and instance.weight > 0 for instance in sound)
    servers = []
    for instance in sound:
        takes = instance.state in ROUTABLE
        company = taking if takes and instance.weight > 0 else len(sound)
        servers.append(
            _named(
                Server(
                    name="",
                    instance=instance.id,
                    host=endpoint(instance.host, instance.port).host,
                    port=instance.port,
                    weight=_share(instance.weight, shares.get(instance.id, 100)),
                    h2=service.protocol is not Protocol.TCP and instance.protocol in {Protocol.H2C, Protocol.GRPC},
                    room=service.instance_concurrency or 0,
                    check=check,
                    slow_start=max(0.0, float(service.slow_start)),
                    eject=check is not None and company > 1 and not panic,
                    drained=not takes,
                    standby=is_led(service) and instance.id != leader,
                )
            )
        )
    return tuple(servers), tuple(refused)


def _share(weight: int, percent: int) -> int:
    return max(1, weight * percent // 100) if weight and percent else 0


def _named(server: Server) -> Server:
    """`server` with a name that changes with everything that HAProxy cannot change on a living server."""
    fixed = (server.host, server.port, server.h2, server.slow_start, server.eject, server.check, *_room(server))
    digest = hashlib.blake2b(repr(fixed).encode(), digest_size=4).hexdigest()
    return msgspec.structs.replace(server, name=f"{server.instance}:{digest}")


def _room(server: Server) -> tuple[int, ...]:
    return (server.room,) if server.room else ()


def _objection(instance: Instance) -> str | None:
    try:
        names.instance_id(instance.id)
        endpoint(instance.host, instance.port)
        _within("weight", instance.weight, 0, WEIGHT_CEILING)
    except AddressForbidden as error:
        return f"{error.code}: {error.detail}"
    except AtollError as error:
        return error.detail
    return None


def _kind(service: Service) -> Kind:
    if service.protocol is Protocol.TCP:
        return Kind.TCP
    plain = Kind.CALLS if service.protocol is Protocol.GRPC else Kind.PLAIN
    return {CheckKind.HTTP: Kind.HTTP, CheckKind.GRPC: Kind.GRPC}.get(service.check.kind, plain)


def _sticky(service: Service) -> bool:
    return service.sticky and service.protocol is not Protocol.TCP and not is_led(service)


def _balance(service: Service) -> Balance:
    balance = service.balance
    if balance.kind is not BalanceKind.HASH:
        return Balance(kind=balance.kind)
    kind, _, header = balance.hash_on.partition(":")
    if kind == "header":
        header = names.header_name(header, field="hash_on")
    elif balance.hash_on not in {"client_ip", "path"}:
        raise InvalidName(f"hash_on {scrub(balance.hash_on, limit=64)!r} is not client_ip, path or header:NAME")
    if service.protocol is Protocol.TCP:
        return Balance(kind=BalanceKind.HASH)
    return Balance(kind=BalanceKind.HASH, hash_on=f"header:{header}" if header else kind)


def _within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN compares false and is refused as well
        raise InvalidValue(f"{what} {value} is outside {low:g}-{high:g}", hint="give a number in this range")
