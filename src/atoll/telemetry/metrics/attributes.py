"""OTLP's attributes as text, and what a resource says of whose metrics these are. Pure."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage

from atoll.telemetry.metrics.names import VALUE_LIMIT, translated

ATTRIBUTES_LIMIT = 128
"""Attributes of one point; more are a mistake, and the point is refused."""
RESOURCES = 1024
"""Resources remembered; SDKs send theirs with every body."""
DEPTH = 8
"""Levels of a value inside of a value."""
IDENTIFYING = frozenset({"service.name", "service.namespace", "service.instance.id"})
UNKNOWN = "unknown_service"


@dataclass(frozen=True)
class Resource:
    """Whose metrics they are."""

    key: int
    own: dict[str, str]
    """Labels of every series: service, job, instance."""
    info: dict[str, str]
    """What else it says of itself: the labels of `target_info`."""


def resource_of(message: Any) -> Resource:
    """Read a resource."""
    return _resource(message.SerializeToString(deterministic=True))


@lru_cache(maxsize=RESOURCES)
def _resource(raw: bytes) -> Resource:
    attributes = ResourceMessage.FromString(raw).attributes[:ATTRIBUTES_LIMIT]
    said = dict(pairs_of(attributes))
    service = said.get("service.name", "") or UNKNOWN
    namespace = said.get("service.namespace", "")
    own = {"service": service, "job": f"{namespace}/{service}" if namespace else service}
    if instance := said.get("service.instance.id", ""):
        own["instance"] = instance
    own = {name: value[:VALUE_LIMIT] for name, value in own.items()}
    info = translated(((name, value) for name, value in said.items() if name not in IDENTIFYING), {})
    info = {name: value for name, value in info.items() if name not in own}
    return Resource(hash(raw), own, info)


def pairs_of(attributes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Names and values; of a name that stands twice the last value."""
    return iter({pair.key: text_of(pair.value) for pair in attributes}.items())


def text_of(value: Any) -> str:
    """A value as text: as it is, or as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    if kind is None:
        return ""
    plain = _plain(value, DEPTH)
    return msgspec.json.encode(plain).decode()


def _plain(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth == 0:
        return None
    if kind == "array_value":
        return [_plain(item, depth - 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value, depth - 1) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    said = getattr(value, kind)
    return str(said) if isinstance(said, float) and not math.isfinite(said) else said
