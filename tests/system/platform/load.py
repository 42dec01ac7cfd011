"""Requests at a steady rate while something happens to the platform; counts every answer that is not 200.

Every other worker POSTs: what the gateway may not send twice shows whether it was sent to the wrong instance once. Each
worker keeps its connection. When the gateway closes one before a byte of an answer, a GET goes again on a new connection,
once: every HTTP client does that (RFC 9112, 9.3.1), and it is counted. A POST has failed then.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self


class Load:
    """`with Load(port, "/x?ms=20") as load: …`, then `load.failed == []`. `only_get`: what may be retried."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        rate: float = 500,
        workers: int = 32,
        host: str = "load.test",
        only_get: bool = False,
    ) -> None:
        self.failed: list[str] = []
        self.sent = 0
        self.reconnected = 0
        self.slowest = 0.0
        self.instances: Counter[str] = Counter()
        self._port, self._rate, self._workers = port, rate, workers
        get = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        post = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello".encode()
        self._requests = (get, get if only_get else post)
        self._began = self._ended = 0.0
        self._ending = threading.Event()
        self._flowing = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._flowing.wait(10), f"no answer: {self.failed[:3]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(20)
        self._ended = time.monotonic()

    def more(self, count: int, within: float = 20) -> None:
        """Wait until `count` further requests were answered."""
        goal, deadline = self.sent + count, time.monotonic() + within
        while self.sent < goal:
            assert time.monotonic() < deadline, f"{self.sent} of {goal} answers; {self.failed[:3]}"
            time.sleep(0.01)

    @property
    def told(self) -> str:
        """For the message of an assertion."""
        rate = self.sent / max(0.1, (self._ended or time.monotonic()) - self._began)
        slow = f"slowest {self.slowest:.2f} s, {self.reconnected} reconnected"
        return f"{len(self.failed)} of {self.sent} failed ({rate:.0f}/s, {slow}): {self.failed[:5]}"

    async def _run(self) -> None:
        began = self._began = time.monotonic()
        await asyncio.gather(*(self._work(began, number) for number in range(self._workers)))

    async def _work(self, began: float, number: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        turn = 0
        while not self._ending.is_set():
            due = began + (number + turn * self._workers) / self._rate
            turn += 1
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            elif pause < -1:  # late by over a second: go on from now, do not burst
                turn = int((time.monotonic() - began) * self._rate / self._workers) + 1
            try:
                async with asyncio.timeout(15):
                    connection = await self._once(connection, self._requests[number % 2])
            except (OSError, TimeoutError, EOFError, ValueError) as error:
                self.failed.append(f"{type(error).__name__} {error}")
                connection = None
        if connection is not None:
            connection[1].close()

    async def _once(
        self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None, request: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        asked = time.monotonic()
        head = b""
        if connection is not None:
            try:
                connection[1].write(request)
                head = await connection[0].readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError) as error:
                if request.startswith(b"POST") or (isinstance(error, asyncio.IncompleteReadError) and error.partial):
                    raise
                self.reconnected += 1
                connection[1].close()
                connection = None
        if connection is None:
            connection = await asyncio.open_connection("127.0.0.1", self._port)
            connection[1].write(request)
            head = await connection[0].readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith("content-length:")), 0)
        body = await connection[0].readexactly(length)
        self.sent += 1
        self.slowest = max(self.slowest, time.monotonic() - asked)
        if " 200 " not in lines[0]:
            self.failed.append(f"{lines[0]} {body[:300]!r}")
        elif body.startswith(b'{"instance": "'):
            self.instances[body[14 : body.index(b'"', 14)].decode()] += 1
        self._flowing.set()
        if "connection: close" in lines:
            connection[1].close()
            return None
        return connection
