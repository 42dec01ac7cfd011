"""The facts and reports that commands look at, typed. A record that cannot be read never hides the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from atoll.cli.api import Api
from atoll.cli.numbers import clock_time
from atoll.errors import NotFound
from atoll.kit.text import closest
from atoll.model import keys, names
from atoll.model.answers import FactPage, Nodes, NodeView
from atoll.model.names import InstanceId, ServiceName
from atoll.model.readiness import Readiness, behind, readiness
from atoll.model.report import ChildReport, ServerReport
from atoll.model.snapshot import Snapshot

V1 = "/api/v1"
PAGES = 10_000
"""Pages of one listing at most: a control plane that answers `more` for ever shall not hold us."""
SILENT = 5.0
"""Seconds after which a node that reported every second is taken for dead: nobody waits for its gateway."""


def service_path(service: ServiceName, *rest: str) -> str:
    """`/api/v1/services/<service>/…`, each part quoted."""
    return "/".join([f"{V1}/services", *(quote(part, safe="") for part in (service, *rest))])


def snapshot(api: Api, *prefixes: str) -> Snapshot:
    """The facts under `prefixes` (services, instances and routes when none is given) at one revision."""
    return loaded(listing(api, *prefixes))


def loaded(listed: FactPage) -> Snapshot:
    """Listed facts as what they mean."""
    return Snapshot.load(listed.revision, ((fact.key, bytes(fact.value)) for fact in listed.facts))


def listing(api: Api, *prefixes: str) -> FactPage:
    """The facts under `prefixes`, all pages in one."""
    query: list[tuple[str, object]] = [("prefix", prefix) for prefix in prefixes or keys.FACTS]
    found = api.get_as(f"{V1}/facts", FactPage, query)
    facts = list(found.facts)
    pages = 1
    while found.more and found.facts and pages < PAGES:
        more: list[tuple[str, object]] = [*query, ("after", found.facts[-1].key), ("revision", found.revision)]
        found = api.get_as(f"{V1}/facts", FactPage, more)
        facts += found.facts
        pages += 1
    return FactPage(found.revision, tuple(facts))


def nodes(api: Api) -> tuple[NodeView, ...]:
    """What every node last said of itself."""
    return api.get_as(f"{V1}/nodes", Nodes).nodes


def children(seen: Iterable[NodeView]) -> dict[tuple[ServiceName, InstanceId], ChildReport]:
    """The children of all nodes, by service and instance."""
    return {(child.service, child.instance): child for node in seen for child in node.report.children}


def servers(seen: Iterable[NodeView]) -> dict[tuple[ServiceName, InstanceId], ServerReport]:
    """What the gateways' own checks say, by service and instance."""
    return {(server.service, server.instance): server for node in seen for server in node.report.servers}


def ready(api: Api, wanted: tuple[ServiceName, ...] = ()) -> tuple[dict[str, Readiness], int]:
    """The readiness of the wanted services (of all, if none is named), and the revision it is of."""
    listed = listing(api, keys.SERVICES, keys.INSTANCES, keys.ROUTES)
    ours = tuple(f"{prefix}{name}" for name in wanted for prefix in (keys.SERVICES, keys.INSTANCES))
    said = (fact.modified for fact in listed.facts if not wanted or fact.key.startswith((*ours, keys.ROUTES)))
    seen = nodes(api)
    late = behind((view.report for view in seen if view.age < SILENT), max(said, default=0))
    return readiness(loaded(listed), children(seen), servers(seen), wanted, late), listed.revision


def held_out(server: ServerReport | None, wall: float) -> str:
    """Why an instance gets less of the requests than its weight says; empty when it does not."""
    if server is None or server.share >= 100:
        return ""
    if server.ejected_until <= wall:
        return f"back from ejection {server.ejections}, with {server.share} % of its weight"
    left = f"ejected until {clock_time(server.ejected_until)} (in {server.ejected_until - wall:.0f} s)"
    return left if server.ejections == 1 else f"{left}, time {server.ejections} in a row"


def service_names(api: Api) -> list[str]:
    """The names of all services, sorted."""
    return sorted(snapshot(api, keys.SERVICES).services)


def parse_services(given: tuple[str, ...]) -> tuple[ServiceName, ...]:
    """Names from the command line.

    Raises:
        InvalidName: one does not follow the grammar.
    """
    return tuple(names.service_name(name) for name in given)


def require_services(facts: Snapshot, wanted: tuple[ServiceName, ...]) -> None:
    """Refuse names of services that do not exist.

    Raises:
        NotFound: with a did-you-mean and the names there are.
    """
    for name in wanted:
        if name not in facts.services:
            raise unknown_service(name, sorted(facts.services))


def unknown_service(name: str, known: Sequence[str]) -> NotFound:
    """The refusal of a service that does not exist."""
    near = closest(name, known)
    shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
    return NotFound(
        f"unknown service `{name}`" + (f"; did you mean `{near}`?" if near else ""),
        hint=f"services are: {shown}" if known else "there are no services yet",
    )


def revision_of(answer: Any) -> dict[str, Any]:
    """What a write prints as JSON: its revision. The rest of the answer may hold leases and environments."""
    return {"revision": answer.get("revision") if isinstance(answer, dict) else None}


def plain(value: Any) -> Any:
    """A Struct (or a list or dict of them) as plain JSON types, defaults included: scripts need not know them."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value
