"""A control plane from outside: `atoll server` on a state folder, asked over its unix socket, killed at the end."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from atoll.settings import load
from tests.fault.drivers.http import Answer, Broken, Client
from tests.fault.faults.process import innermost, kill, running

START = 15.0
"""Seconds a start may take under strace on a busy machine; a bound against hanging."""


class NotStarted(Exception):
    """It ended, or never answered; the message is what it printed."""

    def __init__(self, code: int | None, printed: str) -> None:
        super().__init__(f"exit code {code}:\n{printed}")
        self.code = code
        self.printed = printed


class ControlPlane:
    """A running control plane; made by `control_plane`."""

    def __init__(self, process: asyncio.subprocess.Process, state: Path, output: Path, *, by_tcp: bool) -> None:
        self.process = process
        self.state = state
        self.output = output
        self.place: tuple[str, int] | Path = load(state, {}).socket
        self.token = ""
        self._by_tcp = by_tcp

    @property
    def pid(self) -> int:
        """Its own, also under strace."""
        return innermost(self.process.pid)

    def kill(self) -> None:
        """kill -9."""
        kill(self.pid)

    def client(self) -> Client:
        """A connection that shows the token."""
        return Client(self.place, headers={"Authorization": f"Bearer {self.token}"})

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        """One request on a connection of its own."""
        with self.client() as client:
            return await client.ask(method, path, body)

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        answer = await self.ask("GET", "/api/v1/status")
        assert answer.status == 200, answer
        return dict(answer.json())

    async def instances(self, service: str) -> dict[str, str]:
        """The instances of a service and their states."""
        answer = await self.ask("GET", f"/api/v1/services/{service}/instances")
        return {instance["id"]: instance["state"] for instance in answer.json()["instances"]}

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            NotStarted: it ended first, or START seconds passed.
        """
        try:
            async with asyncio.timeout(START):
                while not await self._answers():
                    if self.process.returncode is not None:
                        break
                    await asyncio.sleep(0.01)
                else:
                    return
        except TimeoutError:
            pass
        raise NotStarted(self.process.returncode, self.output.read_text(errors="replace")[-2000:])

    async def _answers(self) -> bool:
        if self._by_tcp and not self._find_port():
            return False
        try:
            with Client(self.place) as client:
                if (await client.ask("GET", "/readyz", timeout=2.0)).status != 200:
                    return False
        except Broken:
            return False
        self.token = self._read_token()
        return True

    def _find_port(self) -> bool:
        found = re.findall(r"answers port=(\d+)", self.output.read_text(errors="replace"))
        if found:
            self.place = ("127.0.0.1", int(found[-1]))
        return bool(found)

    def _read_token(self) -> str:
        root = f"/proc/{self.pid}/root"  # it may live in a mount namespace of its own
        return Path(f"{root}{self.state}/token").read_text().strip()


@asynccontextmanager
async def control_plane(
    state: Path, *, before: Sequence[str] = (), environ: Mapping[str, str] | None = None, by_tcp: bool = False
) -> AsyncIterator[ControlPlane]:
    """A control plane on `state`, with the words `before` in front of its command, killed at the end of the block.

    It is asked over its unix socket; `by_tcp` when that cannot be seen from here (a disk of its own).

    Raises:
        NotStarted: it could not start.
    """
    command = [*before, sys.executable, "-m", "atoll.cli.main", "--state", str(state), "server"]
    output = state.parent / f"{state.name}.out"
    if by_tcp:
        await asyncio.to_thread(output.unlink, missing_ok=True)  # the port of an earlier one must not be found in it
    async with running(command, environ={"ATOLL_API_PORT": "0", **(environ or {})}, output=output) as process:
        server = ControlPlane(process, state, output, by_tcp=by_tcp)
        await server.ready()
        yield server
