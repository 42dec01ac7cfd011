"""A whole platform under faults: `atoll up` in processes of its own, every one of them known by its part.

Owns what the scenarios need around `tests.system.platform.stage.Platform`: who is who, load that is recorded, whether
registry, files and HAProxy agree (promise 6), and one platform that scenarios share when their fault leaves it whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from atoll.gateway.readback import ServerRow, parse_servers
from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import SystemClock
from atoll.settings import load as load_settings
from atoll.testing.history import Call, History, Outcome
from tests.fault.drivers.driver_requests import by_header, driver_requests
from tests.fault.scenario import LONG
from tests.system.platform.stage import MARK, Platform, closing

T = TypeVar("T")
PROGRAM = Path(__file__).parent / "programs" / "web_service.py"
CONVERGED = 20.0
"""Seconds after a fault within which a platform has to be right again; a bound against hanging."""
MARGIN = 0.25 if LONG else 0.1
"""Seconds."""
PROJECT = """
name: fault
services:
  web:
    command: python service.py
    replicas: 3
    healthcheck: {http: /healthz, interval: 1s}
  other:
    command: python service.py
    healthcheck: {http: /healthz, interval: 1s}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
    - {name: other, match: {path_prefix: /other}, service: other}
"""

KNOBS = {
    "ATOLL_REGISTRY_TTL": "3",  # a lease is worth three renewals, however long; scenarios wait for several TTLs
    "ATOLL_SUPERVISOR_INTENSITY": "1000",  # scenarios kill more often than a crash loop is allowed to
    "ATOLL_SUPERVISOR_RESTART_CAP": "0.5",
    "ATOLL_GATEWAY_RELOAD_INTERVAL": "1",  # instead of 2: scenarios wait for thirty of them
}
"""What the shared platform is told, so that scenarios need not wait for what they do not test."""


@dataclass(frozen=True)
class Parts:
    """Who runs, by pid."""

    node: int | None
    control_plane: int | None
    master: int | None
    """HAProxy's."""
    workers: frozenset[int]
    keepers: frozenset[int]
    instances: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        """Every one of them."""
        single = {pid for pid in (self.node, self.control_plane, self.master) if pid is not None}
        return frozenset(single | self.workers | self.keepers | self.instances)


