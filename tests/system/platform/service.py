"""A tiny service for the tests: HTTP/1.1 on asyncio, standard library only, no handling of signals at all.

It ends at once on SIGTERM, so whatever is lost while the platform scales or restarts it is the platform's fault.
`/…?ms=20` answers after 20 ms, `/…?status=500` with that status, `/…?gate=FOLDER` once there is a file `open` in the
folder (until then the request has a file of its own there); `/crash` ends the process with exit code 7; everything else
says who answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

INSTANCE = os.environ.get("ATOLL_INSTANCE", "")
VERSION = os.environ.get("SERVICE_VERSION", "")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            received = await reader.readexactly(int(headers.get("content-length", 0)))
            asked = parse_qs(urlsplit(target).query)
            if "ms" in asked:
                await asyncio.sleep(float(asked["ms"][0]) / 1000)
            if "gate" in asked:
                await opened(Path(asked["gate"][0]), str(id(writer)))
            if target.startswith("/crash"):
                print("the sky is falling", flush=True)
                os._exit(7)
            said = {"instance": INSTANCE, "version": VERSION, "method": method, "path": target, "pid": os.getpid()}
            body = json.dumps({**said, "headers": headers, "received": len(received)}).encode()
            writer.write(
                b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % (int(asked.get("status", ["200"])[0]), len(body))
                + body
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError, ValueError):
        pass
    finally:
        writer.close()


async def opened(gate: Path, request: str) -> None:
    (gate / request).touch()
    while not (gate / "open").exists():  # noqa: ASYNC110 - another process opens it
        await asyncio.sleep(0.01)
    (gate / request).unlink()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["PORT"]), backlog=512)
    print(f"listening {sys.argv[1:]}", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
