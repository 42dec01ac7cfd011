"""A consistent copy of the store, streamed. The copy is made on the state folder's own disk, sent, and removed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atoll.errors import InvalidValue, Overloaded, StorageFull
from atoll.kit.files import private_folder
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import REVISION_HEADER

PIECE = 256 << 10
"""Bytes sent at a time."""
MEDIA = "application/vnd.sqlite3"
SEND_SECONDS = 30.0
"""Seconds that the client may take for one piece."""


async def get_backup(control: Control, _: Request) -> Response:
    """The whole store at one revision."""
    if control.backup is None:
        raise InvalidValue("this store is in memory and has no file", hint="run the platform with a state folder")
    if control.backing_up:
        raise Overloaded("a backup is being made already", hint="wait for it", retry_after=5)
    control.backing_up = True
    sent = SentFile(control, private_folder(control.settings.run) / f"backup-{secrets.token_hex(6)}.db")
    try:
        await control.backup(sent.path)
        await sent.describe()
    except BaseException:
        sent.clean()
        raise
    return sent


class SentFile(Response):
    """A file that is sent once and then removed, sent or not."""

    def __init__(self, control: Control, path: Path) -> None:
        super().__init__(media_type=MEDIA)
        self.path = path
        self._control = control

    async def describe(self) -> None:
        """Tell size and name, once the file is there."""
        revision = self._control.store.revision
        self.headers["Content-Length"] = str((await asyncio.to_thread(self.path.stat)).st_size)
        self.headers["Content-Disposition"] = f'attachment; filename="atoll-{revision}.db"'
        self.headers[REVISION_HEADER] = str(revision)

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Send it."""
        try:
            file: BinaryIO = await asyncio.to_thread(self.path.open, "rb")
            with file:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                while piece := await asyncio.to_thread(file.read, PIECE):
                    async with asyncio.timeout(SEND_SECONDS):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.clean()

    def clean(self) -> None:
        """Remove the file; the next backup may be made."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._control.backing_up = False


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
