"""HAProxy's sockets: one question, one connection, one bounded wait.

A connection carries one line (commands joined by `;`) and, for maps, one payload; HAProxy answers and closes. Without a
prompt every answer ends with an empty line, so an answer that was cut off can be told from a whole one, and a batch of
n commands has n answers or is not believed. What is not answered in time, in whole and in form is `Unanswered`: the
state is then unknown, and only reading back tells what was done.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

from atoll.errors import GatewayRefused
from atoll.gateway.command import LINE_LIMIT, Command
from atoll.kit.clock import Clock
from atoll.kit.text import scrub

TIMEOUT = 1.0
"""Seconds for connect, question and answer together; HAProxy needs 0.03 ms to 100 ms (states of 30,000 servers)."""
ANSWER_LIMIT = 64 << 20
"""Bytes of one answer; `show stat` of 100,000 servers is 24 MB."""


class Unanswered(Exception):
    """No answer, half of one, or none that we understand: what HAProxy did is unknown."""


async def exchange(path: Path, question: str, *, within: float = TIMEOUT) -> str:
    """Send `question` to the unix socket at `path` and read until HAProxy closes.

    Raises:
        Unanswered: refused, reset, silent for `within` seconds, or endless.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as peer:
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(within):
                await loop.sock_connect(peer, str(path))
                await loop.sock_sendall(peer, question.encode())
                while chunk := await loop.sock_recv(peer, 1 << 18):
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > ANSWER_LIMIT:
                        raise Unanswered(f"{path.name} answered more than {ANSWER_LIMIT} bytes")
        except TimeoutError:
            raise Unanswered(f"{path.name} did not answer within {within:g} s") from None
        except OSError as error:
            raise Unanswered(f"{path.name}: {error.strerror or error}") from error
    return b"".join(chunks).decode(errors="replace")


def entire(text: str) -> str:
    """The one answer in what a connection gave, without its closing empty line.

    Raises:
        Unanswered: it was cut off.
    """
    if text != "\n" and not text.endswith("\n\n"):
        raise Unanswered(f"half an answer: {scrub(text[-80:])!r}")
    return text.rstrip("\n")


def answers(text: str, count: int) -> list[str]:
    """The `count` answers in what one connection gave: each is its lines, stripped, and ends with an empty line.

    Raises:
        Unanswered: it was cut off, or holds another number of answers.
    """
    found = []
    rest = text
    while rest:
        if rest.startswith("\n"):
            found.append("")
            rest = rest[1:]
            continue
        answer, end, rest = rest.partition("\n\n")
        if not end:
            raise Unanswered(f"half an answer: {scrub(text[-80:])!r}")
        found.append(answer)
    if len(found) != count:
        raise Unanswered(f"{len(found)} answers to {count} commands: {scrub(text[:200])!r}")
    return found


class Runtime:
    """The runtime socket of the current worker."""

    def __init__(self, path: Path, clock: Clock, *, within: float = TIMEOUT) -> None:
        self.path = path
        self.within = within
        """Seconds for each exchange."""
        self.commands = 0
        """Commands sent, all told."""
        self.writing = asyncio.Lock()
        """Held by whoever changes something, over the commands that belong together."""
        self._clock = clock

    async def ask(self, question: str) -> str:
        """The answer to one `show` command (fixed text of ours), up to its closing empty line.

        Raises:
            Unanswered: as `exchange`, or the answer is cut off.
        """
        return entire(await exchange(self.path, question + "\n", within=self.within))

    async def run(self, commands: Sequence[Command]) -> list[str]:
        """Send `commands` in order, as few connections as the line limit allows; what HAProxy objects to each.

        An answer that means "done" comes back as "" and any other text as it is.

        Raises:
            Unanswered: the state of this and all later commands is unknown.
        """
        objections: list[str] = []
        for batch in batches(commands):
            payload = batch[0].payload if len(batch) == 1 else ()
            question = "; ".join(command.line for command in batch)
            question += f" <<\n{chr(10).join(payload)}\n\n" if payload else "\n"
            self.commands += len(batch)
            text = await exchange(self.path, question, within=self.within)
            said = answers(text, len(batch))
            objections += [
                "" if command.accepts(answer) else answer or "no answer"
                for command, answer in zip(batch, said, strict=True)
            ]
        return objections

    async def say(self, command: Command) -> str:
        """Send one command whose answer matters.

        Raises:
            GatewayRefused: HAProxy objected.
            Unanswered: the state is unknown.
        """
        self.commands += 1
        answer = answers(await exchange(self.path, command.line + "\n", within=self.within), 1)[0]
        if not command.accepts(answer):
            raise refusal(command, answer or "no answer")
        return answer

    async def do(self, *commands: Command) -> None:
        """Send `commands` that must all succeed.

        Raises:
            GatewayRefused: HAProxy objected to one; those after it were sent as well.
            Unanswered: the state is unknown.
        """
        for command, objection in zip(commands, await self.run(commands), strict=True):
            if objection:
                raise refusal(command, objection)

    async def wait_ready(self, within: float) -> None:
        """Wait until the socket answers.

        Raises:
            Unanswered: not within `within` seconds.
        """
        end = self._clock.now() + within
        while True:
            try:
                await exchange(self.path, "show version\n", within=self.within)
                return
            except Unanswered:
                if self._clock.now() >= end:
                    raise
            await self._clock.sleep(0.005)


def refusal(command: Command, objection: str) -> GatewayRefused:
    """The error for a command that HAProxy objected to."""
    said = scrub(objection.strip().splitlines()[0], limit=300)
    return GatewayRefused(f"HAProxy refused {command.line[:200]!r}: {said}", hint="see the gateway's log")


def batches(commands: Sequence[Command]) -> list[list[Command]]:
    """`commands` in order, cut so that each batch fits one line; one with a payload is alone."""
    cut: list[list[Command]] = []
    room = 0
    for command in commands:
        size = len(command.line) + 2
        if command.payload or size > room:
            cut.append([])
            room = LINE_LIMIT
        cut[-1].append(command)
        room = 0 if command.payload else room - size
    return cut
