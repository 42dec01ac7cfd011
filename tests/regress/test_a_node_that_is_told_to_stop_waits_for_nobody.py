"""A node that was told to stop waited for its turn to choose ports, and for ever for a control plane that did not end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from atoll.gateway.process import identity
from atoll.kit.clock import SystemClock
from atoll.kit.files import LockFile, private_folder
from atoll.settings import Api, Settings, runtime_folder
from atoll.testing import FakeClock
from atoll.wiring import kept
from atoll.wiring.control_plane import kept_control_plane
from atoll.wiring.mesh import choosing


async def test_nobody_waits_for_a_turn_that_is_not_needed_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with LockFile(private_folder(runtime_folder()) / "mesh.lock"):  # somebody else is starting
        stop, clock = asyncio.Event(), FakeClock()
        began = clock.now()
        stop.set()
        async with asyncio.timeout(20), choosing(clock, stop):
            assert clock.now() - began < 1


async def test_a_control_plane_that_does_not_end_is_killed_after_its_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "GRACE", 0.3)
    process = kept_control_plane(Settings(state=tmp_path, api=Api(port=0)), SystemClock())
    await process.begin()
    await process.answers(20)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    async with asyncio.timeout(20):
        await process.stop()
    assert identity(process.pid) is None


async def test_one_that_ends_is_not_killed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = kept_control_plane(Settings(state=tmp_path, api=Api(port=0)), SystemClock())
    await process.begin()
    await process.answers(20)
    await process.stop()
    assert "does not end" not in caplog.text
