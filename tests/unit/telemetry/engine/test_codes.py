"""What the engine's errors mean: whose fault it is, and whether to come again."""

from __future__ import annotations

import pytest

from atoll.errors import (
    AtollError,
    BadRequest,
    InvalidValue,
    LimitReached,
    Overloaded,
    StorageFailed,
    StorageFull,
)
from atoll.telemetry import codes

TOTAL = "Code: 241. DB::Exception: (total) memory limit exceeded: would use {} (attempt to allocate chunk of {}), maximum: 640.00 MiB."


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Code: 444. DB::Exception: Protobuf messages are corrupted", BadRequest),
        ("Code: 436. DB::Exception: Could not convert value '18' from type bool", BadRequest),
        ("Code: 243. DB::Exception: Cannot reserve 6.21 MiB, not enough space", StorageFull),
        ("Code: 75. DB::Exception: Cannot write to file: errno: 28, strerror: No space left on device", StorageFull),
        ("Code: 252. DB::Exception: Too many parts", Overloaded),
        (TOTAL.format("644.33 MiB", "10.88 MiB"), Overloaded),
        (TOTAL.format("1.00 TiB", "1.00 TiB"), BadRequest),
        (TOTAL.format("644.33 MiB", "641.00 MiB"), BadRequest),
        ("Code: 49. DB::Exception: Logical error", Overloaded),
        ("Connection reset by peer", Overloaded),
    ],
)
def test_an_insert_is_the_sender_s_fault_only_when_the_data_is_wrong(text: str, kind: type[AtollError]) -> None:
    assert type(codes.of_insert(text)) is kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Code: 62. DB::Exception: Syntax error", InvalidValue),
        ("Code: 159. DB::Exception: Timeout exceeded", LimitReached),
        ("Code: 241. DB::Exception: Query memory limit exceeded: would use 12.00 MiB", LimitReached),
        (TOTAL.format("644.33 MiB", "10.88 MiB"), Overloaded),
        ("Code: 396. DB::Exception: Limit for result exceeded, max rows: 10.00", LimitReached),
        ("Code: 210. DB::NetException: Connection refused", Overloaded),
        ("Code: 246. DB::Exception: Unsupported version of sparse index", StorageFailed),
        ("something without a code", StorageFailed),
    ],
)
def test_a_query_s_error_says_what_to_change(text: str, kind: type[AtollError]) -> None:
    assert type(codes.of_query(text)) is kind


def test_what_the_engine_says_is_cut() -> None:
    assert len(codes.of_query("Code: 62. DB::Exception: " + "x" * 10_000).detail) < 700
