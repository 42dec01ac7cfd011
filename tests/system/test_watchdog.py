"""A handler that really blocks the event loop of a real control plane: named once, counted, degraded until it was quiet."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.errors import Unreachable
from atoll.model.answers import Status
from atoll.sdk.client import Client
from atoll.settings import load
from tests.system.api_stage import until

PROGRAM = Path(__file__).with_name("blocked_server.py")
BLOCKS = 0.9


class Server:
    """The process, its output, and a client."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path, output: Path) -> None:
        self.pid = process.pid
        self.output = output
        self.state = state
        self.client = Client(token=(state / "token").read_text().strip(), socket=load(state, {}).socket)

    async def block(self, before: Status) -> Status:
        """Have a handler block the loop; the status when it is over. Again where the machine stood still meanwhile."""
        while (status := await self.client.status()).blocked == before.blocked:
            (self.state / "block").touch()
            await self.client.nodes()
        return status

    def told(self) -> list[str]:
        """The watchdog's lines."""
        return [line for line in self.output.read_text().splitlines() if "the event loop is blocked" in line]

    async def healed(self) -> Status:
        """Wait for the status to say that all is well."""
        while (status := await self.client.status()).health != "ok":  # noqa: ASYNC110 -- it is seen from outside
            await asyncio.sleep(0.05)
        return status


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    output, state = tmp_path / "output", tmp_path / "state"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(sys.executable, PROGRAM, state, str(BLOCKS), stderr=file)
    try:
        await until(lambda: "control plane answers" in output.read_text() or process.returncode is not None)
        assert process.returncode is None, output.read_text()
        made = Server(process, state, output)
        async with made.client:
            yield made
    finally:
        process.kill()
        await process.wait()


async def test_a_blocking_handler_is_named_once_counted_and_degrades_until_it_was_quiet(server: Server) -> None:
    before = await server.healed()
    already = len(server.told())
    status = await server.block(before)
    assert (status.health, status.blocked) == ("degraded", before.blocked + 1)
    (warning,) = status.warnings
    assert re.search(r"the event loop was blocked for \d", warning)
    assert "somebody_who_blocks" in warning
    (line,) = server.told()[already:]
    assert "run_asgi" in line, "the task"
    assert "blocked_server.py:" in line
    assert "somebody_who_blocks < " in line
    assert "list_nodes" in line
    assert line.isprintable()
    healed = await server.healed()
    assert (healed.blocked, healed.warnings) == (status.blocked, ())
    assert healed.blocked_seconds - before.blocked_seconds > BLOCKS / 2
    again = await server.block(healed)
    assert (again.health, again.blocked) == ("degraded", healed.blocked + 1)
    assert len(server.told()) == already + 2


async def test_a_process_that_was_stopped_as_a_whole_was_not_blocked(server: Server) -> None:
    before, already = await server.client.status(), server.told()
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(Unreachable):
        await Client(token="t", socket=load(server.state, {}).socket, timeout=BLOCKS).status()
    os.kill(server.pid, signal.SIGCONT)
    status = await server.client.status()
    assert status.blocked == before.blocked
    assert server.told() == already
