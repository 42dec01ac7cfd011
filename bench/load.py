"""A keep-alive HTTP/1.1 load generator of our own, for machines without wrk: closed loop, bounded in time.

Run as a process of its own: `python -m bench.load URL --seconds 3 --connections 64 [--paths N]`; prints one JSON line
with requests, errors, rps and latency percentiles in milliseconds. `%d` in the URL's path is replaced by 0..N-1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from urllib.parse import urlsplit

import uvloop


class Caller(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last has arrived."""

    def __init__(self, requests: list[bytes], results: list[float], offset: int, until: float) -> None:
        self.requests = requests
        self.results = results
        self.turn = offset
        self.until = until
        self.errors = 0
        self.need = -1
        self.buffer = b""
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.began = time.perf_counter()
        if self.began >= self.until:
            self.transport.close()
            return
        self.turn = (self.turn + 1) % len(self.requests)
        self.transport.write(self.requests[self.turn])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        while True:
            if self.need < 0:
                end = self.buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                head = self.buffer[:end].lower()
                at = head.find(b"content-length:")
                length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
                self.failed = not head.startswith(b"http/1.1 2")
                self.need = end + 4 + length
            if len(self.buffer) < self.need:
                return
            self.buffer = self.buffer[self.need :]
            self.need = -1
            if self.failed:
                self.errors += 1
            else:
                self.results.append(time.perf_counter() - self.began)
            self.send()
            if not self.buffer:
                return

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or time.perf_counter() < self.until:
            self.errors += 1
        if not self.ended.done():
            self.ended.set_result(None)


async def drive(url: str, seconds: float, connections: int, paths: int) -> dict[str, float]:
    where = urlsplit(url)
    targets = [where.path.replace("%d", str(number)) for number in range(paths)]
    requests = [f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode() for path in targets]
    results: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    callers = []
    for number in range(connections):
        _, caller = await loop.create_connection(
            lambda number=number: Caller(requests, results, number * 7, until), where.hostname, where.port
        )
        callers.append(caller)
    await asyncio.wait([caller.ended for caller in callers], timeout=seconds + 10)
    results.sort()
    share = lambda part: round(results[min(len(results) - 1, int(len(results) * part))] * 1000, 3) if results else 0.0  # noqa: E731
    return {
        "requests": len(results),
        "errors": sum(caller.errors for caller in callers),
        "rps": round(len(results) / seconds),
        "p50_ms": share(0.5),
        "p99_ms": share(0.99),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--paths", type=int, default=1)
    given = parser.parse_args()
    print(json.dumps(uvloop.run(drive(given.url, min(given.seconds, 60), min(given.connections, 512), given.paths))))


if __name__ == "__main__":
    main()
