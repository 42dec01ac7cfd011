"""Services that join by themselves: processes of `programs/joined_app.py`, and what they print."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fault.drivers.http import Answer, Broken, Client
from tests.fault.faults.process import running
from tests.fault.scenario import Scenario
from tests.system.platform.stage import free_port

PROGRAM = Path(__file__).with_name("programs") / "joined_app.py"
ENDS_WITHIN = 30.0
"""Seconds for an orderly end; a bound against hanging."""


def who(answer: Answer) -> str:
    """The instance that answered."""
    return str(answer.json()["instance"]) if answer.status == 200 else ""


async def comes(condition: Callable[[], object], what: str, *, within: float = ENDS_WITHIN) -> None:
    """Wait until `condition` (blocking) is true; a platform that does not answer yet is not yet."""
    try:
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(OSError, AssertionError, ValueError, KeyError):
                    if await asyncio.to_thread(condition):
                        return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"waited {within} s for {what}") from None


class JoinedApp:
    """One running instance; made by `joined_app`."""

    def __init__(self, process: asyncio.subprocess.Process, instance: str, port: int, output: Path) -> None:
        self.process = process
        self.instance = instance
        self.port = port
        self.output = output

    def printed(self) -> str:
        """Its log."""
        return self.output.read_text(errors="replace")

    async def ask(self, path: str = "/", timeout: float = 5.0) -> Answer:  # noqa: ASYNC109  passed through
        """One request, not through any gateway."""
        with Client(("127.0.0.1", self.port)) as client:
            return await client.ask("GET", path, timeout=timeout)

    async def answers(self) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(ENDS_WITHIN):
            while True:
                assert self.process.returncode is None, self.printed()
                try:
                    await self.ask("/livez")
                    return
                except Broken:
                    await asyncio.sleep(0.01)

    async def terminate(self) -> int:
        """SIGTERM; how it ended."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(ENDS_WITHIN):
            return await self.process.wait()


@asynccontextmanager
async def joined_app(
    scenario: Scenario, instance: str, url: str, *, token: str = "", token_file: Path | None = None, **environ: str
) -> AsyncIterator[JoinedApp]:
    """An instance of the service `web` on a port of its own, killed at the end of the block if it still runs."""
    port = free_port()
    output = scenario.folder / "histories" / f"{instance}.out"
    place = {"ATOLL_URL": url, "ATOLL_SERVICE": "web", "ATOLL_INSTANCE": instance, "PORT": str(port)}
    shown = {"ATOLL_TOKEN": token, "ATOLL_TOKEN_FILE": str(token_file or "")}
    async with running([sys.executable, str(PROGRAM)], environ={**place, **shown, **environ}, output=output) as process:
        app = JoinedApp(process, instance, port, output)
        await app.answers()
        yield app
