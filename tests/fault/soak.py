"""Hours of a whole platform under load, churn and faults: `make soak` (8 h), `SOAK=10m make soak` (short form).

Twenty small services, 100 requests a second, one registration or write a second, a random fault every 30 s. After each
fault the platform must be right again and every promise is judged over what happened since the one before. First
every kind of fault happens a few times in quick succession: what a process needs at most it has then needed. In the second half
of the time our own processes are not ended any more; memory, descriptors and tasks are sampled, and their slope is told.
A request may fail only while a fault that must cost something is open, and only of the service that it hit.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.cli.numbers import seconds as duration
from atoll.registry.leases import ENDED_LIMIT
from atoll.testing.history import Call, History, Outcome
from atoll.testing.promises import Breach, acked_is_durable, lease_floor, refused_did_not_happen, revisions_grow
from tests.fault.checks.slope import Slope, slope
from tests.fault.drivers.driver_api_watch import deletions, driver_api_watch, service_log
from tests.fault.drivers.driver_api_writes import driver_api_writes
from tests.fault.drivers.guests import Guests
from tests.fault.drivers.http import Answer, Broken, Client
from tests.fault.drivers.pace import paced
from tests.fault.drivers.upstream import Upstream, upstreams
from tests.fault.platform import Fleet, Parts, own_fleet
from tests.fault.soak_faults import FATAL, FAULTS

SERVICES = 20
PAIRS = 6
"""Services of two instances: a fault of one of them must cost nothing."""
RATE = 100.0
CONNECTIONS = 10
FAULT_EVERY = 30.0
SAMPLE_EVERY = 5.0
CONVERGE = 45.0
"""Seconds after a fault until everything must agree; generous, for the machine does the load as well."""
NOTICED = 2.5
"""Seconds from a fault's end to the first look: reports are a second old, so right before that means nothing."""
GUESTS = 10
GUEST_TTL = 10.0
FILLING = ENDED_LIMIT
"""Registrations before the measuring begins, as many at a time as go: what is bounded is full then."""
ROUNDS = 2
"""Times that every kind of fault happens before the measuring begins: what is taken for the first time is no growth."""
OLD_WORKERS = 5
MEMORY_LIMIT = 1.0
"""MiB per hour that a process of ours may grow."""
MEMORY_STEP = 0.125
"""MiB that the C library asks for at a time."""
FAILURES_KEPT = 1000
KNOBS = {
    "ATOLL_REGISTRY_TTL": "10",
    # bounds that take hours to reach would look like growth until then
    "ATOLL_STORE_HISTORY": "500",
    "ATOLL_REGISTRY_HISTORY_LIMIT": "200",
}
NUMBERS = re.compile(r"^(atoll_[a-z_]+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
SAMPLED = ("atoll_process_resident_memory_bytes", "atoll_process_open_fds", "atoll_process_tasks")


def project() -> str:
    """The services, each with a route of its own."""
    names = [f"s{number:02}" for number in range(SERVICES)]
    lines = ["name: soak", "services:"]
    for number, name in enumerate(names):
        lines.append(f"  {name}:\n    command: python service.py\n    healthcheck: {{http: /healthz, interval: 1s}}")
        if number < PAIRS:
            lines.append("    replicas: 2")
    lines += ["gateway:", "  routes:"]
    lines += [f"    - {{name: {name}, match: {{path_prefix: /{name}}}, service: {name}}}" for name in names]
    return "\n".join(lines) + "\n"


class Tail(History):
    """A history that keeps only what was not answered in memory, and nothing on disk: hours of it fit."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull))
        self.answered = 0
        self.slowest = 0.0
        self.left_out = 0

    def append(self, call: Call) -> None:
        """Count it; keep it if it failed."""
        if call.outcome is Outcome.OK:
            self.answered += 1
            self.slowest = max(self.slowest, call.end - call.start)
        elif len(self.calls) < FAILURES_KEPT:
            self.calls.append(call)
        else:
            self.left_out += 1


@dataclass
class Excuse:
    """A time in which requests of `service` (empty: of any) may fail."""

    service: str
    began: float
    ended: float = float("inf")

    def covers(self, call: Call) -> bool:
        """Whether a failed request is one of those."""
        mine = not self.service or call.arguments["path"].startswith(f"/{self.service}")
        return mine and call.start <= self.ended and call.end >= self.began


@dataclass
class Soak:
    """One run."""

    fleet: Fleet
    seconds: float
    seed: int
    rng: random.Random = field(init=False)
    requests: Tail = field(default_factory=Tail)
    facts: History = field(default_factory=lambda: History(Path(os.devnull)))
    """Writes, registrations and watches since the last judgement."""
    excuses: list[Excuse] = field(default_factory=list)
    broken: list[Breach] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    bag: list[str] = field(default_factory=list)
    """Faults that are still to come in this round."""
    sparing: bool = False
    """No process of ours is ended any more; see `FATAL`."""
    took: list[float] = field(default_factory=list)
    """Seconds from the end of each fault until everything agreed."""
    excused: int = 0
    samples: dict[str, dict[tuple[str, str], list[tuple[float, float]]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    old_workers: int = 0
    scrapes: int = 0
    expired: dict[int, int] = field(default_factory=dict)
    """Instances that expired, by control plane; of the one that was seen last."""
    judged: int = 0
    """Revision up to which the log was compared with what was acknowledged."""
    churning: asyncio.Event = field(default_factory=asyncio.Event)
    at_rest: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.churning.set()

    # Load and churn

    async def load(self, number: int) -> None:
        """One connection's share of the requests, over all services."""
        rng = random.Random(self.seed + number)
        with Client(self.fleet.place) as client:
            async for _ in paced(RATE / CONNECTIONS, calls=1 << 40, seconds=self.seconds + 3600):
                if self.stop.is_set():
                    return
                path = f"/s{rng.randrange(SERVICES):02}/x"
                with self.requests.call(f"load-{number}", "request", path=path) as call:
                    try:
                        answer = await client.ask("GET", path)
                    except Broken as broken:
                        call.lost(broken.how)
                        continue
                    if answer.status == 200:
                        call.answered()
                    else:
                        call.refused(_why(answer))

    async def fill(self, places: list[Upstream]) -> None:
        """Fill what is bounded, so that growth after it is growth. Nothing that is to be judged may happen meanwhile."""
        with Client(
            self.fleet.settings.socket, headers={"Authorization": f"Bearer {self.fleet.platform.token}"}
        ) as api:
            for number in range(FILLING):
                path = f"/api/v1/services/filling/instances/f-{number % GUESTS}"
                await api.ask("PUT", path, {"port": places[number % GUESTS].port, "ttl": GUEST_TTL})
                await api.ask("DELETE", path)
        self.judged = (await self.do("GET", "/status"))["revision"]
        self.facts.calls = []

    async def churn(self, places: list[Upstream]) -> None:
        """One write or registration a second, and renewals of those who are registered."""
        api, token = self.fleet.settings.socket, self.fleet.platform.token
        guests = Guests("guests", places, self.facts, ttl=GUEST_TTL)
        number = 0
        with Client(api, headers={"Authorization": f"Bearer {token}"}) as client:
            while not self.stop.is_set():
                self.at_rest.clear()
                await guests.renew(client)
                if self.churning.is_set():
                    number += 1
                    which = self.rng.randrange(GUESTS)
                    if number % 2:
                        await driver_api_writes(
                            self.facts, api, token, f"w{number}", rng=self.rng, services=1, calls=1, seconds=30
                        )
                        await client_delete(client, f"/api/v1/services/w{number - 8}-0")
                    else:
                        await guests.turn(client, which)
                else:
                    self.at_rest.set()
                await asyncio.sleep(1.0 if self.churning.is_set() else 0.1)

    # Sampling

    async def sample(self) -> None:
        """Our own numbers every few seconds, by life of their process."""
        while not self.stop.is_set():
            with contextlib.suppress(OSError, ValueError, AssertionError, http.client.HTTPException):
                before = await asyncio.to_thread(self.fleet.parts)
                text = await asyncio.to_thread(self._scrape)
                after = await asyncio.to_thread(self.fleet.parts)
                if (before.control_plane, before.master, before.workers) == (
                    after.control_plane,
                    after.master,
                    after.workers,
                ):
                    self._take(text, after)
            await asyncio.sleep(SAMPLE_EVERY)

    def _scrape(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.fleet.platform.api_port, timeout=3)
        try:
            connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self.fleet.platform.token}"})
            answer = connection.getresponse()
            content = answer.read().decode()
            assert answer.status == 200, content
            return content
        finally:
            connection.close()

    def _take(self, text: str, parts: Parts) -> None:
        now = time.monotonic()
        pids = {"control-plane": parts.control_plane, "node": parts.node, "gateway": parts.master}
        self.scrapes += 1
        for name, labels, number in NUMBERS.findall(text):
            if name == "atoll_gateway_old_workers":
                self.old_workers = max(self.old_workers, int(float(number)))
            if name in SAMPLED:
                process = re.findall(r'process="([^"]*)"', labels)[0]
                workers = sorted(parts.workers) if process == "gateway" else ""
                life = f"{pids[process]} {workers}"  # another worker is another life
                self.samples[name][process, life].append((now, float(number)))

    # Faults

    async def fault(self) -> str:
        """One fault, from its beginning to its end; what it may cost is excused. All of them in random order, again and again."""
        if not self.bag:
            names = sorted(FAULTS.keys() - (FATAL if self.sparing else frozenset()))
            self.bag = self.rng.sample(names, len(names))
        name = self.bag.pop()
        await FAULTS[name](self)
        self.faults[name] += 1
        return name

    @asynccontextmanager
    async def costs(self, service: str = "") -> AsyncIterator[None]:
        """Requests of a service may fail from now until everything agrees again after the block."""
        excuse = Excuse(service, time.monotonic())
        self.excuses.append(excuse)
        yield

    def pair(self) -> str:
        """A service of two instances."""
        return f"s{self.rng.randrange(PAIRS):02}"

    def single(self) -> str:
        """A service of one."""
        return f"s{self.rng.randrange(PAIRS, SERVICES):02}"

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API that must succeed."""
        return await asyncio.to_thread(self.fleet.platform.done, method, path, body)

    # Judgement

    async def judge(self, name: str) -> None:
        """After a fault: right again in time, and every promise held since the last judgement."""
        await asyncio.sleep(NOTICED)
        self.churning.clear()
        await self.at_rest.wait()
        try:
            self.took.append(await self.fleet.converged(within=CONVERGE))
        except AssertionError as error:
            self.broken.append(Breach("converges", f"after {name}: {error}"))
        now = time.monotonic()
        for excuse in self.excuses:
            excuse.ended = min(excuse.ended, now)
        failed, self.requests.calls = self.requests.calls, []
        bad = [call for call in failed if not any(excuse.covers(call) for excuse in self.excuses)]
        self.excused += len(failed) - len(bad)
        self.broken += [
            Breach("no-request-failed", f"during {name}: {call.arguments['path']} at {call.start:.2f}: {call.error}")
            for call in bad
        ]
        self.excuses = [excuse for excuse in self.excuses if excuse.ended > now - 60]
        await self._judge_facts(name)
        self.churning.set()

    async def _judge_facts(self, name: str) -> None:
        calls, self.facts.calls = list(self.facts.calls), []
        status = await self.do("GET", "/status")
        log = await service_log(self.fleet.settings.socket, self.fleet.platform.token, start=self.judged + 1)
        writes = [call for call in calls if call.revision is None or call.revision > self.judged]
        found = [
            *acked_is_durable(writes, log, compacted=self.judged),
            *refused_did_not_happen(calls, log),
            *revisions_grow(calls),
            *lease_floor(calls, deletions(calls)),
        ]
        if status["revision"] < self.judged:
            found.append(Breach("revisions-grow", f"{status['revision']} after {self.judged}"))
        found += await self._expired(status["pid"], status["expired"])
        if self.old_workers > OLD_WORKERS:
            found.append(Breach("old-workers-bounded", f"{self.old_workers} old workers"))
        self.broken += [Breach(breach.promise, f"during {name}: {breach.detail}") for breach in found]
        self.judged = status["revision"]

    async def _expired(self, control_plane: int, count: int) -> list[Breach]:
        """Who expired since the last judgement, though all were renewed; `count` since the control plane started."""
        before = self.expired.get(control_plane, 0)
        self.expired = {control_plane: count}
        if count <= before:
            return []
        views = await self.do("GET", "/services")
        names = [view["service"]["name"] for view in views["services"]]
        told = [record for name in names for record in (await self.do("GET", f"/services/{name}/history"))["records"]]
        gone = sorted((one["at"], one["instance"]) for one in told if one["verb"] == "expired")[before - count :]
        who = ", ".join(f"{name} at {time.strftime('%H:%M:%S', time.localtime(at))}" for at, name in gone)
        return [Breach("nobody-expires", f"{count - before} expired though all were renewed: {who}")]

    # The whole

    async def run(self) -> None:
        """Until the time is over."""
        async with upstreams(*(f"g-{number}" for number in range(GUESTS))) as places, asyncio.TaskGroup() as group:
            await self.fill(places)
            for number in range(CONNECTIONS):
                group.create_task(self.load(number))
            group.create_task(self.churn(places))
            group.create_task(self.sample())
            group.create_task(
                driver_api_watch(
                    self.facts,
                    self.fleet.settings.socket,
                    self.fleet.platform.token,
                    "watcher",
                    prefix="instances/",
                    start=self.judged + 1,
                    stop=self.stop,
                )
            )
            for _ in range(ROUNDS * len(FAULTS)):
                await self.fault_and_judgement()
            half, until = time.monotonic() + self.seconds / 2, time.monotonic() + self.seconds
            say("every kind of fault has happened; now in random order")
            while time.monotonic() < until:
                began = time.monotonic()
                if began >= half and not self.sparing:
                    await self.spare(places)
                await self.fault_and_judgement()
                await asyncio.sleep(max(0.0, min(FAULT_EVERY - (time.monotonic() - began), until - time.monotonic())))
            await self.judge("the end")
            self.stop.set()

    async def spare(self, places: list[Upstream]) -> None:
        """End none of our own processes any more, and measure them. What is bounded ended with the last one: it is filled again."""
        self.churning.clear()
        await self.at_rest.wait()
        await self.fill(places)
        self.churning.set()
        self.sparing, self.bag = True, []
        self.samples.clear()
        say("our own processes are spared from now on, and measured")

    async def fault_and_judgement(self) -> None:
        """The next fault, and what is to be said of it."""
        broken = len(self.broken)
        try:
            name = await self.fault()
        except (OSError, AssertionError, LookupError) as error:
            name = "a fault that could not be made"
            self.broken.append(Breach("answers", f"{type(error).__name__}: {error}"[:500]))
        await self.judge(name)
        say(f"{name}: right after {self.took[-1] if self.took else 0:.1f} s, {self.requests.answered} answered")
        for breach in self.broken[broken:][:5]:
            say(f"  BROKEN {breach.promise}: {breach.detail}"[:600])

    def slopes(self) -> dict[str, Slope]:
        """Of every sampled number of every process; memory in MiB."""
        found = {}
        for name, series in self.samples.items():
            scale = 1 << 20 if name.endswith("_bytes") else 1
            for process in sorted({process for process, _ in series}):
                lives = {
                    life: [(at, number / scale) for at, number in points]
                    for (whose, life), points in series.items()
                    if whose == process
                }
                found[f"{name} {process}"] = slope(lives, step=MEMORY_STEP if scale > 1 else 1.0)
        return found


async def client_delete(client: Client, path: str) -> None:
    """Remove what an earlier write made, if it is still there and somebody answers."""
    with contextlib.suppress(Broken):
        await client.ask("DELETE", path)


def _why(answer: Answer) -> str:
    return f"status {answer.status}: {answer.body[:120]!r}"


def say(text: str) -> None:
    """One line, at once, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def verdict(soak: Soak) -> dict[str, Any]:
    """The figures."""
    slopes = soak.slopes()
    grows = [
        f"{name}: {one.per_hour:+.2f} ± {one.error:.2f} per hour"
        for name, one in slopes.items()
        if one.verdict(MEMORY_LIMIT) == "grows"
    ]
    return {
        "seed": soak.seed,
        "seconds": soak.seconds,
        "requests": soak.requests.answered,
        "failed but excused": soak.excused,
        "left out": soak.requests.left_out,
        "slowest answer": round(soak.requests.slowest, 3),
        "faults": dict(soak.faults),
        "right again after, most": round(max(soak.took, default=0.0), 2),
        "old workers, most": soak.old_workers,
        "scrapes": soak.scrapes,
        "slopes per hour": {
            name: f"{one.per_hour:+.3f} ± {one.error:.3f} ({one.points} points): {one.verdict(MEMORY_LIMIT)}"
            for name, one in slopes.items()
        },
        "grows": grows,
        "broken": [f"{breach.promise}: {breach.detail}" for breach in soak.broken],
    }


