"""The end of an asyncio server, without the connection that it forgets."""

from __future__ import annotations

import asyncio

TURNS = 3
"""Of the loop, from the accepting to the first step of a connection's handler: transport, protocol, handler."""


async def stop_accepting(server: asyncio.Server) -> None:
    """Accept nobody any more; whoever was accepted is with its handler, and its owner's to close.

    `Server.close` loses whom it accepted in the same turn of the loop: the connection has no transport yet, making one
    fails on the closed server, and socket and peer hang until the garbage collector comes (seen with CPython 3.11's
    selector loop). So the listeners are read no more first, and the server is closed some turns later.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
    try:
        for _ in range(TURNS):
            await asyncio.sleep(0)  # noqa: TID251 - a turn, no time
    finally:
        server.close()
