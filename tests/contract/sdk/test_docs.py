"""The programs in docs/sdk.md do what is said of them, as they stand there."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from atoll.settings import load
from tests.fault.control_plane import ControlPlane, control_plane
from tests.fault.drivers.http import Client
from tests.fault.faults.process import running
from tests.system.platform.stage import free_port

TEXT = (Path(__file__).parents[3] / "docs" / "sdk.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)[^\n]*\n(.*?)```", TEXT, flags=re.DOTALL))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    state = tmp_path / ".atoll"
    state.mkdir()
    async with control_plane(state, by_tcp=True) as made:
        yield made


def environ(server: ControlPlane, port: int) -> dict[str, str]:
    assert isinstance(server.place, tuple)
    token_file = str(load(server.state, {}).token_file)
    return {"ATOLL_URL": f"http://127.0.0.1:{server.place[1]}", "ATOLL_TOKEN_FILE": token_file, "PORT": str(port)}


async def listed(server: ControlPlane, service: str) -> dict[str, str]:
    answer = await server.ask("GET", f"/api/v1/services/{service}/instances")
    return {one["id"]: one["state"] for one in answer.json().get("instances", [])}


async def becomes(server: ControlPlane, service: str, wanted: dict[str, str]) -> None:
    async with asyncio.timeout(15):
        while await listed(server, service) != wanted:  # noqa: ASYNC110  it is another process that changes it
            await asyncio.sleep(0.02)


def test_there_are_three_programs() -> None:
    assert set(PROGRAMS) == {"app.py", "greeter.py", "callers.py"}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_asgi_app_joins_and_leaves(server: ControlPlane, tmp_path: Path, loop: str) -> None:
    (tmp_path / "app.py").write_text(PROGRAMS["app.py"])
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "app:app",
        "--app-dir",
        str(tmp_path),
        "--port",
        str(port),
        "--loop",
        loop,
    ]
    async with running(command, environ=environ(server, port), output=tmp_path / "out") as process:
        await becomes(server, "orders", {f"orders-{port}": "passing"})
        process.send_signal(signal.SIGTERM)
        await becomes(server, "orders", {})
        with Client(("127.0.0.1", port)) as client:  # the gateway may not have heard yet
            answer = await client.ask("GET", "/readyz")
        assert (answer.status, answer.json()["status"]) == (503, "draining")
        assert await process.wait() == -signal.SIGTERM, (tmp_path / "out").read_text()


async def test_the_greeter_joins_is_found_and_leaves(server: ControlPlane, tmp_path: Path) -> None:
    for name in ("greeter.py", "callers.py"):
        (tmp_path / name).write_text(PROGRAMS[name])
    port = free_port()
    async with AsyncExitStack() as stack:
        greeter = await stack.enter_async_context(
            running(
                [sys.executable, str(tmp_path / "greeter.py")], environ=environ(server, port), output=tmp_path / "out"
            )
        )
        await becomes(server, "greeter", {f"greeter-{port}": "passing"})
        callers = await stack.enter_async_context(
            running([sys.executable, str(tmp_path / "callers.py")], environ=environ(server, port))
        )
        said, _ = await callers.communicate()
        assert said.decode().splitlines()[0] == f"greeter-{port} 127.0.0.1 {port}"
        greeter.send_signal(signal.SIGTERM)
        assert await greeter.wait() == 0, (tmp_path / "out").read_text()
        assert await listed(server, "greeter") == {}
