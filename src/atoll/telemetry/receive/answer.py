"""How OTLP answers: success with what was not stored, or google.rpc.Status, in the form the request had. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from google.protobuf import any_pb2, duration_pb2, json_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from atoll.errors import (
    AtollError,
    BadRequest,
    Forbidden,
    InvalidValue,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestTimeout,
    StorageFull,
    TooLarge,
    Unauthorized,
)
from atoll.telemetry.limits import BufferFull, UnsupportedMedia
from atoll.telemetry.receive.intake import Form
from atoll.telemetry.receive.messages import response
from atoll.telemetry.signal import Signal

MEDIA = {Form.PROTOBUF: "application/x-protobuf", Form.JSON: "application/json"}
INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, PERMISSION_DENIED = 3, 4, 5, 7
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 8, 12, 13, 14, 16
CODES: tuple[tuple[type[AtollError], int], ...] = (
    (BadRequest, INVALID_ARGUMENT),
    (InvalidValue, INVALID_ARGUMENT),
    (UnsupportedMedia, INVALID_ARGUMENT),
    (TooLarge, INVALID_ARGUMENT),
    (RequestTimeout, DEADLINE_EXCEEDED),
    (NotFound, NOT_FOUND),
    (MethodNotAllowed, UNIMPLEMENTED),
    (Forbidden, PERMISSION_DENIED),
    (Unauthorized, UNAUTHENTICATED),
    (BufferFull, RESOURCE_EXHAUSTED),
    (Overloaded, UNAVAILABLE),
    (StorageFull, UNAVAILABLE),
)
"""gRPC's numbers. A sender repeats what was unavailable, and what was exhausted when it is told when."""
LATER = (BufferFull, Overloaded, StorageFull)
"""Refusals after which the same request may succeed."""
FULL_SECONDS = 15
"""Seconds to come back in when the disk is full: room is not made at once."""


@dataclass(frozen=True)
class Refusal:
    """An error as both ways in tell it. `retry_after` in whole seconds; 0: do not."""

    http: int
    grpc: int
    message: str
    retry_after: int
    status: status_pb2.Status


def refusal(error: AtollError) -> Refusal:
    """What a sender is told of `error`."""
    code = next((number for kind, number in CODES if isinstance(error, kind)), INTERNAL)
    later = 0
    if isinstance(error, LATER):
        usual = FULL_SECONDS if isinstance(error, StorageFull) else 1
        later = max(1, math.ceil(float(error.fields.get("retry_after", usual))))
    message = f"{error.detail} ({error.hint})" if error.hint else error.detail
    status = status_pb2.Status(code=code, message=message)
    if later:
        packed = any_pb2.Any()
        packed.Pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=later)))
        status.details.append(packed)
    http = 503 if isinstance(error, Overloaded | StorageFull) else error.status
    return Refusal(http, code, message, later, status)


def success(signal: Signal, form: Form, rejected: int, reason: str) -> bytes:
    """The body of a success."""
    return _written(response(signal, rejected, reason), form)


def failure(told: Refusal, form: Form) -> bytes:
    """The body of a refusal."""
    return _written(told.status, form)


def _written(message: Message, form: Form) -> bytes:
    written: bytes = (
        json_format.MessageToJson(message, indent=None).encode() if form is Form.JSON else message.SerializeToString()
    )
    return written
