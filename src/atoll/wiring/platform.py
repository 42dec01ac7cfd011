"""A platform's life on this machine: what `atoll up` runs, in one block that leaves nothing half done.

Order of life: gateway and control plane begin side by side (the gateway from its last good files, so traffic flows
before any fact is known); the project is applied as a plan; facts flow, services start. Telemetry begins beside them and
nothing waits for it. At a graceful end the children go first, dependants before dependencies, then the gateway, then
control plane and telemetry. A node that is killed leaves all of them running, and the next one adopts them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

from atoll.errors import AtollError, PortTaken
from atoll.gateway.driver import STOP_GRACE
from atoll.kit.clock import SystemClock
from atoll.kit.garbage import forget_allocator, give_back, one_arena, settle
from atoll.kit.listeners import listeners
from atoll.kit.logs import Log
from atoll.kit.tasks import Tasks, owned
from atoll.model.names import ServiceName
from atoll.model.project import Project
from atoll.project.load import Loaded
from atoll.sdk.client import Client
from atoll.settings import Settings
from atoll.supervisor.supervisor import Supervisor
from atoll.wiring import telemetry_ports
from atoll.wiring.console import Console, Stop
from atoll.wiring.mesh import choosing, left, moved, settled
from atoll.wiring.node import Node
from atoll.wiring.own_log import own_log
from atoll.wiring.telemetry_part import possible
from atoll.wiring.telemetry_words import with_words

log = Log("node")
ANSWERS_WITHIN = 20.0
"""Seconds the control plane has for its first answer; it takes about half a second."""


async def run_platform(
    loaded: Loaded, settings: Settings, console: Console, *, services: Collection[str] = (), stop: Stop
) -> None:
    """Run the node until `stop` is asked for and everything has ended. `services`: only these and what they need.

    Raises:
        AtollError: it cannot start; what it had started is ended again.
    """
    one_arena()
    forget_allocator()
    with own_log(settings):
        await _kept_up(loaded, settings, console, selected(loaded.project, services), stop)


async def _kept_up(
    loaded: Loaded, settings: Settings, console: Console, wanted: frozenset[ServiceName], stop: Stop
) -> None:
    """Run the node; once more where somebody was faster with its ports."""
    clock = SystemClock()
    asked = settings.telemetry.enabled
    settings = possible(settings)
    for last in (False, False, True):
        async with choosing(clock, stop.asked) as chosen:
            if stop.asked.is_set():
                return
            node = Node(await asyncio.to_thread(_settled, settings, loaded), console, clock, telemetry=asked)
            try:
                await _run(node, chosen, loaded.project, wanted, stop)
            except PortTaken as taken:  # between our look and HAProxy's bind somebody came who takes no turns
                if last or not moved(taken, node.settings, os.environ):
                    raise
                log.warning("another block of mesh ports is chosen", cause=taken.detail)
            else:
                return
            finally:
                await asyncio.to_thread(left, node.settings)


async def _run(
    node: Node, chosen: Callable[[], None], project: Project, wanted: frozenset[ServiceName], stop: Stop
) -> None:
    try:
        async with owned("node") as tasks, node.watchdog.watching():
            await node.begin(project, wanted)
            node.console.part_begins("gateway")
            async with node.driver.running():
                chosen()
                await _live(node, tasks, project, wanted, stop)
            force = stop.forced.is_set()
            await asyncio.gather(node.control_plane.stop(force=force), node.telemetry.stop(force=force))
    except ExceptionGroup as group:  # not `except*`: Debian 12's Python wraps what is raised there in a group again
        ours = group.subgroup(AtollError)
        if ours is None:
            raise
        await _give_up(node, ours)
    finally:
        await node.client.close()


async def _live(node: Node, tasks: Tasks, project: Project, wanted: frozenset[ServiceName], stop: Stop) -> None:
    """From a gateway that runs to one that has ended.

    Raises:
        AtollError: the control plane does not answer, or refuses the project; a gateway that this node started has ended.
    """
    try:
        await _prepare(node, tasks, project, wanted)
    except AtollError:
        if not node.driver.adopted:
            await node.driver.stop(0)
        raise
    await _serve(node, tasks, wanted, stop)
    await node.driver.stop(0 if stop.forced.is_set() else STOP_GRACE)


async def _prepare(node: Node, tasks: Tasks, project: Project, wanted: frozenset[ServiceName]) -> None:
    """From a gateway that runs to facts that are true."""
    node.console.part_ready("gateway", node.age, node.addresses()[0][1])
    node.console.part_begins("control plane")
    await node.control_plane.answers(ANSWERS_WITHIN)
    tasks.start("control plane", node.control_plane.keep())
    tasks.start("telemetry", node.telemetry.live())
    await _apply(node.client, project, wanted)
    # only now: who waits for a platform in the background shall hear of a project that is refused
    node.console.part_ready("control plane", node.age, node.addresses()[2][1])


async def _answer(node: Node, tasks: Tasks, project: Project, wanted: frozenset[ServiceName]) -> None:
    """Until the control plane knows what shall run."""
    node.console.part_begins("control plane")
    await node.control_plane.answers(ANSWERS_WITHIN)
    tasks.start("control plane", node.control_plane.keep())
    node.console.part_ready("control plane", node.age, node.addresses()[2][1])
    tasks.start("telemetry", node.telemetry.live())
    await _apply(node.client, project, wanted)


async def _unless(stop: Stop, work: Coroutine[Any, Any, None]) -> None:
    """Do it, unless the end is asked for: then leave it where it is."""
    async with owned("start") as tasks:
        working, asked = tasks.start("work", work), tasks.start("stop", stop.asked.wait())
        await asyncio.wait({working, asked}, return_when=asyncio.FIRST_COMPLETED)


async def _serve(node: Node, tasks: Tasks, wanted: frozenset[ServiceName], stop: Stop) -> None:
    """From the first fact to the last child."""
    settle()
    supervising = tasks.start("supervisor", node.supervisor.run())
    following = tasks.start("facts", node.follow_facts())
    reporting = tasks.start("report", node.report())
    tasks.start("wishes", node.follow_wishes())
    tasks.start("output", node.show_output())
    tasks.start("memory", give_back(SystemClock()))
    progress = tasks.start("progress", node.show_progress(wanted))
    await stop.asked.wait()
    progress.cancel()
    leaving = tasks.start("leaving", node.left())
    ending = tasks.start("shutdown", node.supervisor.shutdown())
    forcing = tasks.start("force", _force(node.supervisor, stop))
    await ending
    await supervising
    forcing.cancel()
    leaving.cancel()
    for task in (following, reporting):
        task.cancel()
    node.console.stopping({})


async def _force(supervisor: Supervisor, stop: Stop) -> None:
    await stop.forced.wait()
    await supervisor.shutdown(force=True)


async def _apply(client: Client, project: Project, wanted: frozenset[ServiceName]) -> None:
    """Make the project's facts true; services that were asked for are wanted to run, the others are not."""
    await client.apply(project)
    for view in (await client.services()).services:
        service = view.service
        if service.run is None or service.origin != project.name:
            continue
        if service.name in wanted and service.run.stopped:
            await client.start(service.name)
        elif service.name not in wanted and not service.run.stopped:
            await client.stop(service.name)


