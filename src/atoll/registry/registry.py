"""The registry: register, renew, deregister, the operator's word. Who is there, and who holds which lease.

Promises: an acknowledged registration is on disk; a renewal that changes nothing is memory only; the newest
registration of an id wins and older holders are refused; every change stands in the history, in the same commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from atoll import settings
from atoll.errors import Conflict, EndpointInUse, InvalidValue, LeaseConflict, NotFound, StorageFull
from atoll.kit.clock import Clock
from atoll.kit.logs import Log
from atoll.kit.text import scrub
from atoll.model.address import Endpoint
from atoll.model.answers import Registered, Verb
from atoll.model.breaker import MOMENT_CEILING
from atoll.model.keys import service_key
from atoll.model.names import InstanceId, ServiceName
from atoll.model.registration import Registration, instance_of
from atoll.model.report import NodeReport
from atoll.model.service import Instance, State
from atoll.model.snapshot import encode
from atoll.registry.admission import RENEW_SHARE, Kind, admit
from atoll.registry.breakers import recorded
from atoll.registry.commit import Draft
from atoll.registry.damping import Damper
from atoll.registry.expiry import InstanceKey, Verdict
from atoll.registry.facts import Facts, key_of, store_key
from atoll.registry.health import CAUSE_LIMIT, CHECK_CAUSE, WORDS, Health, Standing, health
from atoll.registry.history import Journal
from atoll.registry.leases import Leases, new_token
from atoll.registry.listeners import Listeners
from atoll.registry.locks import KeyLocks
from atoll.registry.nodes import REPORT_TTL, Nodes
from atoll.registry.placement import new_service
from atoll.registry.stalls import StallMeter
from atoll.store.base import Revision, Store

TRIES = 8
CHANGES_LIMIT = 1000
"""Transitions of breakers that are taken with one report."""
"""Attempts at a commit that others' writes keep overtaking, before the caller is told so."""
SERVICES_LOCK = "services"
"""Held while a service is created or deleted: mesh indexes are given out one at a time."""
VERB_OF = {
    State.PASSING: Verb.PASSING,
    State.SUSPECT: Verb.SUSPECT,
    State.FAILING: Verb.FAILING,
    State.DRAINING: Verb.DRAINING,
    State.MAINT: Verb.MAINT,
}
log = Log("registry")


