"""Whether HAProxy shows what a plan has done. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from atoll.gateway.plan import AddServer, Operation, Plan, RemoveServer, SetWeight, SwapMap
from atoll.gateway.readback import ServerRow


def touched(plan: Plan) -> list[str]:
    """The backends whose servers `plan` changes."""
    return sorted({each.backend for each in plan.operations if not isinstance(each, SwapMap)})


def unfulfilled(plan: Plan, rows: Iterable[ServerRow]) -> list[Operation]:
    """The operations on servers that `rows` (of the touched backends) do not bear out."""
    shown = {(row.backend, row.name): row for row in rows}
    return [each for each in plan.operations if not _shows(each, shown)]


def _shows(operation: Operation, shown: dict[tuple[str, str], ServerRow]) -> bool:
    match operation:
        case AddServer(backend=backend, server=server):
            row = shown.get((backend, server.name))
            return row is not None and not row.halted and row.weight == server.effective_weight
        case SetWeight(backend=backend, server=name, weight=weight):
            row = shown.get((backend, name))
            return row is not None and row.weight == weight
        case RemoveServer(backend=backend, server=name):
            row = shown.get((backend, name))
            return row is None or row.halted
        case SwapMap():
            return True
