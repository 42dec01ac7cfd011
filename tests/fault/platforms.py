"""A whole platform under load: three instances of a tiny service, a route, and requests that are all recorded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psutil

from atoll.testing.history import History
from tests.fault.drivers.driver_requests import driver_requests
from tests.fault.drivers.http import Answer
from tests.fault.scenario import Scenario
from tests.system.platform.stage import Platform, closing

T = TypeVar("T")
PROJECT = """
name: fault
services:
  web:
    command: python service.py
    replicas: 3
    healthcheck: {http: /healthz, interval: 1s}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
"""
INSTANCES = 3


def who(answer: Answer) -> str:
    """The instance that answered."""
    return str(answer.json()["instance"]) if answer.status == 200 else ""


@asynccontextmanager
async def platform() -> AsyncIterator[Platform]:
    """A platform with its service up; at the end it is stopped, and proved to have left nothing.

    It never takes an instance for one in a crash loop: here it is us who kill.
    """
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(
            closing(Platform.of(PROJECT, ATOLL_SUPERVISOR_INTENSITY="1000", ATOLL_SUPERVISOR_RESTART_CAP="1"))
        )
        await asyncio.to_thread(made.up)
        yield made
        await asyncio.to_thread(stack.close)


@asynccontextmanager
async def load(
    scenario: Scenario, made: Platform, *, rate: float = 100.0, name: str = "requests"
) -> AsyncIterator[History]:
    """GETs through the gateway all through the block; each is recorded, none is repeated."""
    history, stop = scenario.history(name), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            driver_requests(
                history, ("127.0.0.1", made.gateway_port), "/", identify=who, rate=rate, seconds=600, stop=stop
            )
        )
        try:
            await asyncio.sleep(0.5)  # some answers before the fault
            yield history
            await asyncio.sleep(0.5)
        finally:
            stop.set()


async def comes(condition: Callable[[], T], what: str, *, within: float = 30.0) -> T:
    """Wait until `condition` (blocking) is true; a refusal or a platform that does not answer is not yet."""
    try:
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(OSError, AssertionError, ValueError, KeyError, IndexError, psutil.Error):
                    if found := await asyncio.to_thread(condition):
                        return found
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"waited {within} s for {what}") from None


def all_ready(made: Platform) -> Callable[[], Any]:
    """Whether all instances run and pass, and the gateway runs the newest facts."""

    def look() -> bool:
        listed = made.done("GET", "/services/web/instances")["instances"]
        passing = [one for one in listed if one["state"] == "passing"]
        return len(passing) == INSTANCES == len(listed) and len(made.pids("web")) == INSTANCES and made.settled()

    return look
