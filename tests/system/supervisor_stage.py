"""A supervisor with real children and fakes around it, for the tests in this folder."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from atoll.errors import Unreachable
from atoll.kit.clock import SystemClock
from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Check, CheckKind, Restart, Run, Service, State
from atoll.settings import Settings
from atoll.settings import Supervisor as Limits
from atoll.supervisor import processes
from atoll.supervisor.output import read_logs
from atoll.supervisor.outside import Held
from atoll.supervisor.supervisor import Supervisor

WEB = """
import http.server, os, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers(); self.wfile.write(os.environ['ATOLL_INSTANCE'].encode())
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), H).serve_forever()
"""


class FakeRegistrar:
    """Remembers who is registered and in which state; `away` makes every call fail."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self.registered: dict[InstanceId, Registration] = {}
        self.states: dict[InstanceId, State] = {}
        self.away = False

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Held:
        if self.away:
            raise Unreachable("the control plane is away")
        if instance not in self.registered:
            self.story.append(f"register {instance}")
        self.registered[instance] = said
        return Held("lease", 0.2, self.states.get(instance, State.PASSING))

    async def mark(self, service: ServiceName, instance: InstanceId, state: State, cause: str) -> None:
        if self.away:
            raise Unreachable("the control plane is away")
        self.states[instance] = state
        self.story.append(f"{state.value} {instance}")

    async def deregister(self, service: ServiceName, instance: InstanceId, lease: str) -> None:
        if self.away:
            raise Unreachable("the control plane is away")
        self.registered.pop(instance, None)
        self.states.pop(instance, None)
        self.story.append(f"deregister {instance}")


class FakeTraffic:
    """A balancer that knows everybody at once and is idle at once."""

    def __init__(self, story: list[str]) -> None:
        self.story = story

    async def routed(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        self.story.append(f"routed {instance}")
        return True

    async def idle(self, service: ServiceName, instance: InstanceId, timeout: float) -> bool:  # noqa: ASYNC109
        self.story.append(f"idle {instance}")
        return True


class Stage:
    """A running supervisor and its surroundings."""

    running: asyncio.Task[None]

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.story: list[str] = []
        self.registrar = FakeRegistrar(self.story)
        self.settings = Settings(state=folder / "state", supervisor=limits)
        self.supervisor = Supervisor(
            self.settings,
            clock=SystemClock(),
            registrar=self.registrar,
            traffic=FakeTraffic(self.story),
            environ=os.environ,
        )

    async def want(self, *services: Service) -> None:
        await self.supervisor.want({service.name: service for service in services})

    def child(self, instance: str) -> ChildReport | None:
        return next((one for one in self.supervisor.report() if one.instance == instance), None)

    def phases(self) -> dict[str, Phase]:
        return {one.instance: one.phase for one in self.supervisor.report()}

    async def until(self, true: Callable[[], object], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, [(one.instance, one.phase, one.cause) for one in self.supervisor.report()]
            await asyncio.sleep(0.01)

    def logged(self, instance: str) -> list[str]:
        return [line.text for line in read_logs(self.settings.logs) if line.instance == instance]


@asynccontextmanager
async def staged(folder: Path, limits: Limits | None = None) -> AsyncIterator[Stage]:
    stage = Stage(folder, limits or Limits())
    async with owned("test") as tasks:
        running = stage.running = tasks.start("supervisor", stage.supervisor.run())
        try:
            yield stage
        finally:
            if not running.done():
                await stage.supervisor.shutdown(force=True)


def python(code: str, name: str = "job", **run: object) -> Service:
    """A service without a port that runs this code."""
    settings: dict[str, object] = {"port": None, "restart": Restart.NO, "stop_grace": 1.0, **run}
    return Service(
        name=ServiceName(name),
        check=Check(kind=CheckKind.NONE),
        run=Run(command=(sys.executable, "-S", "-c", code), root="/tmp", **settings),  # type: ignore[arg-type]
    )


def web(name: str = "web", code: str = WEB, **run: object) -> Service:
    """A service that answers http."""
    settings: dict[str, object] = {"stop_grace": 1.0, **run}
    return Service(
        name=ServiceName(name),
        check=Check(kind=CheckKind.HTTP, path="/", interval=0.1, timeout=1.0),
        run=Run(command=(sys.executable, "-S", "-c", code), root="/tmp", **settings),  # type: ignore[arg-type]
    )


def alive(pid: int) -> bool:
    one = processes.process(pid)
    return one is not None and not one.zombie
