"""OTLP over HTTP as its clients see it: answers, refusals, and what they cost; the engine is a list."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from atoll.errors import Overloaded, StorageFull
from atoll.telemetry.buffer import Buffer
from atoll.telemetry.limits import Room
from atoll.telemetry.receive.door import Door
from atoll.telemetry.receive.http import HttpReceiver
from atoll.telemetry.receive.intake import Intake, Taken
from atoll.telemetry.signal import Signal
from atoll.testing import FakeClock, settle
from tests.unit.telemetry.receive import bodies

RNG = random.Random(7)
TOKEN = "ingest-token-of-this-platform"
BODY = bodies.traces(bodies.span(RNG)).SerializeToString()
PROTOBUF = "application/x-protobuf"
LIMIT = 100_000


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Status:
        return Status.FromString(self.body)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class World:
    """A receiver whose engine is `stored`."""

    def __init__(self) -> None:
        self.stored: list[tuple[Signal, bytes]] = []
        self.metrics: list[bytes] = []
        self.error: Exception | None = None
        self.clock = FakeClock()
        self.room = Room(2 * LIMIT, retry_after=3.0)
        self.buffer = Buffer(self._write, self.clock, longest=1.0)
        self.intake = Intake(self.buffer, self._metrics, self.room, body_limit=LIMIT)
        self.door = Door([TOKEN, "root"], ["https://shop.example"])
        self.receiver = HttpReceiver(self.intake, self.door, self.clock, body_seconds=0.05)

    async def _write(self, signal: Signal, given: Sequence[bytes]) -> None:
        if self.error is not None:
            raise self.error
        self.stored += [(signal, body) for body in given]

    async def _metrics(self, body: bytes) -> Taken:
        self.metrics.append(body)
        return Taken(3, Counter({"name": 2}))

    def begin(
        self,
        path: str = "/v1/traces",
        body: bytes | Iterable[bytes] = BODY,
        *,
        method: str = "POST",
        media: str = PROTOBUF,
        hang: bool = False,
        **headers: str,
    ) -> asyncio.Task[Answer]:
        """A request; with `hang` its body never ends."""
        said = {"authorization": f"Bearer {TOKEN}", "content-type": media}
        said.update({name.replace("_", "-"): value for name, value in headers.items()})
        pieces = [body] if isinstance(body, bytes) else list(body)
        if isinstance(body, bytes) and not hang:
            said.setdefault("content-length", str(len(body)))
        return asyncio.create_task(self._call(path, method, said, pieces, hang=hang))

    async def _call(
        self, path: str, method: str, headers: Mapping[str, str], pieces: list[bytes], *, hang: bool
    ) -> Answer:
        sent: list[Any] = []

        async def receive() -> Any:
            if not pieces:
                await asyncio.Event().wait()
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces) or hang}

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.receiver({"type": "http", "path": path, "method": method, "headers": raw}, receive, send)
        assert [one["type"] for one in sent] == ["http.response.start", "http.response.body"]
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        assert told["content-length"] == str(len(sent[1]["body"]))
        return Answer(sent[0]["status"], told, sent[1]["body"])

    async def send(self, *arguments: Any, **options: Any) -> Answer:
        """A request, and time enough for its commit."""
        task = self.begin(*arguments, **options)
        while not task.done():
            await self.clock.advance(0.05)
            await asyncio.sleep(0.001)  # threads, and the timeout of a body, have the loop's own time
        return await task


@pytest.fixture
async def at() -> AsyncIterator[World]:
    world = World()
    async with world.buffer.flushing():
        yield world
        assert (world.room.held, world.intake.counts.in_progress) == (0, 0)


async def test_a_request_is_answered_when_it_is_committed(at: World) -> None:
    answer = at.begin()
    await settle()
    assert not answer.done()
    assert at.room.held == len(BODY)
    await at.clock.advance(1)
    assert await answer == Answer(200, {"content-length": "0", "content-type": PROTOBUF}, b"")
    assert at.stored == [(Signal.TRACES, BODY)]
    assert at.intake.counts.accepted == {Signal.TRACES: 1}


async def test_compressed_bodies_are_taken(at: World) -> None:
    answer = await at.send(body=gzip.compress(BODY), content_encoding="gzip")
    assert answer.status == 200
    assert at.stored == [(Signal.TRACES, BODY)]


async def test_what_is_rejected_is_told_in_the_form_of_the_request(at: World) -> None:
    mixed = bodies.traces(bodies.span(RNG), bodies.span(RNG, trace_id=bytes(16))).SerializeToString()
    answer = await at.send(body=mixed)
    told = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, told.rejected_spans, told.error_message) == (200, 1, "1: trace id")
    spans = [{"traceId": "zz"}, {"traceId": "11" * 16, "spanId": "22" * 8}]
    answer = await at.send(
        body=json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode(), media="application/json"
    )
    assert answer.json == {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "1: malformed"}}
    assert answer.headers["content-type"] == "application/json"
    assert at.intake.counts.rejected == {(Signal.TRACES, "trace id"): 1, (Signal.TRACES, "malformed"): 1}


async def test_a_request_of_which_nothing_is_left_is_not_inserted(at: World) -> None:
    answer = await at.send(body=bodies.traces(bodies.span(RNG, trace_id=b"x")).SerializeToString())
    assert answer.status == 200
    assert ExportTraceServiceResponse.FromString(answer.body).partial_success.rejected_spans == 1
    assert at.stored == []


@pytest.mark.parametrize(("body", "media", "answer"), [(b"", PROTOBUF, b""), (b"{}", "application/json", b"{}")])
async def test_an_empty_request_is_a_success(at: World, body: bytes, media: str, answer: bytes) -> None:
    told = await at.send(body=body, media=media)
    assert (told.status, told.body, at.stored) == (200, answer, [])


async def test_metrics_go_their_own_way_with_their_own_counts(at: World) -> None:
    answer = await at.send("/v1/metrics", b"")
    assert answer.status == 200
    body = json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m"}]}]}]}).encode()
    answer = await at.send("/v1/metrics", body, media="application/json; charset=utf-8")
    assert answer.json == {"partialSuccess": {"rejectedDataPoints": "2", "errorMessage": "2: name"}}
    assert len(at.metrics) == 1
    assert at.intake.counts.accepted == {Signal.METRICS: 3}


@pytest.mark.parametrize("token", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"])
async def test_without_the_token_nothing_is_read(at: World, token: str) -> None:
    answer = await at.send(hang=True, authorization=token)
    assert (answer.status, answer.error.code) == (401, 16)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert at.intake.counts.refused == {"unauthorized": 1}


async def test_the_root_token_is_good_as_well(at: World) -> None:
    assert (await at.send(authorization="bearer root")).status == 200


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"body": b"nonsense"}, 400, 3),
        ({"body": gzip.compress(BODY)[:-3], "content_encoding": "gzip"}, 400, 3),
        ({"path": "/v1/profiles"}, 404, 5),
        ({"path": "/"}, 404, 5),
        ({"method": "GET"}, 405, 12),
        ({"body": BODY, "content_length": str(LIMIT + 1)}, 413, 3),
        ({"body": [b"x" * (LIMIT // 2)] * 3}, 413, 3),
        ({"body": gzip.compress(bytes(50 * LIMIT)), "content_encoding": "gzip"}, 413, 3),
        ({"content_encoding": "br"}, 415, 3),
    ],
)
async def test_refusals(at: World, options: dict[str, Any], status: int, code: int) -> None:
    answer = await at.send(**options)
    assert (answer.status, answer.error.code) == (status, code)
    assert answer.error.message
    assert "retry-after" not in answer.headers
    assert at.stored == []


@pytest.mark.parametrize("media", ["text/plain", "", "multipart/form-data", "\x1b[31m"])
async def test_another_content_type_is_refused_in_json(at: World, media: str) -> None:
    answer = await at.send(media=media)
    assert (answer.status, answer.headers["content-type"]) == (415, "application/json")
    assert answer.json["code"] == 3
    assert "\x1b" not in answer.body.decode()


async def test_a_body_that_does_not_come_is_refused_and_its_bytes_are_given_back(at: World) -> None:
    answer = await at.send(body=BODY[:10], hang=True, transfer_encoding="chunked")
    assert (answer.status, answer.error.code) == (408, 4)
    assert answer.headers["connection"] == "close"


def retry_of(answer: Answer) -> int:
    info = RetryInfo()
    answer.error.details[0].Unpack(info)
    return int(info.retry_delay.seconds)


async def test_beyond_the_bound_senders_are_told_when_to_come_back(at: World) -> None:
    with at.room.claim() as others:
        others.take(2 * LIMIT - len(BODY) + 1)
        answer = await at.send(hang=True, content_length=str(len(BODY)))
        assert (answer.status, answer.headers["retry-after"], answer.error.code, retry_of(answer)) == (429, "3", 8, 3)
        answer = await at.send(body=[BODY[:20], BODY[20:]], transfer_encoding="chunked")
        assert answer.status == 429
    assert (await at.send()).status == 200


@pytest.mark.parametrize(
    ("error", "later"), [(StorageFull("no room"), 15), (Overloaded("busy", retry_after=2), 2), (RuntimeError("new"), 5)]
)
async def test_an_engine_that_cannot_is_unavailable(at: World, error: Exception, later: int) -> None:
    at.error = error
    answer = await at.send()
    assert (answer.status, answer.headers["retry-after"], answer.error.code) == (503, str(later), 14)
    assert at.intake.counts.accepted == {}


async def test_pages_may_send_only_from_origins_that_were_allowed(at: World) -> None:
    answer = await at.send(method="OPTIONS", origin="https://shop.example")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "https://shop.example")
    assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = await at.send(origin="https://shop.example")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    for origin in ("https://evil.example", "null"):
        answer = await at.send(origin=origin)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_client_that_hangs_up_leaves_nothing(at: World) -> None:
    async def receive() -> Any:
        return {"type": "http.disconnect"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", PROTOBUF.encode())]
    scope = {"type": "http", "path": "/v1/traces", "method": "POST", "headers": headers}
    await at.receiver(scope, receive, send)
    assert sent[0]["status"] == 400
