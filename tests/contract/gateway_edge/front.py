"""What takes HAProxy's place on its runtime socket and answers some of what is asked itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from atoll.gateway.runtime import Unanswered, exchange
from tests.serving import serving

HANG = "\0"
"""An answer that never comes."""


@contextlib.asynccontextmanager
async def in_front(path: Path, answer: Callable[[str], str | None]) -> AsyncIterator[None]:
    """On `path`, `answer` has the first word: the whole text that a line is answered with; None: HAProxy says."""
    aside = path.with_name("aside.sock")
    os.rename(path, aside)  # noqa: PTH104

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Unanswered):
            line = (await reader.readline()).decode()
            said = answer(line.strip())
            if said == HANG:
                await reader.read()
            elif said is not None:
                writer.write(said.encode())
            else:
                while "<<\n" in line and not line.endswith("\n\n"):
                    line += (await reader.readline()).decode()
                writer.write((await exchange(aside, line)).encode())
            await writer.drain()

    try:
        async with serving(serve, path):
            yield
    finally:
        if aside.is_socket():
            os.replace(aside, path)  # noqa: PTH105
