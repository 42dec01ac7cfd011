"""The files follow what runs: every change is written out, off the loop, many changes at once.

Promises: a restart starts from what ran last (at most `LONGEST_DELAY` seconds old, or newer when asked with `flush`); writes
never overtake each other. A disk that refuses is tried again; what runs is not touched by that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from atoll.gateway.config import GatewayConfig
from atoll.gateway.lastgood import ConfigFolder
from atoll.kit.clock import Clock
from atoll.kit.logs import Log

CONFIG = "config.json"
DELAY = 0.2
"""Seconds without a change before the files are written; 1,000 services are about 1 MB."""
LONGEST_DELAY = 1.0
"""Seconds after which they are written though changes go on."""
RETRY = 2.0

Render = Callable[[GatewayConfig], Mapping[str, bytes]]
"""A config as files by name, haproxy.cfg among them."""


class ConfigWriter:
    """Writes configs into `folder`."""

    def __init__(self, folder: ConfigFolder, render: Render, clock: Clock, log: Log) -> None:
        self.folder = folder
        self.failures = 0
        self.written = 0
        """Times that the files were replaced, all told."""
        self._render = render
        self._clock = clock
        self._log = log
        self._waiting: GatewayConfig | None = None
        self._offered = asyncio.Event()
        self._lock = asyncio.Lock()

    def offer(self, config: GatewayConfig) -> None:
        """`config` runs; write it soon."""
        self._waiting = config
        self._offered.set()

    def started(self, folder: Path) -> None:
        """HAProxy was started from `folder`; have it on disk soon, and call it good."""
        self.folder.started(folder)
        self._offered.set()

    async def run(self) -> None:
        """Write what is offered, forever."""
        while True:
            await self._offered.wait()
            began, seen = self._clock.now(), None
            while self._waiting is not seen and self._clock.now() - began < LONGEST_DELAY:
                seen = self._waiting
                await self._clock.sleep(DELAY)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - what cannot be written must not end what runs
                self.failures += 1
                self._log.error("the gateway's files cannot be written", folder=self.folder.root, cause=error)
                await self._clock.sleep(RETRY)
                self._offered.set()

    async def flush(self) -> None:
        """Write what was offered last, now, when it is not written yet; what HAProxy was started from is good.

        Raises:
            OSError: the disk refuses; the offer stays.
        """
        async with self._lock:
            config = self._waiting
            if config is not None:
                await asyncio.to_thread(self.folder.promote, await asyncio.to_thread(self._write, config))
                self.written += 1
            if self._waiting is config:
                self._waiting = None
                self._offered.clear()
            await asyncio.to_thread(self.folder.mark_good)

    async def stage(self, config: GatewayConfig) -> Path:
        """Put `config` into a folder of its own, not current yet; older offers are dropped, for they will be outdated.

        Raises:
            AtollError: it cannot be rendered.
            OSError: the disk refuses.
        """
        async with self._lock:
            folder = await asyncio.to_thread(self._write, config)
            self._waiting = None
            self._offered.clear()
            return folder

    async def discard(self, folder: Path) -> None:
        """Remove what was staged and refused."""
        async with self._lock:
            await asyncio.to_thread(self.folder.discard, folder)

    def load(self, folder: Path) -> GatewayConfig | None:
        """The config that was written into `folder`; None when it is not there or of another atoll. Blocking."""
        try:
            return msgspec.json.decode((folder / CONFIG).read_bytes(), type=GatewayConfig)
        except (OSError, msgspec.DecodeError):
            return None

    def _write(self, config: GatewayConfig) -> Path:
        return self.folder.write({**self._render(config), CONFIG: msgspec.json.encode(config)})
