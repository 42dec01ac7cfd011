"""HTTP load through a gateway: bounded, recorded with who answered, never repeated; so a failure is a failure seen by a user."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from atoll.testing.history import Call, History, Outcome
from atoll.testing.promises import Breach
from tests.fault.drivers.http import Answer, Broken, Client
from tests.fault.drivers.pace import paced

Identify = Callable[[Answer], str]


def by_header(name: str = "x-instance") -> Identify:
    """Who answered, by a header of the answer."""
    return lambda answer: answer.headers.get(name, "")


def by_body(answer: Answer) -> str:
    """Who answered, when the body is its name."""
    return answer.body.decode("latin-1")[:64].strip()


async def driver_requests(
    history: History,
    place: tuple[str, int],
    path: str = "/",
    *,
    identify: Identify = by_body,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    rate: float = 100.0,
    seconds: float = 5.0,
    connections: int = 8,
    stop: asyncio.Event | None = None,
) -> None:
    """`rate` requests a second over keep-alive `connections` for `seconds`, or until `stop`."""

    async def load(number: int) -> None:
        await asyncio.sleep(number / rate)  # so that the connections take turns
        with Client(place, headers=headers) as client:
            async for _ in paced(rate / connections, calls=1 << 30, seconds=seconds):
                if stop is not None and stop.is_set():
                    return
                await one(history, client, f"load-{number}", method, path, identify)

    async with asyncio.TaskGroup() as group:
        for number in range(connections):
            group.create_task(load(number))


async def one(history: History, client: Client, name: str, method: str, path: str, identify: Identify) -> None:
    """One recorded request."""
    with history.call(name, "request", method=method, path=path) as call:
        try:
            answer = await client.ask(method, path)
        except Broken as broken:
            call.lost(broken.how)
            return
        seen = {"status": answer.status, "instance": identify(answer)}
        if answer.status < 500:
            call.answered(seen)
        else:
            call.refused(f"status {answer.status}", value=seen)


def no_request_failed(calls: Iterable[Call], *, of: str = "request") -> list[Breach]:
    """Every request got its answer, and none of them a 5xx."""
    return [
        Breach(
            "no-request-failed", f"{call.client} at {call.start:.3f} after {call.end - call.start:.3f} s: {call.error}"
        )
        for call in calls
        if call.call == of and call.outcome is not Outcome.OK
    ]


def answered_by(calls: Iterable[Call]) -> Counter[str]:
    """How many requests each instance answered."""
    return Counter(call.answer["instance"] for call in calls if call.outcome is Outcome.OK)
