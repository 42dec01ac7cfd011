"""Doing a plan: its operations become runtime commands, in its order, in as few connections as possible.

Promises: an older plan is never applied over a newer one; a plan that was cut off anywhere leaves nothing that the next
one, made from what is read back, does not repair. A server that is still on its way out and wanted again is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atoll.errors import GatewayRefused
from atoll.gateway import command
from atoll.gateway.backend import server_options
from atoll.gateway.command import Command
from atoll.gateway.config import Server, map_path
from atoll.gateway.plan import AddServer, Operation, Plan, RemoveServer, SetWeight, SwapMap
from atoll.gateway.retire import Retirement
from atoll.gateway.runtime import Runtime, refusal
from atoll.kit.logs import Log

_TAKEN = ("Already exists a server", "Already exists")


class StalePlan(Exception):
    """The plan leads to an older generation than the one that runs."""


class Applier:
    """Applies plans to one HAProxy; `generation` is that of the newest plan it began."""

    def __init__(self, runtime: Runtime, retirement: Retirement, log: Log) -> None:
        self.generation = 0
        self.applied = 0
        """Operations done, all told."""
        self.committed: dict[str, int] = {}
        """Map file → the version that was committed last, as HAProxy said."""
        self._runtime = runtime
        self._retirement = retirement
        self._log = log

    async def apply(self, plan: Plan, still: Callable[[], bool] = lambda: True) -> None:
        """Do every operation of `plan`, when it is `still` the newest by the time HAProxy is free for it.

        Raises:
            StalePlan: a newer one was begun before, or is being made; nothing was sent.
            GatewayRefused: HAProxy objected to an operation; later ones were not begun.
            Unanswered: what was done is unknown.
        """
        waiting: list[Operation] = []
        async with self._runtime.writing:
            if plan.generation < self.generation or not still():
                raise StalePlan(f"plan of generation {plan.generation}, {self.generation} was begun")
            self.generation = plan.generation
            for operation in plan.operations:
                if isinstance(operation, SwapMap):
                    await self._servers(waiting)
                    waiting = []
                    await self._swap(operation)
                else:
                    waiting.append(operation)
            await self._servers(waiting)

    async def halt(self, servers: Iterable[tuple[str, str]]) -> None:
        """Remove servers that nobody wants and that do no work (an earlier apply was cut off).

        Raises:
            GatewayRefused: HAProxy objected.
            Unanswered: what was done is unknown.
        """
        async with self._runtime.writing:
            await self._servers([RemoveServer(backend, server) for backend, server in servers])

    async def _servers(self, operations: list[Operation]) -> None:
        """Operations on servers, of all of them in one go; what was taken back or taken already is done after."""
        commands: list[Command] = []
        owners: list[Operation] = []
        for operation in operations:
            for one in self._commands(operation):
                commands.append(one)
                owners.append(operation)
        taken: list[AddServer] = []
        refused: GatewayRefused | None = None
        for owner, one, objection in zip(owners, commands, await self._runtime.run(commands), strict=True):
            if not objection:
                continue
            if isinstance(owner, AddServer) and objection.startswith(_TAKEN):
                taken.append(owner)
            elif isinstance(owner, RemoveServer) and objection.startswith(("No such server", "Can't find")):
                continue
            else:
                refused = refused or refusal(one, objection)
        for owner in taken:
            await self._runtime.do(*revive(owner))
        for operation in operations:
            if isinstance(operation, RemoveServer):
                self._retirement.add(operation.backend, operation.server, patient=operation.patient)
        if refused is not None:
            raise refused
        self.applied += len(operations)

    def _commands(self, operation: Operation) -> list[Command]:
        match operation:
            case AddServer(backend=backend, traits=traits, server=server):
                if self._retirement.cancel(backend, server.name):
                    return revive(operation)
                return [
                    command.add_server(backend, server.name, server.host, server.port, server_options(traits, server)),
                    *_begin(backend, server),
                ]
            case SetWeight(backend=backend, server=server_name, weight=weight):
                return [command.weigh(backend, server_name, weight)]
            case RemoveServer(backend=backend, server=server_name):
                return [command.maintenance(backend, server_name)]
            case _:
                raise AssertionError(operation)

    async def _swap(self, operation: SwapMap) -> None:
        file = map_path(operation.name)
        prepare = command.prepare_map(file)
        version = command.prepared(await self._runtime.say(prepare))
        try:
            await self._runtime.do(*command.fill_map(file, version, operation.entries))
        except GatewayRefused:
            await self._runtime.run([command.drop_version(file, version)])
            raise
        await self._runtime.do(command.commit_map(file, version))
        self.committed[file] = version
        self.applied += 1


def revive(operation: AddServer) -> list[Command]:
    """Bring a server back that exists and is halted: all that can have changed about it is set again."""
    backend, server = operation.backend, operation.server
    return [
        command.readdress(backend, server.name, server.host, server.port),
        command.weigh(backend, server.name, server.effective_weight),
        *_begin(backend, server),
    ]


def _begin(backend: str, server: Server) -> list[Command]:
    """Have it checked, and take traffic; HAProxy itself would have the first check that is missed end that."""
    begin = [command.ready(backend, server.name)]
    if server.check is not None:
        begin.insert(0, command.enable_health(backend, server.name))
        if server.check.fall > 1:
            begin.append(command.health_up(backend, server.name))
    return begin
