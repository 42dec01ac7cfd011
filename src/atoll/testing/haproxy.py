"""A peer that speaks HAProxy's runtime protocol on a unix socket, well or badly, and remembers what it was told.

For tests of whoever drives HAProxy: what a real one does seldom (hang, close, answer half or nonsense), this one does
when asked to. It splits lines into commands as HAProxy does, so it also tells how many commands a text really was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from atoll.kit.accepting import stop_accepting


class Mood(StrEnum):
    """How the next connections are treated."""

    ANSWER = "answer"
    HANG = "hang"
    """Reads, never answers, never closes."""
    GARBAGE = "garbage"
    HALF = "half"
    """Does what it is told and closes in the middle of the answer."""
    CLOSE = "close"
    """Closes without a byte."""
    ENDLESS = "endless"
    """Answers without end."""


class FakeHaproxy:
    """Listens on `path` inside `async with`; `answer` gives the text for each command (default: empty, "done")."""

    def __init__(self, path: Path, answer: Callable[[str], str] = lambda _command: "") -> None:
        self.path = path
        self.answer = answer
        self.mood = Mood.ANSWER
        self.commands: list[str] = []
        """Every command received, in order."""
        self.payloads: list[list[str]] = []
        """The lines of every payload received."""
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        await stop_accepting(self._server)
        for peer in tuple(self._peers):
            peer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._peers.add(writer)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._peers.discard(writer)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood is Mood.CLOSE:
            return
        line = (await reader.readline()).decode().removesuffix("\n")
        if line.endswith("<<"):
            payload = []
            while text := (await reader.readline()).decode().removesuffix("\n"):
                payload.append(text)
            self.payloads.append(payload)
            line = line.removesuffix("<<").rstrip()
        commands = split(line)
        # HAProxy without a prompt closes after one line; what came with it is never read
        self.commands += commands
        if self.mood is Mood.HANG:
            await reader.read()
            return
        if self.mood is Mood.ENDLESS:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
        if self.mood is Mood.GARBAGE:
            writer.write(b"\x00\xff\xfe HTTP/1.1 400 Bad request\r\n\r\n<html>")
        else:
            text = "".join(self._form(self.answer(command)) for command in commands)
            data = text.encode()
            writer.write(data[: len(data) // 2] if self.mood is Mood.HALF else data)
        await writer.drain()

    @staticmethod
    def _form(answer: str) -> str:
        return f"{answer.rstrip(chr(10))}\n\n" if answer else "\n"


def split(line: str) -> list[str]:
    r"""The commands in one line as HAProxy finds them: parted by `;`, unless a `\` stands before it."""
    commands = [""]
    escaped = False
    for character in line:
        if character == ";" and not escaped:
            commands.append("")
        else:
            commands[-1] += character
        escaped = character == "\\" and not escaped
    return [command.strip() for command in commands]