class Registry:
    """Instances and their leases, over one store. `sweep.running` brings it to life."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        knobs: settings.Registry,
        *,
        service_limit: int,
        listeners: Listeners | None = None,
        make_token: Callable[[], str] = new_token,
    ) -> None:
        self.store = store
        self.clock = clock
        self.knobs = knobs
        self.service_limit = service_limit
        self.listeners = listeners or Listeners()
        self.facts = Facts(store)
        self.leases = Leases(make_token)
        self.locks = KeyLocks()
        self.journal = Journal()
        self.nodes = Nodes()
        self.meter = StallMeter()
        self.damper = Damper()
        self.verdict = Verdict()
        self.renewed: set[InstanceKey] = set()
        """Who renewed since the last verdict."""
        self.expired = 0
        self.started = clock.now()

    async def load(self) -> None:
        """Take over the facts; every instance gets its full TTL from now on."""
        await self.facts.load()
        self.started = self.clock.now()
        self.leases.follow(self.facts.snapshot.instances.values(), self.started)

    async def register(
        self, service: ServiceName, instance: InstanceId, said: Registration, *, modified: Revision | None = None
    ) -> tuple[Registered, bool]:
        """Register or renew an instance; tells also whether it is new. `modified`: only if last changed then.

        Raises:
            InvalidName, InvalidValue, AddressForbidden: the registration is refused.
            LeaseConflict, LeaseExpired: the shown lease is not the one that counts.
            EndpointInUse: another instance, whose lease holds, answers there.
            LimitReached: no room for another service.
            Conflict: `modified` does not match.
            StorageFull: it is new or changed, and there is no room on disk.
        """
        wanted = instance_of(service, instance, said, default_ttl=self.knobs.ttl)
        where = Endpoint(wanted.host, wanted.port)
        self.listeners.check(where)
        key = service, instance
        if modified is None and not self.locks.busy(store_key(key)):
            renewed = self._renew_in_memory(key, wanted, said.lease)
            if renewed:
                return renewed, False
        for attempt in range(TRIES):
            async with self._claim(key, where) as holders:
                if holders is None:
                    continue
                try:
                    return await self._register(key, wanted, said.lease, holders, modified)
                except Conflict:
                    if modified is not None or attempt == TRIES - 1:
                        raise
        raise Conflict(f"{service}/{instance} kept changing meanwhile", hint="try again", key=store_key(key))

    def _renew_in_memory(self, key: InstanceKey, wanted: Instance, shown: str) -> Registered | None:
        current = self.facts.instance(key)
        if current is None or self._standing(key) is not Standing.FRESH:
            return None
        admission = admit(current, wanted, shown, None, token="", wall=0.0)
        if admission.kind is not Kind.RENEW:
            return None
        self._touch(current)
        return self._answer(current, Revision(self.facts.revision))

    @asynccontextmanager
    async def _claim(self, key: InstanceKey, where: Endpoint) -> AsyncIterator[set[InstanceKey] | None]:
        """Be the only one who decides about an id and an endpoint; gives the endpoint's other holders.

        None: the holders changed while waiting, try again.
        """
        others = self.facts.at(where) - {key}
        names = {store_key(key), f"endpoint {where}", *map(store_key, others)}
        known = self.facts.knows(key[0])
        if not known:
            names.add(SERVICES_LOCK)
        async with self.locks.hold(*names):
            unchanged = self.facts.at(where) - {key} == others and (self.facts.knows(key[0]) or not known)
            yield others if unchanged else None

    async def _register(
        self, key: InstanceKey, wanted: Instance, shown: str, holders: set[InstanceKey], modified: Revision | None
    ) -> tuple[Registered, bool]:
        draft = self.draft()
        if modified is not None:
            draft.require(store_key(key), modified)
        current = self.facts.instance(key)
        token = self.leases.make_token()
        admission = admit(current, wanted, shown, self.leases.ended(shown), token=token, wall=draft.wall)
        if admission.kind is Kind.RENEW and current is not None:
            return await self._renew(current), False
        evicted = self._evictable(holders, wanted)
        for other in evicted:
            draft.remove(Verb.REPLACED, other, cause=f"its endpoint was taken over by {wanted.service}/{wanted.id}")
        instance = admission.instance
        if admission.kind is Kind.CHANGE:
            instance = self._with_health(instance, Standing.FRESH, draft.wall)
        instance = self._kept_out(instance, draft.wall)
        draft.change(_verb(admission.kind), instance)
        draft.require(service_key(key[0]))
        if not self.facts.knows(key[0]):
            fresh = new_service(self.facts.snapshot, key[0], wanted.protocol, self.service_limit)
            draft.put(service_key(key[0]), encode(fresh))
        revision = await draft.commit(self.store)
        for other in evicted:
            self._gone(other, "its endpoint was taken over")
        if admission.kind is Kind.REPLACE and current is not None:
            self._gone(current, "a newer registration took its id over")
        self._touch(instance)
        return self._answer(instance, revision), current is None

    def _evictable(self, holders: set[InstanceKey], wanted: Instance) -> list[Instance]:
        """The other instances at an endpoint that may be taken away because their leases lapsed."""
        found = [other for key in sorted(holders) if (other := self.facts.instance(key)) is not None]
        for other in found:
            if self._standing(key_of(other)) is Standing.FRESH:
                raise EndpointInUse(
                    f"{Endpoint(wanted.host, wanted.port)} is registered by {other.service}/{other.id}",
                    hint="deregister that one, or use its service and id to take it over",
                    service=other.service,
                    instance=other.id,
                )
        return found

    async def _renew(self, current: Instance) -> Registered:
        """Renew an instance whose lease may have lapsed; the renewal holds even when its note cannot be written."""
        self._touch(current)
        try:
            await self.settle([key_of(current)], locked=True)
        except (StorageFull, Conflict) as error:
            log.warning("a renewal could not be noted in the history", service=current.service, reason=error.code)
        found = self.facts.instance(key_of(current)) or current
        return self._answer(found, Revision(self.facts.revision))

    async def deregister(
        self, service: ServiceName, instance: InstanceId, *, lease: str = "", modified: Revision | None = None
    ) -> Revision:
        """Remove an instance; with `lease`, only if that is the one that counts.

        Raises:
            NotFound: it is not registered.
            LeaseConflict: a newer registration holds the id.
            Conflict: `modified` does not match.
        """
        key = service, instance
        async with self.locks.hold(store_key(key)):
            current = self.require(key)
            if lease and lease != current.lease:
                raise LeaseConflict(
                    f"a newer registration holds {service}/{instance}", hint="it is not yours to remove any more"
                )
            draft = self.draft()
            if modified is not None:
                draft.require(store_key(key), modified)
            draft.remove(Verb.DEREGISTERED, current, cause="deregistered")
            revision = await draft.commit(self.store)
            self._gone(current, "deregistered")
            return revision

    async def set_state(
        self,
        service: ServiceName,
        instance: InstanceId,
        state: State,
        *,
        cause: str = "",
        modified: Revision | None = None,
    ) -> tuple[Instance, Revision]:
        """The operator's word: draining or maint; passing takes it back.

        Raises:
            NotFound: it is not registered.
            InvalidValue: another state than these.
            Conflict: `modified` does not match.
        """
        if state not in WORDS | {State.PASSING}:
            raise InvalidValue(
                f"state {state.value!r} follows from leases and checks",
                hint="set draining, maint or passing",
                field="state",
            )
        key = service, instance
        async with self.locks.hold(store_key(key)):
            current = self.require(key)
            draft = self.draft()
            if modified is not None:
                draft.require(store_key(key), modified)
            word = Health(state, scrub(cause, limit=CAUSE_LIMIT) or "by operator") if state in WORDS else None
            wanted = self._believed(msgspec.structs.replace(current, state=State.PASSING, cause=""), word)
            if wanted == Health(current.state, current.cause, current.maintenance):
                return current, Revision(self.facts.revision)
            changed = msgspec.structs.replace(
                current,
                state=wanted.state,
                cause=wanted.cause,
                maintenance=wanted.maintenance,
                since=current.since if wanted.state is current.state else draft.wall,
            )
            draft.change(VERB_OF[changed.state], changed)
            revision = await draft.commit(self.store)
            return changed, revision

    async def report(self, report: NodeReport) -> None:
        """Take a node's report, and note what it changes about the health of instances.

        Raises:
            LimitReached: too many nodes.
        """
        before = self.nodes.last(report.node)
        self.nodes.take(report, self.clock.now())
        try:
            await self._tell_failovers(before, report)
            told = [
                change
                for change in report.changes[:CHANGES_LIMIT]
                if self.facts.knows(change.service) and 0 <= change.at <= MOMENT_CEILING
            ]
            if told:
                await self.store.commit(list(map(recorded, told)))
            await self.settle([(server.service, server.instance) for server in report.servers])
        except (StorageFull, Conflict) as error:
            log.warning("health could not be noted", node=report.node, reason=error.code)

    async def _tell_failovers(self, before: NodeReport | None, report: NodeReport) -> None:
        """Note where a gateway sends requests now, when that is another group than in its report before."""
        known = {each.service: each.at for each in before.failovers} if before is not None else {}
        moved = [each for each in report.failovers if each.at != known.get(each.service, each.at)]
        if moved:
            draft = self.draft()
            for each in moved:
                cause = scrub(f"{report.node} sends requests to {each.group}: {each.cause}", limit=CAUSE_LIMIT)
                draft.operations.append(self.journal.tell(Verb.FAILOVER, each.service, draft.wall, cause=cause))
            await draft.commit(self.store)

    async def settle(self, keys: list[InstanceKey], *, locked: bool = False) -> int:
        """Write down the health of those instances whose state is not what it should be; tells how many changed."""
        moved = [key for key in keys if self._transition(key)]
        if not moved:
            return 0
        if not locked:
            async with self.locks.hold(*map(store_key, moved)):
                return await self.settle(moved, locked=True)
        now = self.clock.now()
        changed = 0
        for some in (moved[start : start + 1000] for start in range(0, len(moved), 1000)):
            draft = self.draft()
            written: list[tuple[InstanceKey, bool]] = []
            for key in some:
                step = self._transition(key)
                if step:
                    before, after = step
                    returned = before.state is State.SUSPECT and after.state is State.PASSING
                    draft.change(Verb.RENEWED if returned else VERB_OF[after.state], after)
                    written.append((key, _by_check(before) or _by_check(after)))
            await draft.commit(self.store)
            for key, by_check in written:
                if by_check:
                    self.damper.changed(key, now)
            changed += len(written)
        return changed

    def _transition(self, key: InstanceKey) -> tuple[Instance, Instance] | None:
        """An instance as it is recorded and as it should be, if these differ and the change may be written now."""
        current = self.facts.instance(key)
        if current is None or (current.state in WORDS and not current.maintenance):
            return None
        wanted = self._believed(current, None)
        same_state = wanted.state is current.state
        if same_state and (wanted.cause == current.cause or _by_check(current)):
            return None  # a check's wording changes with every attempt; that is no news
        after = msgspec.structs.replace(
            current,
            state=wanted.state,
            cause=wanted.cause,
            maintenance=wanted.maintenance,
            since=current.since if same_state else self.clock.wall(),
        )
        if (
            not current.maintenance
            and not after.maintenance
            and (_by_check(current) or _by_check(after))
            and not self.damper.allows(key, self.clock.now())
        ):
            return None
        return current, after

    def _believed(self, instance: Instance, word: Health | None) -> Health:
        key, now = key_of(instance), self.clock.now()
        kept_out = self.facts.snapshot.kept_out(instance, self.clock.wall()) if word is None else None
        if kept_out is not None:
            return Health(State.MAINT, scrub(kept_out.cause, limit=CAUSE_LIMIT), kept_out.target)
        checks = self.nodes.checks(key, instance.port, now)
        if not checks and _by_check(instance) and word is None and now - self.started < REPORT_TTL:
            return Health(instance.state, instance.cause)  # after a restart, until the nodes have had time to report
        return health(word, self._standing(key), checks)

    def _with_health(self, instance: Instance, standing: Standing, wall: float) -> Instance:
        if instance.state in WORDS or _by_check(instance):
            return instance
        wanted = health(None, standing, self.nodes.checks(key_of(instance), instance.port, self.clock.now()))
        since = instance.since if wanted.state is instance.state else wall
        return msgspec.structs.replace(instance, state=wanted.state, cause=wanted.cause, since=since)

    def _kept_out(self, instance: Instance, wall: float) -> Instance:
        """A newcomer under a word of maintenance is out from its first moment."""
        word = self.facts.snapshot.kept_out(instance, wall)
        if word is None or (instance.state in WORDS and not instance.maintenance):
            return instance
        since = instance.since if instance.state is State.MAINT else wall
        cause = scrub(word.cause, limit=CAUSE_LIMIT)
        return msgspec.structs.replace(instance, state=State.MAINT, cause=cause, since=since, maintenance=word.target)

    def _standing(self, key: InstanceKey) -> Standing:
        if key not in self.verdict.lapsed or key in self.renewed:
            return Standing.FRESH
        if key in self.verdict.last:
            return Standing.LAST
        return Standing.HELD if self.verdict.holding(key[0]) else Standing.LAPSED

    def _touch(self, instance: Instance) -> None:
        self.leases.renew(instance, self.clock.now())
        self.renewed.add(key_of(instance))

    def _gone(self, instance: Instance, reason: str) -> None:
        key = key_of(instance)
        self.leases.end(key, instance.lease, reason)
        self.damper.forget(key)
        self.nodes.discard(key)

    def gone(self, instance: Instance, reason: str) -> None:
        """An instance was removed; its lease is refused from now on."""
        self._gone(instance, reason)

    def draft(self) -> Draft:
        """A new commit."""
        return Draft(self.facts, self.journal, self.clock.wall())

    def require(self, key: InstanceKey) -> Instance:
        """An instance that must exist.

        Raises:
            NotFound: it does not.
        """
        current = self.facts.instance(key)
        if current is None:
            raise NotFound(
                f"{key[0]}/{key[1]} is not registered", hint=f"GET /api/v1/services/{key[0]}/instances lists who is"
            )
        return current

    def _answer(self, instance: Instance, revision: Revision) -> Registered:
        return Registered(
            instance=instance,
            lease=instance.lease,
            ttl=instance.ttl,
            renew_after=instance.ttl * RENEW_SHARE,
            revision=revision,
        )


def _verb(kind: Kind) -> Verb:
    return {Kind.REGISTER: Verb.REGISTERED, Kind.REPLACE: Verb.REPLACED}.get(kind, Verb.CHANGED)


def _by_check(instance: Instance) -> bool:
    return instance.cause.startswith(CHECK_CAUSE)
