"""Between the node and HAProxy's runtime socket: passes everything on until as many changes went through, then strikes.

Takes HAProxy's place in the file system by renaming its socket, as long as the block lasts. A change is one connection that
does not only ask (`show …`); the node waits for each answer, so what comes after the last one has not been sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.serving import serving


@asynccontextmanager
async def strikes_after(path: Path, changes: int, strike: Callable[[], None]) -> AsyncIterator[asyncio.Event]:
    """Let `changes` connections with changes through, answer included, then call `strike` at the next one, unsent.

    The event is set when it has struck.
    """
    aside, struck, left = path.with_name("behind.sock"), asyncio.Event(), [changes]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            question = await reader.readuntil(b"\n")
            if question.rstrip().endswith(b"<<"):
                question += await reader.readuntil(b"\n\n")
            if not question.startswith(b"show "):
                if left[0] == 0:
                    if not struck.is_set():
                        strike()
                        struck.set()
                    writer.transport.abort()
                    return
                left[0] -= 1
            far_reader, far_writer = await asyncio.open_unix_connection(str(aside))
            try:
                far_writer.write(question)
                writer.write(await far_reader.read(-1))
                await writer.drain()
            finally:
                far_writer.transport.abort()

    os.rename(path, aside)  # noqa: PTH104  at once: nobody may connect in between
    try:
        async with serving(serve, path):
            yield struck
    finally:
        if aside.is_socket():
            os.replace(aside, path)  # noqa: PTH105
