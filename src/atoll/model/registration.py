"""What a registrant says of itself: the body of `PUT /api/v1/services/{service}/instances/{id}`, also of every renewal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from atoll.errors import InvalidValue
from atoll.kit.text import scrub
from atoll.model import lease, names
from atoll.model.address import endpoint
from atoll.model.names import InstanceId, ServiceName
from atoll.model.service import Instance, Protocol

WEIGHT_CEILING = 256
"""HAProxy's own limit."""
TAGS_LIMIT = 32
METADATA_LIMIT = 64
METADATA_BYTES = 1024
"""Bytes of one metadata value."""


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An instance in its own words; durations in seconds. Unknown fields are refused, so a typo is not lost."""

    port: int
    host: str = "127.0.0.1"
    protocol: Protocol = Protocol.HTTP
    version: str | None = None
    zone: str | None = None
    weight: int = 100
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    ttl: float | None = None
    """Seconds the registration lives without a renewal; None: as the control plane is set."""
    node: str | None = None
    lease: str = ""
    """The lease got from an earlier registration; shown, this is a renewal."""


def instance_of(
    service: ServiceName, instance: InstanceId, said: Registration, *, default_ttl: float = lease.TTL_DEFAULT
) -> Instance:
    """The instance a registration describes, every value checked; lease, state and times are the registry's to set.

    Raises:
        InvalidName: version, zone, node or a tag.
        InvalidValue: weight, ttl or metadata outside their limits.
        AddressForbidden: see `model.address`.
    """
    where = endpoint(said.host, said.port)
    if not 0 <= said.weight <= WEIGHT_CEILING:
        raise InvalidValue(f"weight {said.weight} is outside 0-{WEIGHT_CEILING}", hint="100 is usual", field="weight")
    if len(said.tags) > TAGS_LIMIT:
        raise InvalidValue(f"{len(said.tags)} tags are more than {TAGS_LIMIT}", hint="use metadata", field="tags")
    ttl = default_ttl if said.ttl is None else said.ttl
    if not math.isfinite(ttl):
        raise InvalidValue("ttl is not a finite number", hint="give seconds", field="ttl")
    return Instance(
        service=service,
        id=instance,
        host=where.host,
        port=where.port,
        protocol=said.protocol,
        version=names.token(said.version, field="version") if said.version is not None else None,
        zone=names.token(said.zone, field="zone") if said.zone is not None else None,
        weight=said.weight,
        tags=tuple(names.token(tag, field="tag") for tag in said.tags),
        metadata=_metadata(said.metadata),
        ttl=lease.ttl(ttl),
        node=names.node_name(said.node) if said.node is not None else None,
    )


def _metadata(said: Mapping[str, str]) -> dict[str, str]:
    if len(said) > METADATA_LIMIT:
        raise InvalidValue(
            f"{len(said)} metadata entries are more than {METADATA_LIMIT}",
            hint="keep bulk data elsewhere",
            field="metadata",
        )
    for name, value in said.items():
        names.token(name, field="metadata key")
        if len(value.encode("utf-8", "surrogatepass")) > METADATA_BYTES or not value.isprintable():
            raise InvalidValue(
                f"metadata {scrub(name, limit=64)!r} is over {METADATA_BYTES} bytes or holds control characters",
                hint="keep values short and printable",
                field="metadata",
            )
    return dict(said)
