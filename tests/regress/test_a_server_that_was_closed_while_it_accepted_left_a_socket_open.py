"""Whom an asyncio server accepted in the turn of the loop that closed it hung, without an answer, until a garbage collection."""

from __future__ import annotations

import asyncio
import socket

from atoll.kit.accepting import stop_accepting


async def test_who_was_accepted_last_is_connected() -> None:
    served: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(lambda _, writer: served.put_nowait(writer), "127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    stopping: asyncio.Future[asyncio.Task[None]] = loop.create_future()
    with socket.create_connection(server.sockets[0].getsockname()):
        # next turn: this call, then the accepting; the turn after: the stop, before the connection has a transport
        loop.call_soon(lambda: stopping.set_result(loop.create_task(stop_accepting(server))))
        await (await stopping)
        (await asyncio.wait_for(served.get(), 10)).close()
    assert not server.is_serving()
