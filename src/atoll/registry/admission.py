"""What a registration means, given what is known of its id: a renewal, a change, a new holder, or a refusal. Pure.

The newest registration wins; whoever shows the lease of an older one is refused (fencing). A renewal carries the whole
registration, so a control plane that lost everything takes it as a registration and is rebuilt within one interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from atoll.errors import LeaseConflict, LeaseExpired
from atoll.model.service import Instance, State

RENEW_SHARE = 1 / 3
"""Part of the TTL after which the holder is asked to renew, so that two renewals may be lost."""


class Kind(Enum):
    """What to do about a registration."""

    REGISTER = auto()
    """The id is new here."""
    RENEW = auto()
    """Nothing differs: extend the lease, write nothing."""
    CHANGE = auto()
    """Same holder, other content."""
    REPLACE = auto()
    """A newer holder of the same id."""


@dataclass(frozen=True)
class Admission:
    """The decision, and the instance as it shall be (lease token and times included)."""

    kind: Kind
    instance: Instance


def admit(
    current: Instance | None, said: Instance, shown: str, ended: str | None, *, token: str, wall: float
) -> Admission:
    """Decide about `said` (a checked registration that showed lease `shown`, "" for none).

    `ended`: why the shown lease ended, if it is known to have; `token`: the lease to give to a new holder.

    Raises:
        LeaseConflict: a newer registration holds the id.
        LeaseExpired: the shown lease has ended and nobody holds the id; register without it.
    """
    if current is None:
        if ended is not None:
            raise LeaseExpired(
                f"the lease of {said.service}/{said.id} has ended: {ended}",
                hint="register again without a lease",
                service=said.service,
                instance=said.id,
            )
        return Admission(Kind.REGISTER, _new(said, token, wall))
    if shown and shown != current.lease:
        raise LeaseConflict(
            f"a newer registration holds {said.service}/{said.id}",
            hint="give each process an id of its own, or register without a lease to take the id over",
            service=said.service,
            instance=said.id,
        )
    same_place = (said.host, said.port) == (current.host, current.port)
    if not shown and not same_place:
        fresh = _new(said, token, wall)
        if current.state is State.MAINT:  # maintenance is about the id; draining was about the process that is gone
            fresh = msgspec.structs.replace(
                fresh,
                state=State.MAINT,
                cause=current.cause,
                since=current.since,
                maintenance=current.maintenance,
            )
        return Admission(Kind.REPLACE, fresh)
    merged = msgspec.structs.replace(
        said,
        lease=current.lease,
        registered=current.registered,
        state=current.state,
        cause=current.cause,
        since=current.since,
        maintenance=current.maintenance,
    )
    return Admission(Kind.RENEW if merged == current else Kind.CHANGE, merged)


def _new(said: Instance, token: str, wall: float) -> Instance:
    return msgspec.structs.replace(said, lease=token, registered=wall, state=State.PASSING, since=wall)
