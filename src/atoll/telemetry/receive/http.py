"""OTLP over HTTP: POST /v1/traces, /v1/logs, /v1/metrics, in protobuf or JSON, answered when it is committed.

The token is checked, and whether there is room at all, before a byte of the body is read; a refusal costs a fraction of
a millisecond. What a page of a browser may do is decided by ATOLL_TELEMETRY_CORS.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from atoll.errors import AtollError, BadRequest, MethodNotAllowed, NotFound, RequestTimeout
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log
from atoll.kit.text import scrub
from atoll.telemetry.inflate import too_large
from atoll.telemetry.limits import BODY_SECONDS, Claim, UnsupportedMedia
from atoll.telemetry.receive.answer import MEDIA, failure, refusal, success
from atoll.telemetry.receive.door import Door
from atoll.telemetry.receive.intake import Form, Intake
from atoll.telemetry.signal import Signal

PATHS = {f"/v1/{signal}": signal for signal in Signal}
PROTOBUF = frozenset({"application/x-protobuf", "application/protobuf"})
CORS = (
    (b"access-control-allow-methods", b"POST"),
    (b"access-control-allow-headers", b"authorization, content-type, content-encoding"),
    (b"access-control-max-age", b"7200"),
    (b"vary", b"origin"),
)
WINDOW = 60.0
"""Seconds in which refusals of one code are logged once."""
log = Log("telemetry")


class HttpReceiver:
    """The ASGI application; see the module."""

    def __init__(self, intake: Intake, door: Door, clock: Clock, *, body_seconds: float = BODY_SECONDS) -> None:
        self._intake = intake
        self._door = door
        self._clock = clock
        self._seconds = body_seconds
        self._told: dict[str, Instant] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        form = form_of(headers) or Form.JSON
        extra: list[tuple[bytes, bytes]] = []
        try:
            self._intake.enter()
            origin = self._door.origin(headers.get("origin", ""))
            if origin:
                extra = [(b"access-control-allow-origin", origin.encode("latin-1")), *CORS]
            if scope["method"] == "OPTIONS" and origin:
                await reply(send, 204, b"", [], extra)
                return
            body = await self._export(scope, headers, receive)
            await reply(send, 200, body, [(b"content-type", MEDIA[form].encode())], extra)
        except AtollError as error:
            await self._refuse(error, form, send, [*extra, *closing(headers, self._intake.body_limit)])
        except Exception as cause:  # noqa: BLE001 - one request that fails in a new way is answered as well
            log.error("an export failed", path=scope["path"], error=repr(cause))
            failed = AtollError("telemetry failed at this request", hint="its log says why; please report it")
            await self._refuse(failed, form, send, [*extra, (b"connection", b"close")])
        finally:
            self._intake.leave()

    def refused(self, error: AtollError) -> None:
        """Take note of what was refused before it was a request."""
        self._intake.refused(error)

    async def _export(self, scope: Scope, headers: Headers, receive: Receive) -> bytes:
        self._door.check(headers.get("authorization", ""))
        signal = PATHS.get(scope["path"])
        if signal is None:
            raise NotFound("there is no such path", hint=f"OTLP is taken at {', '.join(PATHS)}")
        if scope["method"] != "POST":
            raise MethodNotAllowed(f"{scope['path']} takes POST", hint="send an export request", allow="POST")
        form = form_of(headers)
        if form is None:
            said = scrub(headers.get("content-type", ""), limit=80)
            raise UnsupportedMedia(f"content type {said!r} is not taken", hint=f"send {' or '.join(MEDIA.values())}")
        encoding = headers.get("content-encoding", "").strip().lower()
        with self._intake.room.claim() as claim:
            raw = await self._read(headers, receive, claim)
            taken = await self._intake.take(signal, raw, claim, encoding=encoding, form=form, way=f"http/{form}")
        return success(signal, form, taken.rejected.total(), taken.reason)

    async def _read(self, headers: Headers, receive: Receive, claim: Claim) -> bytes:
        limit = self._intake.body_limit
        said = headers.get("content-length", "")
        if said.isdigit():
            if int(said[:20]) > limit:
                raise too_large(limit)
            self._intake.room.require(int(said))
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise BadRequest("the client hung up in the middle of the body")
                    piece = message.get("body", b"")
                    size += len(piece)
                    if size > limit:
                        raise too_large(limit)
                    claim.take(len(piece))
                    pieces.append(piece)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RequestTimeout(
                f"the body did not come within {self._seconds:g} s", hint="send it in one go"
            ) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _refuse(self, error: AtollError, form: Form, send: Send, extra: list[tuple[bytes, bytes]]) -> None:
        self._intake.refused(error)
        now = self._clock.now()
        if now - self._told.get(error.code, Instant(-WINDOW)) >= WINDOW:
            self._told[error.code] = now
            count = self._intake.counts.refused[error.code]
            log.warning("refused", code=error.code, count=count, detail=error.detail)
        told = refusal(error)
        headers = [(b"content-type", MEDIA[form].encode())]
        if told.retry_after:
            headers.append((b"retry-after", str(told.retry_after).encode()))
        if told.http == 401:
            headers.append((b"www-authenticate", b'Bearer realm="atoll"'))
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", b"POST"))
        await reply(send, told.http, failure(told, form), headers, extra)


def form_of(headers: Headers) -> Form | None:
    """How the body is written; None: not in a way that is taken."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media in PROTOBUF:
        return Form.PROTOBUF
    return Form.JSON if media == "application/json" else None


def closing(headers: Headers, limit: int) -> list[tuple[bytes, bytes]]:
    """`connection: close` when the body of a refused request may have no end."""
    said = headers.get("content-length", "0")
    endless = "transfer-encoding" in headers or not said.isdigit() or int(said[:20]) > limit
    return [(b"connection", b"close")] if endless else []


async def reply(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]], extra: list[tuple[bytes, bytes]]
) -> None:
    """One answer."""
    size = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [size, *headers, *extra]})
    await send({"type": "http.response.body", "body": body})