async def _give_up(node: Node, group: ExceptionGroup[AtollError]) -> None:
    """The platform cannot run: end what this node started, leave what it found running, and say the first reason."""
    if not node.control_plane.adopted:
        await node.control_plane.stop()
    if not node.telemetry.process.adopted:
        await node.telemetry.stop(force=False)
    raise first(group) from group


def first(group: ExceptionGroup[AtollError]) -> AtollError:
    """The first error of a (nested) group: the one that a person should read."""
    error = group.exceptions[0]
    return first(error) if isinstance(error, ExceptionGroup) else error


def selected(project: Project, services: Collection[str]) -> frozenset[ServiceName]:
    """The services to run: all, or those named and what they depend on."""
    needs = {one.name: tuple(one.run.depends_on) if one.run else () for one in project.services}
    waiting = [ServiceName(name) for name in services] or list(needs)
    found: set[ServiceName] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(needs.get(name, ()))
    return frozenset(found)


def _settled(settings: Settings, loaded: Loaded) -> Settings:
    if loaded.listener is not None and "ATOLL_GATEWAY_PORT" not in os.environ:
        gateway = replace(settings.gateway, host=loaded.listener.host, port=loaded.listener.port)
        settings = replace(settings, gateway=gateway)
    settings = with_words(settings, loaded.telemetry, os.environ)
    present = listeners()
    return telemetry_ports.settled(settled(settings, present, os.environ), present, os.environ)
