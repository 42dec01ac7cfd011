"""`joined` against a real control plane: who holds an id, how a block ends, what SIGTERM does."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import atoll
from atoll.errors import LeaseConflict
from atoll.sdk import lifecycle
from atoll.testing import FakeClock
from tests.fault.control_plane import ControlPlane, control_plane
from tests.fault.faults.process import running
from tests.serving import serving

PROGRAM = """
import asyncio, os, signal, sys
import atoll
from atoll.sdk import lifecycle

lifecycle.LINGER = 0.02

async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def handler(*_):
        print("handler", flush=True)
        loop.call_soon_threadsafe(told.set)

    if "loop" in sys.argv:
        loop.add_signal_handler(signal.SIGTERM, handler)
    elif "handler" in sys.argv:
        signal.signal(signal.SIGTERM, handler)
    busy = "busy" in sys.argv
    async with atoll.joined("web", port=port, instance="web-1", idle=lambda: not busy):
        try:
            print("began", flush=True)
            await asyncio.wait_for(told.wait(), 60)
        finally:
            print("body ended", flush=True)
    print("block ended", flush=True)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long one serves on is shown with a clock of its own (unit/sdk)."""
    monkeypatch.setattr(lifecycle, "LINGER", 0.02)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    state = tmp_path / "state"
    state.mkdir()
    async with control_plane(state, by_tcp=True) as made:
        yield made


def environ(server: ControlPlane) -> dict[str, str]:
    assert isinstance(server.place, tuple)
    return {"ATOLL_URL": f"http://127.0.0.1:{server.place[1]}", "ATOLL_TOKEN": server.token}


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        pass

    async with serving(hang_up) as port:
        yield port


async def becomes(server: ControlPlane, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(15):
        while True:
            answer = await server.ask("GET", "/api/v1/services/web/instances")
            if {one["id"]: one["port"] for one in answer.json().get("instances", [])} == wanted:
                return
            await asyncio.sleep(0.02)


async def test_it_is_in_the_registry_for_the_length_of_the_block(server: ControlPlane) -> None:
    async with listening() as port:
        async with atoll.joined("web", port=port, environ=environ(server)) as life:
            await becomes(server, {f"web-{port}": port})
            assert life.member is not None
        await becomes(server, {})


async def test_nobody_is_sent_to_a_port_that_does_not_answer_yet(server: ControlPlane) -> None:
    with socket.socket() as silent:  # the port is ours, and nobody listens there
        silent.bind(("127.0.0.1", 0))
        async with atoll.joined("web", port=silent.getsockname()[1], environ=environ(server)) as life:
            await asyncio.sleep(0.3)
            assert life.member is not None
            assert life.member.renewals == 0


async def test_what_the_body_raises_comes_out_as_it_is(server: ControlPlane) -> None:
    async with listening() as port:
        with pytest.raises(KeyError, match="mine"):
            async with atoll.joined("web", port=port, environ=environ(server)):
                await becomes(server, {f"web-{port}": port})
                raise KeyError("mine")
        await becomes(server, {})


async def test_a_body_that_is_cancelled_from_outside_stays_cancelled(server: ControlPlane) -> None:
    async with listening() as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), atoll.joined("web", port=port, environ=environ(server)):
                await asyncio.sleep(60)
        await becomes(server, {})


async def test_the_block_begins_at_once_and_ends_at_once_without_a_control_plane() -> None:
    clock = FakeClock()  # on which no second passes
    nowhere = {"ATOLL_URL": "http://127.0.0.1:1", "ATOLL_TOKEN": "t" * 43}
    async with listening() as port, asyncio.timeout(20), atoll.joined("web", port=port, environ=nowhere, clock=clock):
        pass


async def test_the_newer_of_two_holders_stays_and_the_older_one_is_told(server: ControlPlane) -> None:
    async with listening() as first, listening() as second:

        async def older() -> None:
            async with atoll.joined("web", port=first, instance="web-1", ttl=2, environ=environ(server)):
                await asyncio.sleep(60)

        holding = asyncio.ensure_future(older())
        await becomes(server, {"web-1": first})
        async with atoll.joined("web", port=second, instance="web-1", ttl=2, environ=environ(server)):
            with pytest.raises(LeaseConflict, match="web/web-1"):
                await holding
            await becomes(server, {"web-1": second})


async def test_told_to_take_over_the_older_one_takes_its_place_back(server: ControlPlane) -> None:
    async with (
        listening() as first,
        listening() as second,
        atoll.joined("web", port=first, instance="web-1", ttl=2, take_over=True, environ=environ(server)),
    ):
        await becomes(server, {"web-1": first})
        with pytest.raises(LeaseConflict):
            async with atoll.joined("web", port=second, instance="web-1", ttl=2, environ=environ(server)):
                await becomes(server, {"web-1": second})
                await asyncio.sleep(60)
        await becomes(server, {"web-1": first})


@asynccontextmanager
async def program(server: ControlPlane, tmp_path: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    async with running([sys.executable, str(file), *words], environ=environ(server)) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"began\n"
        async with asyncio.timeout(15):
            while not await registered(server):  # noqa: ASYNC110  it is another process that changes it
                await asyncio.sleep(0.02)
        yield process


async def registered(server: ControlPlane) -> bool:
    answer = await server.ask("GET", "/api/v1/services/web/instances")
    return bool(answer.json().get("instances"))


async def test_sigterm_ends_the_block_in_order_when_nobody_else_handles_it(
    server: ControlPlane, tmp_path: Path
) -> None:
    async with program(server, tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        await becomes(server, {})
        said, _ = await process.communicate()
        assert (said, process.returncode) == (b"body ended\nblock ended\n", 0)


@pytest.mark.parametrize("words", [("handler",), ("handler", "loop")])
async def test_a_handler_that_was_there_before_gets_the_signal_once(
    server: ControlPlane, tmp_path: Path, words: tuple[str, ...]
) -> None:
    async with program(server, tmp_path, *words) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"handler\n"
        await becomes(server, {})
        assert await process.stdout.read() == b"body ended\nblock ended\n"


async def test_a_second_sigterm_is_passed_on_at_once(server: ControlPlane, tmp_path: Path) -> None:
    async with program(server, tmp_path, "busy") as process:
        process.send_signal(signal.SIGTERM)
        await becomes(server, {})
        process.send_signal(signal.SIGTERM)
        said, _ = await process.communicate()
        assert (said, process.returncode) == (b"", -signal.SIGTERM)
