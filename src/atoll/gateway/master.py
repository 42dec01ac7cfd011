"""HAProxy's processes: one master that outlives us, one current worker, old workers that finish their requests.

Promises: nothing is started or reloaded that `haproxy -c` did not accept; at most one generation accepts connections;
a running master is found again by pid, start time and boot. Refuses a port that somebody else listens on, before
starting. Deciding when to start, reload or give up is the driver's.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from atoll.errors import GatewayRefused
from atoll.gateway.binary import Binary
from atoll.gateway.config import Files
from atoll.gateway.counts import whole
from atoll.gateway.lastgood import MAIN, ConfigFolder
from atoll.gateway.output import Output, complaints
from atoll.gateway.ports import bound, refuse_taken
from atoll.gateway.process import Identity, Ran, alive, members, reap, recorded, run_program, send, spawn
from atoll.gateway.readback import Workers, in_flight, parse_info, parse_servers, parse_workers, states_to_hand_over
from atoll.gateway.runtime import Runtime, Unanswered, entire, exchange
from atoll.kit.clock import Clock, Instant
from atoll.kit.files import private_folder, replace_file
from atoll.kit.listeners import listeners
from atoll.kit.logs import Log
from atoll.kit.text import scrub

START_TIMEOUT = 15.0
"""Seconds until a new master must answer; 1,000 backends with 10 servers each need 0.1."""
RELOAD_TIMEOUT = 5.0
"""Seconds of one reload; 1,000 backends with 10 servers each took 0.4 at worst. Nothing may hold the driver longer."""
ORPHAN_GRACE = 0.8
"""Seconds orphans may finish in beside their successor (an orphan ends by itself after 1.3 to 2)."""
NO_STATES = "1\n"
"""A file of server states that tells of none."""
QUIET = 0.1
"""Seconds without a request in flight after which a gateway that stops ends; who sends on a kept connection is seen."""
LOOK_EVERY = 0.02
"""Seconds between two looks at what is in flight; a look costs HAProxy 0.3 ms with a dozen connections."""
_LINE = re.compile(rf"{re.escape(MAIN)}:(\d+)")


class Master:
    """The master-worker pair that runs `folder.current`, its sockets and pid file in `files.root`."""

    def __init__(
        self, binary: Binary, folder: ConfigFolder, files: Files, environ: Mapping[str, str], clock: Clock, log: Log
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.files = files
        self.process: Identity | None = None
        self.adopted = False
        self.orphans: list[Identity] = []
        """Processes of an earlier master that were told to finish."""
        self.on_started: Callable[[Path], None] = folder.started
        """Called with the folder that HAProxy was started or reloaded from."""
        self.worker_since = Instant(0.0)
        """When the current worker started."""
        self.runtime = Runtime(files.runtime, clock)
        self.output = Output(files.root / "output", clock, log)
        self._succeeded = asyncio.Event()
        """Another process is the master now: for who waits for the end of the one before."""
        self._environment = binary.environment(environ)
        self._clock = clock
        self._log = log

    async def adopt(self) -> bool:
        """Take over a master that an earlier node left running; False when there is none that answers."""
        found = await asyncio.to_thread(recorded, self.files.pid)
        if found is None or not await asyncio.to_thread(alive, found):
            return False
        self.process = found
        try:
            info = parse_info(await self.runtime.ask("show info"))
            lived = whole(info.get("Uptime_sec", "0"))
            await self.workers()
        except Unanswered as error:
            self._log.warning("a HAProxy runs and does not answer; it will be replaced", pid=found.pid, cause=error)
            return False
        self.output.open()
        self.adopted = True
        self.worker_since = Instant(self._clock.now() - lived)
        self._log.info("took over the running HAProxy", pid=found.pid)
        return True

    async def check(self, folder: Path) -> None:
        """Have HAProxy itself read the configuration in `folder`.

        Raises:
            GatewayRefused: it objects; the error holds its own line and the line of the file that it means.
        """
        argv = [self.binary.path, "-c", "-C", str(folder), "-f", MAIN]
        ran = await asyncio.to_thread(run_program, argv, environment=self._environment, timeout=START_TIMEOUT)
        if ran.code != 0:
            raise await asyncio.to_thread(_refusal, folder, ran)

    async def states(self) -> str | None:
        """What the worker says of its servers through its master: it serves, whatever its own socket does; None: it hangs."""
        try:
            async with asyncio.timeout(self.runtime.within):
                worker = (await self.workers()).current
                said = "" if worker is None else await self.ask_worker(worker, "show servers state")
                parse_servers(said)
        except (Unanswered, TimeoutError):
            return None
        return states_to_hand_over(said)

    async def start(self, folder: Path, states: str = "") -> None:
        """Start a new master from `folder`, which becomes current; what an earlier one left stops listening then.

        An earlier one that still runs serves until then, hands its `states` and stick tables over, finishes its requests
        within the hard stop, and stays when the new one does not come up. `end_orphans` ends it, and them, sooner.

        Raises:
            PortTaken: somebody else listens where we want to; nothing was started.
            GatewayRefused: HAProxy objects to the configuration, or ended at once.
        """
        await self.check(folder)
        earlier, before = self.process, self.folder.target(self.folder.current)
        self.orphans = await asyncio.to_thread(self._prepare, folder, states)
        try:
            await asyncio.to_thread(self.folder.promote, folder)
            argv = [self.binary.path, "-W", "-db", "-S", f"{self.files.master},mode,600"]
            argv += ["-C", str(self.folder.current), "-f", MAIN]
            self.process = await asyncio.to_thread(self._spawn, argv, self.output.open())
            self.adopted = False
            await self._ready(self.process)
        except BaseException:
            if self.process is not earlier:
                await self.kill()
            if earlier is not None and await asyncio.to_thread(alive, earlier):
                await asyncio.to_thread(self._take_back, earlier, before)
            raise
        await _signal(self.orphans, signal.SIGUSR1)
        self._succeeded.set()
        self.worker_since = self._clock.now()
        self.on_started(folder)

    async def end_orphans(self, grace: float = ORPHAN_GRACE) -> None:
        """See that what an earlier master left is gone in `grace` seconds: they may finish requests, not more."""
        group = self.orphans
        # one that is stopped (SIGSTOP) holds its share of the listening socket until it is gone
        for seconds, number in ((grace, signal.SIGTERM), (0.1, signal.SIGKILL)):
            if group and not await self._gone(group, seconds):
                await _signal(group, number)
        await self._gone(group, 0.1)
        for process in group:
            reap(process.pid)
        self.orphans = [process for process in self.orphans if process not in group]

    async def reload(self, folder: Path) -> None:
        """Start a new worker from `folder`, which becomes current; the old one finishes what it has.

        Raises:
            PortTaken: a new listener's port is somebody else's.
            GatewayRefused: HAProxy objects; the old worker and the old current folder stay.
            Unanswered: the master did not say what became of it.
        """
        await self.check(folder)
        await asyncio.to_thread(self._refuse_taken_ports, folder)
        before = self.folder.target(self.folder.current)
        await self.dump_state()
        await asyncio.to_thread(self.folder.promote, folder)
        answer = await self._ask("reload", RELOAD_TIMEOUT)
        if not answer.startswith("Success=1"):
            if before is not None:
                await asyncio.to_thread(self.folder.promote, before)
            said = complaints(answer) or [answer.strip()[:300] or "no answer"]
            raise GatewayRefused(f"HAProxy did not reload: {said[0]}", hint="the last good configuration stays")
        await self.runtime.wait_ready(START_TIMEOUT)
        self.worker_since = self._clock.now()
        self.on_started(folder)

    async def dump_state(self) -> None:
        """Write what is known of the servers' health where the next worker reads it. Best effort."""
        try:
            state = states_to_hand_over(await self.runtime.ask("show servers state"))
        except Unanswered as error:
            self._log.warning("server states are not handed over", cause=error)
            state = NO_STATES
        await asyncio.to_thread(replace_file, self.files.state, state.encode(), durable=False)

    async def workers(self) -> Workers:
        """The current worker and the old ones.

        Raises:
            Unanswered: the master does not say.
        """
        return parse_workers(entire(await self._ask("show proc;quit", 2.0)))

    async def ask_worker(self, pid: int, question: str) -> str:
        """The answer of one worker, old ones included, through the master.

        Raises:
            Unanswered: no answer; it may be gone.
        """
        return entire(await exchange(self.files.master, f"@!{pid} {question};quit\n", within=2 * self.runtime.within))

    async def end_worker(self, pid: int) -> None:
        """End an old worker at once."""
        if self.process is not None:
            group = await asyncio.to_thread(members, self.process)
            await _signal([worker for worker in group if worker.pid == pid], signal.SIGTERM)

    async def ended(self) -> int | None:
        """Wait until the master is gone, and no successor took over from it; its exit code when it was our child."""
        while (process := self.process) is not None:
            await self._gone_or_succeeded(process)
            if self.process in (process, None):
                self.process = None
                self.output.read()
                return reap(process.pid)
        return None

    async def _gone_or_succeeded(self, process: Identity) -> None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        changed = self._succeeded = asyncio.Event()
        try:
            if await asyncio.to_thread(alive, process):
                loop.add_reader(descriptor, changed.set)
                await changed.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    @property
    def runs(self) -> bool:
        """Whether there is a master that has not been seen to end."""
        return self.process is not None

    async def stop(self, grace: float) -> None:
        """End HAProxy: listeners close at once, requests in flight may finish within `grace` seconds."""
        process, self.process = self.process, None
        if process is not None:
            group = [*await asyncio.to_thread(members, process), *self.orphans]
            await _signal([process], signal.SIGUSR1 if grace > 0 else signal.SIGTERM)
            if not await self._finished(process.pid, group, grace):
                await _signal(group, signal.SIGTERM)
                if not await self._gone(group, 2.0):
                    await _signal(group, signal.SIGKILL)
            await self._gone(group, 1.0)
            reap(process.pid)
        await asyncio.to_thread(self.files.pid.unlink, missing_ok=True)
        self.output.close()

    async def _finished(self, leader: int, group: list[Identity], grace: float) -> bool:
        """Until all of `group` are gone; False when `grace` is over, or as soon as nothing has been in flight for `QUIET`.

        Workers leave idle connections open while they stop (`idle-close-on-response`), so most would use up any grace.
        """
        end = self._clock.now() + grace
        busy = self._clock.now()
        while not await self._gone(group, min(LOOK_EVERY, max(0.0, end - self._clock.now()))):
            now = self._clock.now()
            if now >= end or now - busy >= QUIET:
                return False
            if await self._in_flight([one for one in group if one.pid != leader]):
                busy = self._clock.now()
        return True

    async def _in_flight(self, workers: list[Identity]) -> bool:
        """Whether somebody waits for one of `workers`; one that does not say so may be busy."""
        try:
            for worker in workers:
                if await asyncio.to_thread(alive, worker) and in_flight(await self.ask_worker(worker.pid, "show fd")):
                    return True
        except Unanswered:
            return True
        return False

    async def kill(self) -> None:
        """End a HAProxy that does not answer any more, without asking it."""
        process = self.process
        if process is not None:
            group = await asyncio.to_thread(members, process)
            await _signal(group, signal.SIGKILL)
            await self._gone(group, 2.0)
            reap(process.pid)
            if self.process is process:
                self.process = None

    def leave(self) -> None:
        """Let HAProxy run on without us; the next node adopts it."""
        self.output.close()

    async def _ask(self, question: str, within: float) -> str:
        """One command to the master; it re-executes itself after a start or reload and is deaf for some milliseconds."""
        end = self._clock.now() + 1.0
        while True:
            try:
                return await exchange(self.files.master, question + "\n", within=within)
            except Unanswered as error:
                if not isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError | ConnectionResetError):
                    raise
                if self._clock.now() >= end:
                    raise
            await self._clock.sleep(0.01)

    async def _ready(self, process: Identity) -> None:
        """Until the new master's worker, and not an orphan's socket, answers."""
        end = self._clock.now() + START_TIMEOUT
        while True:
            try:
                workers = parse_workers(await exchange(self.files.master, "show proc;quit\n"))
                info = parse_info(await self.runtime.ask("show info"))
                if workers.master == process.pid and info.get("Pid") == str(workers.current):
                    return
            except Unanswered:
                pass
            if not await asyncio.to_thread(alive, process):
                self.output.read()
                said = self.output.alerts() or list(self.output.lines)[-1:] or ["it ended without a word"]
                reap(process.pid)
                raise GatewayRefused(f"HAProxy did not start: {said[0]}", hint="see the gateway's log")
            if self._clock.now() >= end:
                raise GatewayRefused(f"HAProxy did not answer within {START_TIMEOUT:g} s", hint="see the gateway's log")
            await self._clock.sleep(0.003)

    async def _gone(self, group: list[Identity], seconds: float) -> bool:
        end = self._clock.now() + seconds
        while any(await asyncio.to_thread(_living, group)):
            if self._clock.now() >= end:
                return False
            await self._clock.sleep(max(0.01, seconds / 100))
        return True

    def _spawn(self, argv: list[str], output: int) -> Identity:
        process = spawn(argv, environment=self._environment, output=output)
        replace_file(self.files.pid, msgspec.json.encode(process), durable=False)
        return process

    def _take_back(self, earlier: Identity, before: Path | None) -> None:
        """The successor did not come up: `earlier` goes on, from the folder `before`."""
        self.process, self.orphans = earlier, []
        replace_file(self.files.pid, msgspec.json.encode(earlier), durable=False)
        if before is not None:
            self.folder.promote(before)

    def _prepare(self, folder: Path, states: str) -> list[Identity]:
        """Everything a start needs; the processes that an earlier master left, or that are to finish."""
        private_folder(self.files.root)
        # what was dumped before an earlier reload is old news now
        replace_file(self.files.state, (states or NO_STATES).encode(), durable=False)
        earlier = recorded(self.files.pid)
        left = [process for process in self.orphans if alive(process)]
        left += members(earlier) if earlier is not None else []
        self._refuse_taken_ports(folder, {process.pid for process in left})
        return left

    def _refuse_taken_ports(self, folder: Path, ours: set[int] | None = None) -> None:
        if ours is None:
            group = [] if self.process is None else members(self.process)
            ours = {process.pid for process in (*group, *self.orphans)}
        refuse_taken(bound((folder / MAIN).read_text()), ours=ours, present=listeners())


def _refusal(folder: Path, ran: Ran) -> GatewayRefused:
    said = complaints(ran.output) or [ran.output.strip()[-300:] or f"it ended with {ran.code}"]
    named = _LINE.search(said[0])
    lines = (folder / MAIN).read_text(errors="replace").splitlines()
    shown = lines[int(named[1]) - 1].strip() if named and 0 < int(named[1]) <= len(lines) else ""
    return GatewayRefused(
        f"HAProxy refuses the configuration: {said[0]}" + (f" (the line: {scrub(shown, limit=300)})" if shown else ""),
        hint="the last good configuration stays; this is a bug in atoll, please report it with this line",
        line=int(named[1]) if named else None,
    )


def _living(group: list[Identity]) -> list[bool]:
    return [alive(process) for process in group]


async def _signal(group: list[Identity], number: signal.Signals) -> None:
    for process in group:
        await asyncio.to_thread(send, process, number)
