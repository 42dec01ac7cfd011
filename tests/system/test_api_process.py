"""The control plane as a real process: paused, killed, started twice, told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from atoll.errors import AtollError, NotFound, Unreachable
from atoll.identity.token import read_token
from atoll.model.answers import Registered
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.service import State
from atoll.sdk.client import Client
from tests.system.api_stage import settings_in

PROGRAM = Path(__file__).with_name("api_server.py")
ORDERS = ServiceName("orders")
TTL = 2.0


async def start(state: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(state), stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )


@asynccontextmanager
async def server(state: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await start(state)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def connected(folder: Path) -> Client:
    """A client, once the process answers."""
    settings = settings_in(folder)
    while True:
        with contextlib.suppress(Unreachable, FileNotFoundError):
            client = Client(token=read_token(settings.token_file), socket=settings.socket, timeout=1.0)
            await client.status()
            return client
        await asyncio.sleep(0.02)


def body(number: int) -> Registration:
    return Registration(port=9000 + number, ttl=TTL)


async def keep_renewing(client: Client, held: dict[int, Registered]) -> None:
    """What a holder does: renew every TTL/3, try again after a failure."""
    while True:
        for number, registered in held.items():
            with contextlib.suppress(Unreachable):
                held[number] = await client.renew(registered, body(number))
        await asyncio.sleep(TTL / 3)


@pytest.mark.slow  # its short form is A3 of tests/fault, with more who watch
async def test_a_pause_of_three_ttls_expires_nobody_and_a_dead_instance_still_goes(tmp_path: Path) -> None:
    async with server(tmp_path / ".atoll") as process, await connected(tmp_path) as client:
        held = {n: await client.register(ORDERS, InstanceId(f"o-{n}"), body(n)) for n in range(4)}
        dead = held.pop(3)
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(keep_renewing(client, held))
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(3 * TTL)
            process.send_signal(signal.SIGCONT)
            while True:
                with contextlib.suppress(Unreachable):
                    status = await client.status()
                    break
            assert status.expired == 0
            assert status.stalled >= 3 * TTL - 0.5
            instances = (await client.instances(ORDERS)).instances
            assert {"o-0", "o-1", "o-2"} <= {one.id for one in instances}
            while (await client.status()).expired == 0:  # noqa: ASYNC110 -- seen from outside the process
                await asyncio.sleep(0.1)
            renewing.cancel()
        left = (await client.instances(ORDERS)).instances
        assert [one.id for one in left] == ["o-0", "o-1", "o-2"]
        assert all(one.state is State.PASSING for one in left)
        assert dead.instance.id == "o-3"


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    async with server(tmp_path / ".atoll") as process, await connected(tmp_path) as client:
        for number in range(20):
            await client.register(ORDERS, InstanceId(f"o-{number}"), Registration(port=9000 + number))
        process.kill()
        await process.wait()
    async with server(tmp_path / ".atoll") as process, await connected(tmp_path) as client:
        instances = (await client.instances(ORDERS)).instances
        assert len(instances) == 20
        assert {one.state for one in instances} == {State.PASSING}
        assert len((await client.history(ORDERS)).records) == 20


async def test_a_second_process_on_the_folder_ends_at_once_with_the_reason(tmp_path: Path) -> None:
    async with server(tmp_path / ".atoll"), await connected(tmp_path) as client:
        second = await start(tmp_path / ".atoll")
        _, errors = await asyncio.wait_for(second.communicate(), 25)
        assert second.returncode == 1
        assert b"already-running" in errors
        assert (await client.status()).health == "ok"


async def test_sigterm_ends_it_cleanly_though_somebody_watches(tmp_path: Path) -> None:
    async with server(tmp_path / ".atoll") as process, await connected(tmp_path) as client:
        heard = asyncio.Event()

        async def listen() -> None:
            async for _ in client.watch():
                heard.set()

        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen())
            await heard.wait()
            process.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(process.communicate(), 20)
            listening.cancel()
        assert process.returncode == 0, errors
        assert b"Traceback" not in errors
        assert not settings_in(tmp_path).socket.exists()
        try:
            await client.service(ServiceName("ghost"))
        except AtollError as error:
            assert isinstance(error, Unreachable)
            assert not isinstance(error, NotFound)
