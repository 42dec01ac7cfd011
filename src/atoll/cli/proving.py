"""The ground that drills and chaos runs stand on: a platform of this machine, whom nobody else is breaking or using.

Refuses platforms of other machines (their processes cannot be signalled from here), gateways that others than this
machine can reach unless that is said aloud, and two drills at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from atoll.cli import facts
from atoll.cli.invocation import Invocation
from atoll.cli.place import find, settings_here
from atoll.drill import scene as scenes
from atoll.errors import AlreadyRunning, Forbidden, NotFound, Unreachable
from atoll.kit.files import LockFile, private_folder
from atoll.model.answers import BreakerRequest, DrillNote, FaultRequest, NodeView
from atoll.model.names import ServiceName
from atoll.model.snapshot import Snapshot
from atoll.settings import Settings

T = TypeVar("T")
FOLDER = "drills"
"""Of the reports of drills, and of the lock, in the state folder."""
MEAN_IT = "--yes-i-really-mean-it"
NOTE_LIMIT = 200
"""Characters of a note in the history."""


class ApiGround:
    """A platform of this machine, as its control plane tells of it (see `drill.ground.Ground`)."""

    def __init__(self, invocation: Invocation, settings: Settings) -> None:
        self.settings = settings
        self._api = invocation.api

    def facts(self) -> Snapshot:
        """All facts."""
        return facts.snapshot(self._api)

    def nodes(self) -> tuple[NodeView, ...]:
        """What every node last said of itself."""
        return facts.nodes(self._api)

    def telemetry(self) -> None:
        """Ask telemetry how it is; raises when it does not answer."""
        self._api.get(f"{facts.V1}/telemetry/status")

    def note(self, service: ServiceName, instances: Sequence[str], what: str) -> None:
        """Write into the history of these instances; the control plane must allow it."""
        said = DrillNote(what=what[:NOTE_LIMIT], instances=tuple(instances))
        self._api.post(facts.service_path(service, "drill"), said)

    def inject(self, fault: FaultRequest) -> None:
        """Inject a fault."""
        self._api.post(f"{facts.V1}/faults", fault)

    def clear(self, name: str) -> None:
        """Take an injected fault back."""
        with contextlib.suppress(NotFound):
            self._api.delete(f"{facts.V1}/faults/{name}")

    def reset_breaker(self, service: ServiceName) -> None:
        """Let the breaker of a service begin anew."""
        self._api.post(facts.service_path(service, "breaker"), BreakerRequest(reason="after a drill"))


def settings_of(invocation: Invocation) -> Settings:
    """The settings of the platform of this folder, which must run on this machine.

    Raises:
        Unreachable: it is known by its URL only, or does not run.
    """
    place = find(invocation)
    if place.settings is None or place.socket is None:
        raise Unreachable(
            "a drill signals processes: it works on the machine and in the project folder of the platform",
            hint="run it there, without --url; or give --state DIR",
        )
    return place.settings


def state_of(invocation: Invocation) -> Path:
    """The state folder of this project.

    Raises:
        Unreachable: none is to be seen from here.
    """
    settings = settings_here(invocation)
    if settings is None:
        raise Unreachable("no platform has run here", hint="go to the project's folder, or give -C DIR or --state DIR")
    return settings.state


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Nobody else drills this platform while the block runs.

    Raises:
        AlreadyRunning: somebody does.
    """
    lock = LockFile(private_folder(settings.state / FOLDER) / "lock")
    try:
        lock.acquire()
    except BlockingIOError:
        raise AlreadyRunning(
            f"a drill runs already (pid {lock.holder()})", hint="wait for it: two faults at once prove nothing"
        ) from None
    try:
        yield
    finally:
        lock.release()


def refuse_public(invocation: Invocation, *, mean_it: bool) -> None:
    """Refuse to break what others may be using.

    Raises:
        Forbidden: the gateway listens beyond loopback, and that was not said to be meant.
    """
    gateway = scenes.gateway_of(facts.nodes(invocation.api))
    if scenes.beyond_loopback(gateway) and not mean_it:
        raise Forbidden(
            f"the gateway listens on {gateway.address}: others may be using this platform",
            hint=f"say {MEAN_IT} to break it all the same",
        )


def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Run it; SIGTERM and SIGHUP (a CI job that is cancelled, a terminal that is closed) end it as Ctrl-C does.

    Raises:
        KeyboardInterrupt: it was ended so; every fault is undone.
    """

    async def run() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