class Fleet:
    """One platform. Methods that ask it block, for at most a second or so: call them in a thread while load runs."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.settings = load_settings(platform.state, platform.environ)
        self.runtime = Runtime(self.settings.run / "haproxy" / "runtime.sock", SystemClock())

    @classmethod
    def of(cls, project: str = PROJECT, **environ: str) -> Fleet:
        """A project with the scenarios' own service; it runs once `platform.up` is called."""
        platform = Platform.of(project, **{**KNOBS, **environ})
        shutil.copy(PROGRAM, platform.folder / "service.py")
        return cls(platform)

    @property
    def place(self) -> tuple[str, int]:
        """Where the gateway listens."""
        return "127.0.0.1", self.platform.gateway_port

    def parts(self) -> Parts:
        """Who is who now."""
        lines: dict[int, list[str]] = {}
        parents: dict[int, int] = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                words = process.cmdline()
                if self._ours(words, process) and process.status() != psutil.STATUS_ZOMBIE:
                    lines[process.pid], parents[process.pid] = words, process.ppid()
        proxies = {pid for pid, words in lines.items() if words and Path(words[0]).name.startswith("haproxy")}
        keepers = {pid for pid, words in lines.items() if any(word.endswith("keeper.py") for word in words)}
        atoll = {pid: words for pid, words in lines.items() if "atoll.cli.main" in words}
        return Parts(
            node=next((pid for pid, words in atoll.items() if "up" in words), None),
            control_plane=next((pid for pid, words in atoll.items() if words[-1] == "server"), None),
            master=next((pid for pid in proxies if parents[pid] not in proxies), None),
            workers=frozenset(pid for pid in proxies if parents[pid] in proxies),
            keepers=frozenset(keepers),
            instances=frozenset(pid for pid, words in lines.items() if "service.py" in words and pid not in keepers),
        )

    def _ours(self, words: list[str], process: psutil.Process) -> bool:
        """Keepers and HAProxy have an environment of their own; they are known by the paths they were given."""
        folder = str(self.platform.folder)
        return any(folder in word for word in words) or process.environ().get(MARK) == folder

    async def rows(self) -> list[ServerRow]:
        """What HAProxy says of its servers, those aside that are frontends of its own (fallbacks)."""
        rows = parse_servers(await self.runtime.ask("show servers state"))
        return [row for row in rows if not row.backend.startswith("edge:")]

    async def differences(self) -> list[str]:
        """What is not as promise 6 says: registry = rendered file = what HAProxy reports, and all of it passes."""
        return await asyncio.to_thread(self._registry) + await self._proxy()

    def _registry(self) -> list[str]:
        platform, wrong = self.platform, []
        for view in platform.done("GET", "/services")["services"]:
            service = view["service"]
            wanted = 0 if service.get("run") is None else int(service["run"].get("replicas", 1))
            listed = platform.done("GET", f"/services/{service['name']}/instances")["instances"]
            passing = [one for one in listed if one.get("state", "passing") == "passing"]
            if wanted and len(passing) != wanted:
                states = {one["id"]: (one.get("state"), one.get("cause", "")) for one in listed}
                wrong.append(f"{service['name']}: {len(passing)} of {wanted} pass: {states}")
            if len(children := platform.pids(service["name"])) != wanted:
                wrong.append(f"{service['name']}: the node tells of {children}")
        if not platform.settled():
            wrong.append(f"the gateway is behind: {platform.gateway()}")
        return wrong

    async def _proxy(self) -> list[str]:
        facts = await asyncio.to_thread(self.platform.done, "GET", "/facts?prefix=instances/")
        wanted = {
            (one["value"].get("host", "127.0.0.1"), one["value"]["port"])
            for one in facts["facts"]
            if one["value"].get("state", "passing") in {"passing", "suspect"}
        }
        rows = [row for row in await self.rows() if row.port]  # a server without a port is HAProxy's own, on a socket
        shown = {(row.host, row.port) for row in rows if row.weight and not row.halted and row.up}
        written = self._written()
        wrong = [f"HAProxy runs {sorted(shown)}, registered are {sorted(wanted)}"] if shown != wanted else []
        return wrong + ([f"the file has {sorted(written)}, not {sorted(wanted)}"] if written != wanted else [])

    def _written(self) -> set[tuple[str, int]]:
        text = (self.platform.state / "gateway" / "current" / "haproxy.cfg").read_text()
        found = re.findall(r"^  server \S+ (\S+):(\d+) weight (\d+)", text, re.MULTILINE)
        return {(host, int(port)) for host, port, weight in found if int(weight)}

    async def converged(self, within: float = CONVERGED) -> float:
        """Seconds until nothing differs.

        Raises:
            AssertionError: it still does after `within` seconds; with what differs.
        """
        began = time.monotonic()
        while True:
            try:
                wrong = await self.differences()
            except (OSError, AssertionError, ValueError, LookupError, RuntimeError) as error:
                wrong = [f"{type(error).__name__}: {error}"]
            except Exception as error:  # noqa: BLE001  HAProxy that does not answer yet is one more difference
                wrong = [f"{type(error).__name__}: {error}"]
            took = time.monotonic() - began
            if not wrong:
                return took
            assert took < within, f"not right within {within:g} s: {wrong}"
            await asyncio.sleep(0.05)

    async def all_up(self, service: str = "web", count: int = 3, within: float = CONVERGED) -> None:
        """Wait until HAProxy sends requests to all instances of a service; the registry may tell of it later."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(Unanswered):
                rows = [row for row in await self.rows() if row.name.startswith(f"{service}-")]
                if len([row for row in rows if row.up and row.weight and not row.halted]) == count:
                    return
            assert time.monotonic() - began < within, f"not all of {service} are up"
            await asyncio.sleep(0.03)

    async def register(self, service: str, instance: str, port: int, **said: object) -> None:
        """Register an instance that the platform does not run."""
        path, body = f"/services/{service}/instances/{instance}", {"port": port, "ttl": 60, **said}
        await asyncio.to_thread(self.platform.done, "PUT", path, body)

    async def route(self, name: str, path: str, service: str, **match: object) -> None:
        """A route from a path to a service."""
        body = {"name": name, "match": {"path": path, **match}, "shares": [{"service": service}]}
        await asyncio.to_thread(self.platform.done, "PUT", f"/routes/{name}", body)

    async def forget(self, *names: str) -> None:
        """Remove routes and services of these names, those that are there."""
        for kind in ("routes", "services"):
            for name in names:
                query = "?force=true" if kind == "services" else ""
                await asyncio.to_thread(self.platform.api, "DELETE", f"/{kind}/{name}{query}")

    async def serves(self, within: float = CONVERGED) -> float:
        """Seconds until a request is answered with 200."""
        began = time.monotonic()
        while not await asyncio.to_thread(self._answers):
            assert time.monotonic() - began < within, f"no answer within {within:g} s"
        return time.monotonic() - began

    def _answers(self) -> bool:
        try:
            return self.platform.get("/", timeout=1.0).status == 200
        except OSError:
            return False

    async def do(self, call: Callable[..., T], *arguments: object) -> T:
        """A blocking call of the platform, in a thread."""
        return await asyncio.to_thread(call, *arguments)

    @asynccontextmanager
    async def load(
        self, history: History, path: str = "/", *, rate: float = 100.0, connections: int = 8
    ) -> AsyncIterator[None]:
        """Recorded GETs all through the block, from `MARGIN` before it to `MARGIN` after it."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(
                driver_requests(
                    history,
                    self.place,
                    path,
                    identify=by_header(),
                    rate=rate,
                    seconds=900,
                    connections=connections,
                    stop=stop,
                )
            )
            try:
                await asyncio.sleep(MARGIN)
                yield
                await asyncio.sleep(MARGIN)
            finally:
                stop.set()


