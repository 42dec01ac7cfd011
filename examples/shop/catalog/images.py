"""Product pictures on disk, streamed both ways and named by their SHA-256: never half written, never in memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import run_in_threadpool

LIMIT = 256 * 1024 * 1024  # bytes a picture may have
PIECE = 1024 * 1024  # bytes written at a time, so that the event loop hands over rarely
SAFE_TYPES = {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"}  # never html or svg: they run scripts


class TooLarge(Exception):
    """The body is longer than LIMIT."""


class Images:
    """A folder of pictures."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where the picture with this digest is."""
        return self._folder / sha256

    def forget(self, sha256: str) -> None:
        """Remove a picture nobody points at; whoever is reading it reads on."""
        self.path(sha256).unlink(missing_ok=True)

    async def save(self, body: AsyncIterator[bytes]) -> tuple[str, int]:
        """Write the body to disk; its digest and its length in bytes. Raises TooLarge."""
        digest, size, pending = hashlib.sha256(), 0, bytearray()
        file = tempfile.NamedTemporaryFile(dir=self._folder, prefix=".upload-", delete=False)  # noqa: SIM115

        def flush() -> None:
            digest.update(pending)
            file.write(pending)
            pending.clear()

        def keep() -> None:
            flush()
            file.close()
            Path(file.name).replace(self.path(digest.hexdigest()))

        def discard() -> None:
            file.close()
            Path(file.name).unlink(missing_ok=True)

        try:
            async for chunk in body:
                size += len(chunk)
                if size > LIMIT:
                    raise TooLarge
                pending += chunk
                if len(pending) >= PIECE:
                    await run_in_threadpool(flush)
            await run_in_threadpool(keep)
        finally:
            discard()
        return digest.hexdigest(), size