def main() -> int:
    """0: every promise held and nothing grew."""
    seconds = duration(os.environ.get("SOAK", "8h"), name="SOAK")
    seed = int(os.environ.get("ATOLL_FAULT_SEED") or random.SystemRandom().randrange(1 << 32))
    say(f"soaking for {seconds:g} s; again with ATOLL_FAULT_SEED={seed}")
    with own_fleet(project(), **KNOBS) as fleet:
        soak = Soak(fleet, seconds, seed)
        try:
            asyncio.run(soak.run())
        except Exception:  # noqa: BLE001 -- what was measured until then is worth telling
            soak.broken.append(Breach("soak", traceback.format_exc()))
        found = verdict(soak)
    kept = Path(".fault")
    kept.mkdir(exist_ok=True)
    lives = {
        f"{name} {process} {life}": points
        for name, all_ in soak.samples.items()
        for (process, life), points in all_.items()
    }
    (kept / f"soak-{seed}.json").write_text(json.dumps({**found, "samples": lives}, indent=1))
    print(json.dumps(found, indent=1))
    bad = bool(found["broken"] or found["grows"])
    slopes = soak.slopes().values()
    measured = bool(slopes) and all(one.points for one in slopes)
    growth = "nothing grows" if measured else "whether something grows was NOT measured: the time was too short"
    say("NOT GOOD" if bad else f"every promise held, {growth}")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
