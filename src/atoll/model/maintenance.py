"""An operator's word that takes an instance, a whole service, a zone or a machine out of the traffic, for a while or until taken back.

A word is a fact of its own: it outlives the processes and registrations that it is about, and covers those that come
later. What it covers gets no new requests and finishes those it has.
"""

from __future__ import annotations

import msgspec

from atoll.errors import InvalidValue
from atoll.model import names
from atoll.model.breaker import MOMENT_CEILING, REASON_LIMIT
from atoll.model.failover import ZONE
from atoll.model.names import InstanceId, NodeName, ServiceName, Token
from atoll.model.service import Instance

NODE = "node:"
"""How a machine is told from other names."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a word is about: a service (`orders`), one instance of it (`orders/orders-2`), a zone (`zone:b`), or what the
    node of a machine runs (`node:m1`).
    """

    service: ServiceName | None = None
    instance: InstanceId | None = None
    zone: Token | None = None
    node: NodeName | None = None

    def __str__(self) -> str:
        if self.node is not None:
            return f"{NODE}{self.node}"
        if self.zone is not None:
            return f"{ZONE}{self.zone}"
        return f"{self.service}/{self.instance}" if self.instance is not None else str(self.service)

    def covers(self, instance: Instance) -> bool:
        """Whether `instance` is meant."""
        if self.node is not None:
            return instance.node == self.node
        if self.zone is not None:
            return instance.zone == self.zone
        return instance.service == self.service and self.instance in {None, instance.id}


def parse_target(raw: object, *, field: str = "target") -> Target:
    """`orders`, `orders/orders-2`, `zone:b` or `node:m1`.

    Raises:
        InvalidName: a part of it does not follow its grammar.
    """
    text = str(raw)
    if text.startswith(ZONE):
        return Target(zone=names.token(text.removeprefix(ZONE), field=field))
    if text.startswith(NODE):
        return Target(node=names.node_name(text.removeprefix(NODE), field=field))
    service, slash, instance = text.partition("/")
    return Target(
        service=names.service_name(service, field=field),
        instance=names.instance_id(instance, field=field) if slash else None,
    )


class Maintenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `maintenance/<target>`. Wall seconds."""

    target: str
    """As `Target` is written."""
    reason: str
    since: float = 0.0
    until: float = 0.0
    """When it ends by itself; 0: when somebody takes it back."""

    def holds(self, wall: float) -> bool:
        """Whether it is in force at `wall`."""
        return not self.until or wall < self.until

    @property
    def cause(self) -> str:
        """Why an instance under it is out."""
        return f"maintenance of {self.target}: {self.reason}"


def checked_maintenance(said: Maintenance) -> Maintenance:
    """`said`, with everything in it parsed.

    Raises:
        InvalidName: the target.
        InvalidValue: the reason or a moment.
    """
    if not said.reason.strip() or len(said.reason) > REASON_LIMIT:
        raise InvalidValue(f"a reason has 1 to {REASON_LIMIT} characters", hint="say why", field="reason")
    for field in ("since", "until"):
        if not 0 <= getattr(said, field) <= MOMENT_CEILING:
            raise InvalidValue(f"{field} {getattr(said, field):g} is no moment", field=field)
    return msgspec.structs.replace(said, target=str(parse_target(said.target)))
