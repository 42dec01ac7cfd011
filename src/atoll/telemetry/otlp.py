"""OTLP bodies as they came, made into inserts: the engine reads the protobuf, Python does not."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from atoll.telemetry.engine import Insert

SETTINGS = {
    "input_format_protobuf_oneof_presence": 1,  # without it a value of 0, false or '' is no value
    "query_plan_enable_optimizations": 0,  # the views have nothing to optimize, and looking for it takes 12 ms of CPU
}


@cache
def proto() -> str:
    """The text of otlp.proto."""
    return files("atoll.telemetry").joinpath("otlp.proto").read_text("utf-8")


def traces(bodies: Iterable[bytes]) -> Insert:
    """An insert of ExportTraceServiceRequest bodies."""
    return _insert("raw_traces", "ExportTraceServiceRequest", bodies)


def logs(bodies: Iterable[bytes]) -> Insert:
    """An insert of ExportLogsServiceRequest bodies."""
    return _insert("raw_logs", "ExportLogsServiceRequest", bodies)


def _insert(table: str, message: str, bodies: Iterable[bytes]) -> Insert:
    data: list[bytes] = []
    for body in bodies:
        data += (varint(len(body)), body)
    return Insert(table=table, format="Protobuf", data=data, schema=proto(), message=message, settings=SETTINGS)


def varint(number: int) -> bytes:
    """Protobuf's way to write a length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
