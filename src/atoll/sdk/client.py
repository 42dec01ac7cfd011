"""An asynchronous client of the control plane, over its unix socket or a URL.

Promises: an answer of the right shape within its time, or an AtollError: problem documents become the error classes
they were made from, everything else (refused, slow, garbage, HTML, half an answer) becomes Unreachable. Memory is
bounded by `answer_limit`, or by one event of a watch. Nothing is retried here but watching; see `watch`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from atoll.errors import Compacted, Resync, TooLarge, Unreachable
from atoll.kit.backoff import Backoff
from atoll.kit.clock import Clock, SystemClock
from atoll.kit.text import scrub
from atoll.model.answers import (
    Applied,
    FactChange,
    FactPage,
    FailoverRequest,
    History,
    Instances,
    LeaderView,
    MaintenanceEnd,
    MaintenanceRequest,
    Maintenances,
    Nodes,
    Receivers,
    Registered,
    Routes,
    RouteView,
    ServiceFact,
    Services,
    ServiceView,
    StateChange,
    Status,
    Written,
)
from atoll.model.keys import FACTS
from atoll.model.names import InstanceId, RouteName, ServiceName
from atoll.model.project import Plan, Project
from atoll.model.registration import Registration
from atoll.model.report import NodeReport
from atoll.model.route import Route
from atoll.model.service import Service, State
from atoll.sdk.events import Frames
from atoll.sdk.problem import error_of
from atoll.sdk.watch import Watch

T = TypeVar("T")
Query = Iterable[tuple[str, str | int | float]]
ANSWER_LIMIT = 256 << 20
"""Bytes of one answer."""
REFUSAL_LIMIT = 1 << 20
SILENCE = 20.0
"""Seconds without even a progress mark (they come every 5) after which a watch counts as broken."""
REVISION = "x-atoll-revision"


class Client:
    """One control plane. Use it as an async context manager, or call `close`."""

    def __init__(
        self,
        *,
        token: str,
        socket: Path | None = None,
        url: str = "http://127.0.0.1:7070",
        timeout: float = 10.0,
        clock: Clock | None = None,
        answer_limit: int = ANSWER_LIMIT,
    ) -> None:
        self._clock = clock or SystemClock()
        self._answer_limit = answer_limit
        self._timeout = timeout
        self._where = str(socket or url)
        transport = httpx2.AsyncHTTPTransport(
            uds=None if socket is None else str(socket),
            trust_env=False,
            limits=httpx2.Limits(max_connections=64, max_keepalive_connections=8, keepalive_expiry=30.0),
        )
        self._http = httpx2.AsyncClient(
            base_url="http://localhost" if socket is not None else url,
            transport=transport,
            headers={"Authorization": f"Bearer {token}", "User-Agent": "atoll-sdk"},
            timeout=timeout,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Facts ------------------------------------------------------------------------------------------------------

    async def facts(self, prefixes: Sequence[str] = FACTS) -> FactPage:
        """Every fact under `prefixes`, at one revision."""
        asked: list[tuple[str, str | int]] = [("prefix", prefix) for prefix in prefixes]
        for _ in range(3):
            try:
                page = await self.call("GET", "/api/v1/facts", FactPage, query=asked)
                facts = list(page.facts)
                while page.more:
                    more = [*asked, ("after", page.facts[-1].key), ("revision", page.revision)]
                    page = await self.call("GET", "/api/v1/facts", FactPage, query=more)
                    facts.extend(page.facts)
            except Compacted:  # so much was written while we read; begin again
                continue
            return FactPage(page.revision, tuple(facts))
        raise Compacted("the facts changed faster than they could be listed", hint="try again")

    def watch(self, prefixes: Sequence[str] = FACTS, *, patience: float = 5.0) -> Watch:
        """The facts under `prefixes`, kept current for ever; see `Watch`.

        `patience`: seconds between two tries at most while the control plane is away.
        """
        return Watch(self, prefixes, self._clock, Backoff(base=0.1, cap=patience))

    @asynccontextmanager
    async def changes(self, prefixes: Sequence[str], start: int) -> AsyncIterator[AsyncIterator[FactChange]]:
        """What changes from revision `start` on, until the connection breaks.

        Raises:
            Compacted, Resync: list, then watch from the listed revision.
            Unreachable: the control plane cannot be heard.
        """
        query: list[tuple[str, str | int | float | bool | None]] = [("prefix", prefix) for prefix in prefixes]
        query.append(("start", start))
        try:
            async with self._http.stream(
                "GET",
                "/api/v1/watch",
                params=query,
                headers={"Accept": "text/event-stream"},
                timeout=httpx2.Timeout(self._timeout, read=SILENCE),
            ) as answer:
                if answer.status_code != 200:
                    raise error_of(answer.status_code, await _bounded(answer, REFUSAL_LIMIT))
                if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self._odd("did not answer a watch with events")
                now = answer.headers.get(REVISION, "")
                if now.isdigit() and int(now) < start - 1:
                    raise Resync("the store is another one than before: its revision is lower", hint="list anew")
                yield self._changes(answer)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    async def _changes(self, answer: httpx2.Response) -> AsyncIterator[FactChange]:
        frames = Frames()
        try:
            async for piece in answer.aiter_raw():
                for frame in frames.feed(piece):
                    if frame.event == "resync":
                        raise error_of(Resync.status, frame.data)
                    if frame.event in {"change", "progress"}:
                        yield self._decode(frame.data, FactChange)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    # Registry ---------------------------------------------------------------------------------------------------

    async def register(self, service: ServiceName, instance: InstanceId, said: Registration) -> Registered:
        """Register or renew an instance: the same call, with the lease of the last answer in `said.lease`.

        Raises:
            LeaseConflict: a newer registration holds the id.
            LeaseExpired: register again without a lease.
        """
        return await self.call("PUT", _instance(service, instance), Registered, body=said)

    async def renew(self, registered: Registered, said: Registration) -> Registered:
        """Renew what an earlier answer gave.

        Raises:
            LeaseConflict, LeaseExpired: as `register`.
        """
        held = msgspec.structs.replace(said, lease=registered.lease)
        return await self.register(registered.instance.service, registered.instance.id, held)

    async def deregister(self, service: ServiceName, instance: InstanceId, *, lease: str = "") -> Written:
        """Remove an instance; with `lease`, only if that is the one that counts.

        Raises:
            NotFound: it is not registered (any more).
        """
        query = [("lease", lease)] if lease else []
        return await self.call("DELETE", _instance(service, instance), Written, query=query)

    async def set_state(
        self, service: ServiceName, instance: InstanceId, state: State, *, cause: str = ""
    ) -> Instances:
        """The operator's word: draining, maint, or passing (which takes it back)."""
        body = StateChange(state=state, cause=cause)
        return await self.call("PUT", f"{_instance(service, instance)}/state", Instances, body=body)

    async def maintain(self, target: str, reason: str, *, seconds: float | None = None) -> Written:
        """Take a service (`orders`), an instance (`orders/orders-2`), a zone (`zone:b`) or a machine (`node:m1`) out of the traffic.

        `seconds`: how long; None: until `end_maintenance`.
        """
        body = MaintenanceRequest(target=target, reason=reason, seconds=seconds)
        return await self.call("POST", "/api/v1/maintenance", Written, body=body)

    async def end_maintenance(self, target: str) -> Written:
        """Give it its traffic back.

        Raises:
            NotFound: it is not in maintenance.
        """
        return await self.call("POST", "/api/v1/maintenance/end", Written, body=MaintenanceEnd(target=target))

    async def maintenance(self) -> Maintenances:
        """What an operator took out of the traffic."""
        return await self.call("GET", "/api/v1/maintenance", Maintenances)

    async def failover(
        self, service: ServiceName, reason: str, *, to: str | None = None, seconds: float = 600.0
    ) -> ServiceFact:
        """Send a service's requests to one of its groups for `seconds`; without `to`, back to the first one."""
        body = FailoverRequest(to=to, reason=reason, seconds=seconds)
        return await self.call("POST", f"{_service(service)}/failover", ServiceFact, body=body)

    async def leader(self, service: ServiceName) -> LeaderView:
        """Who leads a service of `mode: active-passive`, with the fencing number of the term.

        Raises:
            NotFound: there is no such service, or it has no leader.
        """
        return await self.call("GET", f"{_service(service)}/leader", LeaderView)

    async def report(self, report: NodeReport) -> Written:
        """Tell what this node runs."""
        return await self.call("PUT", f"/api/v1/nodes/{_part(report.node)}/report", Written, body=report)

    # Reading ----------------------------------------------------------------------------------------------------

    async def services(self) -> Services:
        """Every service with its instances."""
        return await self.call("GET", "/api/v1/services", Services)

    async def service(self, name: ServiceName) -> ServiceView:
        """One service with its instances."""
        return await self.call("GET", _service(name), ServiceView)

    async def instances(self, service: ServiceName, *, state: State | None = None) -> Instances:
        """The instances of a service, all or those in one state."""
        query = [("state", state.value)] if state else []
        return await self.call("GET", f"{_service(service)}/instances", Instances, query=query)

    async def history(
        self, service: ServiceName, *, since: float | None = None, until: float | None = None, limit: int = 1000
    ) -> History:
        """What happened to the instances of a service, between two wall times."""
        query: list[tuple[str, str | int | float]] = [("limit", limit)]
        query += [(name, value) for name, value in (("since", since), ("until", until)) if value is not None]
        return await self.call("GET", f"{_service(service)}/history", History, query=query)

    async def receivers(self, service: ServiceName, at: float) -> Receivers:
        """Who could receive traffic at a wall time."""
        return await self.call("GET", f"{_service(service)}/history", Receivers, query=[("at", at)])

    async def routes(self) -> Routes:
        """Every route."""
        return await self.call("GET", "/api/v1/routes", Routes)

    async def nodes(self) -> Nodes:
        """Every node that reported lately."""
        return await self.call("GET", "/api/v1/nodes", Nodes)

    async def status(self) -> Status:
        """The control plane about itself."""
        return await self.call("GET", "/api/v1/status", Status)

    # Writing ----------------------------------------------------------------------------------------------------

    async def put_service(self, service: Service, *, modified: int | None = None) -> ServiceFact:
        """Write a service; with `modified`, only if it was last changed at that revision."""
        return await self.call("PUT", _service(service.name), ServiceFact, body=service, modified=modified)

    async def delete_service(self, name: ServiceName, *, force: bool = False) -> Written:
        """Remove a service; with `force`, its instances as well."""
        return await self.call("DELETE", _service(name), Written, query=[("force", str(force).lower())])

    async def scale(self, name: ServiceName, replicas: int) -> ServiceFact:
        """Say how many instances shall run."""
        return await self.call("POST", f"{_service(name)}/scale", ServiceFact, body={"replicas": replicas})

    async def start(self, name: ServiceName) -> ServiceFact:
        """Start a stopped service."""
        return await self.call("POST", f"{_service(name)}/start", ServiceFact)

    async def stop(self, name: ServiceName) -> ServiceFact:
        """Stop every instance and start none."""
        return await self.call("POST", f"{_service(name)}/stop", ServiceFact)

    async def restart(self, name: ServiceName, *, rolling: bool = False) -> ServiceFact:
        """Replace every running instance."""
        return await self.call("POST", f"{_service(name)}/restart", ServiceFact, body={"rolling": rolling})

    async def put_route(self, route: Route, *, modified: int | None = None) -> RouteView:
        """Write a route; with `modified`, only if it was last changed at that revision."""
        return await self.call("PUT", f"/api/v1/routes/{_part(route.name)}", RouteView, body=route, modified=modified)

    async def delete_route(self, name: RouteName) -> Written:
        """Remove a route."""
        return await self.call("DELETE", f"/api/v1/routes/{_part(name)}", Written)

    async def plan(self, project: Project) -> Plan:
        """What applying a project would do."""
        return await self.call("POST", "/api/v1/project/plan", Plan, body=project)

    async def apply(self, project: Project) -> Applied:
        """Apply a project as one commit."""
        return await self.call("POST", "/api/v1/project/apply", Applied, body=project)

    async def call(
        self,
        method: str,
        path: str,
        kind: type[T],
        *,
        body: Any = None,
        query: Query = (),
        modified: int | None = None,
    ) -> T:
        """One request; its answer as `kind`.

        Raises:
            Unreachable: no whole answer of the right shape came in time.
            AtollError: the control plane refused; the class follows the problem's code.
        """
        headers = {} if modified is None else {"If-Match": str(modified)}
        content = None
        if body is not None:
            content = msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._http.stream(method, path, params=list(query), content=content, headers=headers) as answer,
            ):
                found = await _bounded(answer, self._answer_limit)
        except TimeoutError:
            raise Unreachable(
                f"the control plane at {scrub(self._where)} did not answer within {self._timeout:g} s",
                hint="it may be stopped or overloaded",
            ) from None
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None
        if not 200 <= answer.status_code < 300:
            raise error_of(answer.status_code, found)
        return self._decode(found, kind)

    def _decode(self, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise self._odd("did not answer as the control plane of this version does") from None

    def _odd(self, what: str) -> Unreachable:
        return Unreachable(f"{scrub(self._where)} {what}", hint="is this atoll's URL or socket, of the same version?")

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        return Unreachable(
            f"the control plane at {scrub(self._where)} cannot be reached: {type(error).__name__}",
            hint="start it with `atoll up`",
        )


async def _bounded(answer: httpx2.Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in answer.aiter_raw():
        size += len(piece)
        if size > limit:
            raise TooLarge(f"the answer is over {limit} bytes", hint="ask for less")
        pieces.append(piece)
    return b"".join(pieces)


def _part(name: str) -> str:
    return quote(name, safe="")


def _service(name: str) -> str:
    return f"/api/v1/services/{_part(name)}"


def _instance(service: str, instance: str) -> str:
    return f"{_service(service)}/instances/{_part(instance)}"
