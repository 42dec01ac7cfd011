"""OTLP's JSON, made into its protobuf. It is protobuf's JSON with exceptions: ids are hex, enums are numbers, and
unknown fields are ignored.

Item by item: one that cannot be read (a name for an enum that is none, a trace id that is not hex) is rejected by
itself; a resource or scope takes its items with it.
"""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import msgspec
from google.protobuf import json_format

from atoll.errors import BadRequest
from atoll.kit.text import scrub
from atoll.telemetry.receive.messages import WORDS, Words
from atoll.telemetry.signal import Signal

IDS = frozenset({"traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"})
HOLDERS = ("links", "exemplars")
"""Lists inside an item, or inside its data points, whose members have ids too."""
POINTS = ("gauge", "sum", "histogram", "exponentialHistogram", "exponential_histogram", "summary")

LEVELS = 120
"""Of JSON in one item: every fourth is a list, and no message of protobuf."""


def protobuf(signal: Signal, body: bytes) -> tuple[bytes, Counter[str]]:
    """The request as protobuf, and how many items could not be read, by reason. Blocking: 50 µs an item.

    Raises:
        BadRequest: it is not JSON, or not an export request.
    """
    try:
        told = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(
            f"the body is not JSON: {scrub(str(error), limit=200)}", hint="send OTLP's JSON, in UTF-8"
        ) from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply", hint="OTLP nests a hundred levels at most") from None
    words = WORDS[signal]
    rejected: Counter[str] = Counter()
    request = words.request()
    into = getattr(request, _snake(words.levels[0]))
    for holder in _members(told, words.levels[0]):
        made = _resource(holder, words, rejected)
        if made is not None:
            into.append(made)
    return request.SerializeToString(), rejected


def _resource(told: Any, words: Words, rejected: Counter[str]) -> Any:
    outer, inner = words.levels[1], words.levels[2]
    scopes = _members(told, outer)
    made = _parsed({key: value for key, value in told.items() if key not in _spellings(outer)}, words.resource)
    if made is None:
        rejected["resource malformed"] += sum(len(_members(scope, inner)) for scope in scopes)
        return None
    for scope in scopes:
        items = _members(scope, inner)
        frame = _parsed({key: value for key, value in scope.items() if key not in _spellings(inner)}, words.scope)
        if frame is None:
            rejected["scope malformed"] += len(items)
            continue
        into = getattr(frame, _snake(inner))
        for item in items:
            one = _parsed(item, words.item) if _ids_of(item) else None
            if one is None:
                rejected["malformed"] += 1
            else:
                into.append(one)
        getattr(made, _snake(outer)).append(frame)
    return made


def _parsed(told: Any, kind: type[Any]) -> Any:
    """`told` as a message; None: it is not one."""
    if not isinstance(told, dict) or _too_deep(told):
        return None
    try:
        return json_format.ParseDict(told, kind(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, TypeError, RecursionError, AttributeError):
        return None


def _too_deep(told: Any) -> bool:
    """What alone is just inside protobuf's hundred levels would be outside of them in its request."""
    level = [told]
    for _ in range(LEVELS):
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _members(told: Any, name: str) -> list[Any]:
    """The list under `name`, in either spelling.

    Raises:
        BadRequest: there is something else, or it is in something else.
    """
    if not isinstance(told, dict):
        raise BadRequest("the body is not an export request", hint=f"send an object with {name}")
    found: Any = None
    for spelling in _spellings(name):
        found = told.get(spelling) if found is None else found
    if found is None:
        return []
    if not isinstance(found, list):
        raise BadRequest(f"{name} is not a list", hint="send an export request as OTLP defines it")
    return found


def _ids_of(item: Any) -> bool:
    """Turn the ids of an item from hex into what protobuf's JSON has; False: one is not hex."""
    if not isinstance(item, dict):
        return False
    if not _from_hex(item):
        return False
    places = [item]
    for kind in POINTS:
        data = item.get(kind)
        if isinstance(data, dict):
            for spelling in ("dataPoints", "data_points"):
                points = data.get(spelling)
                places += [point for point in points if isinstance(point, dict)] if isinstance(points, list) else []
    for place in places:
        for name in HOLDERS:
            members = place.get(name)
            if isinstance(members, list) and not all(_from_hex(one) for one in members if isinstance(one, dict)):
                return False
    return True


def _from_hex(place: dict[str, Any]) -> bool:
    for key in place.keys() & IDS:
        value = place[key]
        if value is None:
            continue
        try:
            place[key] = base64.b64encode(bytes.fromhex(value)).decode()
        except (ValueError, TypeError):
            return False
    return True


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def _spellings(name: str) -> tuple[str, str]:
    return name, _snake(name)
