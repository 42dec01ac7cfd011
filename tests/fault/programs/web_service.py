"""A tiny HTTP/1.1 service for the scenarios: asyncio, standard library only, no handling of signals at all.

`/` says who answers, `/?ms=20` after 20 ms; `/download?kb=64&seconds=3` is a slow body of known length; `/ws` echoes
text frames of a WebSocket and closes when told to; `/crash` ends the process.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sys
from urllib.parse import parse_qs, urlsplit

INSTANCE = os.environ.get("ATOLL_INSTANCE", "")
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SAID = json.dumps({"instance": INSTANCE, "pid": os.getpid()}).encode()
HEAD = f"HTTP/1.1 200 OK\r\nx-instance: {INSTANCE}\r\ncontent-type: application/json\r\n".encode()
ANSWER = HEAD + b"content-length: %d\r\n\r\n" % len(SAID) + SAID


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").split("\r\n")
            target = urlsplit(first.split(" ")[1])
            asked = {name: values[0] for name, values in parse_qs(target.query).items()}
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            await reader.readexactly(int(headers.get("content-length", 0)))
            if target.path == "/crash":
                os._exit(7)
            if target.path == "/ws":
                await echo(reader, writer, headers["sec-websocket-key"])
                return
            if target.path == "/download":
                await download(writer, 1024 * int(asked["kb"]), float(asked["seconds"]))
                continue
            if "ms" in asked:
                await asyncio.sleep(float(asked["ms"]) / 1000)
            writer.write(ANSWER)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError, ValueError, KeyError):
        pass
    finally:
        writer.close()


async def download(writer: asyncio.StreamWriter, size: int, seconds: float) -> None:
    writer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
    for _ in range(size // 1024):
        writer.write(b"." * 1024)
        await writer.drain()
        await asyncio.sleep(seconds * 1024 / size)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: str) -> None:
    accepted = base64.b64encode(hashlib.sha1((key + MAGIC).encode(), usedforsecurity=False).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n")
    writer.write(b"sec-websocket-accept: " + accepted + b"\r\n\r\n")
    while True:
        kind, size = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(size & 0x7F)))
        answer = {0x1: 0x1, 0x9: 0xA, 0x8: 0x8}.get(kind & 0xF)
        if answer is not None:
            writer.write(bytes((0x80 | answer, len(data))) + data)
            await writer.drain()
        if answer == 0x8:
            return


async def main() -> None:
    server = await asyncio.start_server(
        serve, os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]), backlog=512
    )
    print(f"listening {sys.argv[1:]}", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
