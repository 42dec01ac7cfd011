"""Who leads a service of which one instance works and the others stand by (`mode: active-passive`)."""

from __future__ import annotations

import msgspec

from atoll.model.names import InstanceId, ServiceName


class Leader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fact `leaders/<service>`."""

    service: ServiceName
    instance: InstanceId | None = None
    """None: nobody is fit."""
    fencing: int = 0
    """Number of this term. Each term has a greater one than every term before it, over restarts and restores too."""
    registered: float = 0.0
    """When the leader registered: a process that takes its id over begins a term of its own."""
    since: float = 0.0
    """Wall time at which the term began, or the last one ended."""
    cause: str = ""
    """Why the one before does not lead any more."""