@contextmanager
def own_fleet(project: str = PROJECT, **environ: str) -> Iterator[Fleet]:
    """A platform that runs, for one scenario; stopped at the end, and proved to have left nothing."""
    fleet = Fleet.of(project, **environ)
    with closing(fleet.platform):
        fleet.platform.up()
        yield fleet


async def comes(look: Callable[[], bool | Awaitable[bool]], what: str, within: float = CONVERGED) -> float:
    """Seconds until `look` is true; a part that does not answer is not yet.

    Raises:
        AssertionError: it is not within that many seconds.
    """
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, Unanswered):
            found = look()
            if found if isinstance(found, bool) else await found:
                return time.monotonic() - began
        assert time.monotonic() - began < within, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.03)


def signal_all(pids: frozenset[int] | set[int], number: signal.Signals) -> None:
    """Send a signal to all, to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def percentile(calls: list[Call], share: float) -> float:
    """Seconds that this share of the answered calls took at most."""
    took = sorted(call.end - call.start for call in calls if call.outcome is Outcome.OK)
    return took[min(len(took) - 1, int(share * len(took)))] if took else 0.0


def outage(calls: list[Call]) -> float:
    """Seconds from the first failed call's start to the first success that began after the last failure began."""
    failed = [call for call in calls if call.outcome is not Outcome.OK]
    if not failed:
        return 0.0
    begin, last = min(call.start for call in failed), max(call.start for call in failed)
    after = [call.end for call in calls if call.outcome is Outcome.OK and call.start > last]
    return min(after, default=max(call.end for call in calls)) - begin
