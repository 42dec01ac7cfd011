"""The control plane as a process: store, registry and API in one loop, on a loopback port and a private unix socket.

Order of the start: the state folder's lock, the token, the ports, the facts, then requests. The stop is the reverse;
watches end first, requests get `listening.GRACE` seconds. A disk that failed ends the process: nothing more is acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from atoll.errors import AtollError
from atoll.identity.token import ensure_token
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.files import private_folder
from atoll.kit.garbage import forget_allocator, give_back, one_arena, settle
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.kit.watchdog import Watchdog
from atoll.registry.archive import Archive
from atoll.registry.catalog import Catalog
from atoll.registry.listeners import Listener, Listeners
from atoll.registry.registry import Registry
from atoll.registry.sweep import running
from atoll.server.app import make_app
from atoll.server.control import Backup, Control
from atoll.server.listening import listening
from atoll.server.ports import bind_tcp, bind_unix, local_addresses
from atoll.settings import Settings
from atoll.store.backup import backup
from atoll.store.base import Engine, Store
from atoll.store.sqlite import SqliteStore, open_store

SWITCH = 0.0005
"""Seconds after which a busy event loop lets the store's writer thread run. With Python's usual 5 ms, 50 writers on a
loaded machine committed 1,670/s at p99 367 ms; with this 3,730/s at p99 128 ms (same run)."""
log = Log("server")


@dataclass(frozen=True)
class Serving:
    """A control plane that answers."""

    control: Control
    port: int
    """The TCP port; chosen by the system when the setting is 0."""
    socket: Path


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; this is `atoll server`.

    Raises:
        AlreadyRunning, PortTaken, TokenUnsafe, StorageIncompatible, StorageFailed: it cannot start, or go on.
    """
    sys.setswitchinterval(SWITCH)
    one_arena()
    forget_allocator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(settings))


async def _until_told(settings: Settings) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        async with serving(settings) as served, owned("memory") as tasks:
            served.control.on_failure = told.set
            settle()
            tasks.start("give back", give_back(SystemClock()))
            log.info("the control plane answers", port=served.port, socket=served.socket)
            await told.wait()
            if served.control.failure is not None:
                raise served.control.failure
    except BaseExceptionGroup as group:
        told_why = _first(group)
        if told_why is None:
            raise
        raise told_why from group


def _first(group: BaseExceptionGroup[BaseException]) -> AtollError | None:
    """The error of ours inside nested groups of tasks."""
    for inside in group.exceptions:
        found = _first(inside) if isinstance(inside, BaseExceptionGroup) else inside
        if isinstance(found, AtollError):
            return found
    return None


@asynccontextmanager
async def serving(
    settings: Settings, *, clock: Clock | None = None, engine: Engine = open_store
) -> AsyncIterator[Serving]:
    """A control plane for the length of the block.

    Raises:
        AlreadyRunning, PortTaken, TokenUnsafe, StorageIncompatible, StorageFailed: it cannot start.
    """
    time = clock or SystemClock()
    private_folder(settings.state)
    async with engine(settings.state, settings.store, time) as store:
        token = await asyncio.to_thread(ensure_token, settings.token_file)
        tcp = bind_tcp(settings.api.host, settings.api.port)
        with contextlib.closing(tcp), contextlib.closing(bind_unix(settings.socket)) as unix:
            port = int(tcp.getsockname()[1])
            registry = Registry(
                store,
                time,
                settings.registry,
                service_limit=settings.registry.services,
                listeners=own_listeners(settings, port),
            )
            archive = Archive(store, settings.registry)
            watchdog = Watchdog(time, limit=settings.watchdog.limit, quiet=settings.watchdog.quiet)
            async with owned("server") as tasks, running(registry, archive), watchdog.watching():
                control = Control(
                    settings=settings,
                    clock=time,
                    store=store,
                    registry=registry,
                    catalog=Catalog(registry),
                    archive=archive,
                    token=token,
                    tasks=tasks,
                    watchdog=watchdog,
                    backup=_backup_of(store),
                )
                async with listening(make_app(control), [tcp, unix], control.stop):
                    yield Serving(control, port, settings.socket)
                settings.socket.unlink(missing_ok=True)


def own_listeners(settings: Settings, api_port: int) -> Listeners:
    """What this platform listens on, and nobody may register."""
    gateway = settings.gateway
    return Listeners(
        own=(
            Listener("control API", settings.api.host, api_port),
            Listener("gateway", gateway.host, gateway.port),
            Listener("mesh", "127.0.0.1", gateway.mesh_port),
            Listener("mesh", "127.0.0.1", gateway.mesh_ports, gateway.mesh_count),
        ),
        local=local_addresses(),
    )


def _backup_of(store: Store) -> Backup | None:
    return functools.partial(backup, store) if isinstance(store, SqliteStore) else None
