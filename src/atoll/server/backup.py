"""A consistent copy of the store, streamed. The copy is made on the state folder's own disk, sent, and removed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from atoll.errors import InvalidValue, Overloaded, StorageFull
from atoll.kit.files import private_folder
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import REVISION_HEADER

PIECE = 256 << 10
"""Bytes sent at a time."""
MEDIA = "application/vnd.sqlite3"
_TURN = asyncio.Semaphore(1)
"""One backup at a time: each needs the store's size on disk once more."""


async def get_backup(control: Control, _: Request) -> Response:
    """The whole store at one revision."""
    if control.backup is None:
        raise InvalidValue("this store is in memory and has no file", hint="run the platform with a state folder")
    if _TURN.locked():
        raise Overloaded("a backup is being made already", hint="wait for it", retry_after=5)
    await _TURN.acquire()
    target = private_folder(control.settings.run) / f"backup-{secrets.token_hex(6)}.db"
    try:
        await control.backup(target)
        revision = control.store.revision
        size = target.stat().st_size
    except BaseException:
        _clean(target)
        raise
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="atoll-{revision}.db"',
        REVISION_HEADER: str(revision),
    }
    return StreamingResponse(_pieces(target), media_type=MEDIA, headers=headers)


async def _pieces(target: Path) -> AsyncIterator[bytes]:
    try:
        file: BinaryIO = await asyncio.to_thread(target.open, "rb")
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
    finally:
        _clean(target)


def _clean(target: Path) -> None:
    with contextlib.suppress(OSError):
        target.unlink(missing_ok=True)
    _TURN.release()


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/backup",
        summary="One consistent copy of the store, as an SQLite file.",
        handler=get_backup,
        media=MEDIA,
        errors=(InvalidValue, Overloaded, StorageFull),
    ),
)
