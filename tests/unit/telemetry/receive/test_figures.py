"""The process's own metrics: made of its status, and each of them described."""

from __future__ import annotations

from pathlib import Path

from atoll.cli.check_telemetry import findings
from atoll.kit.exposition import render
from atoll.model.telemetry import Buffering, Receiving, Storing, Table, TelemetryStatus
from atoll.telemetry.figures import METRICS, families

DOCS = Path(__file__).parents[4] / "docs/telemetry.md"
STATUS = TelemetryStatus(
    pid=7,
    version="1",
    started=0.0,
    http_port=4318,
    grpc_port=4317,
    receive=Receiving(
        requests={"traces http/protobuf": 3},
        accepted={"traces": 40},
        rejected={"logs": {"too large": 2}},
        refused={"unauthorized": 5},
    ),
    buffer=Buffering(
        bodies=1,
        bytes=10,
        held=10,
        held_most=20,
        limit=100,
        inserts=3,
        inserted_bodies=4,
        failed=1,
        unstorable=0,
        abandoned=0,
        insert_seconds=0.5,
        last_insert_age=1.0,
    ),
    engine=Storing(
        kind="chdb",
        inserts=3,
        insert_errors=1,
        queries=2,
        query_errors=0,
        refused=0,
        disk_bytes=99,
        disk_limit=100,
        tables={"spans": Table(rows=40, bytes=99, parts=1)},
    ),
    parts={"requests": {"lines": 9, "dropped": 4}},
    warnings=("the buffer is 90 % full",),
)


def test_every_metric_is_described() -> None:
    page = DOCS.read_text()
    assert [metric.name for metric in METRICS if f"| `{metric.name}` |" not in page] == []


def test_the_numbers_of_the_status_are_told() -> None:
    told = render(families(STATUS))
    for line in (
        'atoll_telemetry_requests_total{signal="traces",way="http/protobuf"} 3',
        'atoll_telemetry_rejected_items_total{signal="logs",reason="too large"} 2',
        'atoll_telemetry_refused_total{code="unauthorized"} 5',
        'atoll_telemetry_rows{table="spans"} 40',
        'atoll_telemetry_part_count{part="requests",name="dropped"} 4',
        "atoll_telemetry_held_bytes 10",
    ):
        assert line in told.splitlines()


def test_the_doctor_names_what_was_refused_rejected_lost_and_is_about_to_go() -> None:
    told = [f"{one.verdict}: {one.detail}" for one in findings(STATUS)]
    assert told[0].startswith("ok: answers (pid 7, OTLP :4317 gRPC, :4318 HTTP); 40 rows")
    assert told[1:] == [
        "warning: the buffer is 90 % full",
        "warning: 5 requests were refused: unauthorized",
        "warning: logs that cannot be stored: too large (2)",
        "warning: requests: dropped 4",
        "warning: its disk is used up: the oldest days go first",
    ]
    assert all(one.fix for one in list(findings(STATUS))[1:])
