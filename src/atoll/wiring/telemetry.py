"""The telemetry process: telemetry's parts with the tokens, sockets and signals of a process. This is `atoll telemetry`.

It runs at a lower priority than what it observes, and observes itself by its counters only: no tracing of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import uvloop

from atoll.errors import AtollError, PortTaken
from atoll.identity.token import ensure_token
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.files import private_folder
from atoll.kit.garbage import let_go_of_code, one_arena, settle
from atoll.kit.logs import Log
from atoll.server.listening import listening
from atoll.server.ports import bind_tcp, bind_unix, taken
from atoll.settings import Settings
from atoll.supervisor.backlog import Backlog, Place
from atoll.telemetry.engine import Engine
from atoll.telemetry.process import Outside, Process, running
from atoll.wiring.observed import OWN, observing
from atoll.wiring.telemetry_ports import VARIABLES

NICE = 5
"""Steps of priority below the requests that it observes."""
log = Log("telemetry")


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ProgramMissing: the packages of the extra are not installed.
        AlreadyRunning, PortTaken, TokenUnsafe, StorageIncompatible, StorageFailed: it cannot start.
    """
    one_arena()
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(settings))


async def _until_told(settings: Settings) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        async with serving(settings, SystemClock()) as process:
            settle()
            let_go_of_code()
            log.info("telemetry answers", http=process.http_port, grpc=process.grpc_port)
            await told.wait()
    except BaseExceptionGroup as group:
        why = _first(group)
        if why is None:
            raise
        raise why from group


@asynccontextmanager
async def serving(
    settings: Settings, clock: Clock, *, engine: Callable[[Settings], Engine] | None = None
) -> AsyncIterator[Process]:
    """A telemetry process for the length of the block. `engine`: opens another one than the settings say.

    Raises:
        AtollError: it cannot start; see `run`.
    """
    private_folder(settings.state)
    tokens = [await asyncio.to_thread(ensure_token, file) for file in (settings.ingest_token_file, settings.token_file)]
    with contextlib.closing(_bind(settings)) as http:
        outside = Outside(
            engine=functools.partial(engine or open_engine, settings),
            listen=listening,
            http=http,
            queries=lambda: bind_unix(settings.telemetry_socket),
            taken=lambda host, port: _named(taken(host, port), "grpc_port"),
            tokens=tokens,
            lines={
                "stdout": functools.partial(_backlog, settings.logs),
                "platform": functools.partial(_own_backlog, settings.state / "platform"),
            },
        )
        async with (
            observing(settings, clock, tokens[1]) as observed,
            running(settings, clock, replace(outside, platform=observed)) as process,
        ):
            yield process


def _backlog(folder: Path, places: Mapping[str, tuple[int, str, int]]) -> Backlog:
    """The captured output under `folder`, from where it was left."""
    return Backlog(folder, {name: Place(*place) for name, place in places.items()})


def _own_backlog(folder: Path, places: Mapping[str, tuple[int, str, int]]) -> Backlog:
    """The same of atoll's own processes: node, control plane and telemetry are instances of one service."""
    own = {f"{OWN}/{name.rpartition('/')[2]}": Place(*place) for name, place in places.items()}
    return Backlog(folder, own, OWN)


def open_engine(settings: Settings) -> Engine:
    """The engine of these settings; importing it takes a third of a second."""
    knobs = settings.telemetry
    if knobs.clickhouse:
        from atoll.telemetry.clickhouse import open_engine as open_clickhouse

        return open_clickhouse(knobs.clickhouse, knobs)
    from atoll.telemetry.chdb import open_engine as open_chdb

    return open_chdb(settings.telemetry_folder, knobs)


def _bind(settings: Settings) -> socket.socket:
    try:
        return bind_tcp(settings.telemetry.host, settings.telemetry.http_port)
    except PortTaken as error:
        raise _named(error, "http_port") from None


def _named(error: PortTaken, setting: str) -> PortTaken:
    """The same error, with the setting that chooses this port."""
    hint = (error.hint or "").replace("ATOLL_API_PORT", VARIABLES[setting])
    return PortTaken(error.detail, hint=hint, **error.fields)


def _first(group: BaseExceptionGroup[BaseException]) -> AtollError | None:
    for inside in group.exceptions:
        found = _first(inside) if isinstance(inside, BaseExceptionGroup) else inside
        if isinstance(found, AtollError):
            return found
    return None
