"""Nodes over HTTP: what each reports of its children, its gateway and HAProxy's checks. Kept in memory."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from atoll.errors import InvalidName, InvalidValue, LimitReached
from atoll.model import names
from atoll.model.answers import Nodes, NodeView, Written
from atoll.model.report import NodeReport
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import reply, take

REPORT_LIMIT = 16 << 20
"""Bytes of a report: a gateway may hold 30,000 servers, of 85 bytes each as a rule and 450 at most."""


async def put_report(control: Control, request: Request) -> Response:
    """Take a report."""
    name = names.node_name(request.path_params["node"])
    said = await take(control, request, NodeReport, limit=REPORT_LIMIT)
    if said.node != name:
        raise InvalidValue(
            f"the body is about {said.node!r}, the path about {name!r}", hint="name the same", field="node"
        )
    await control.registry.report(said)
    return reply(Written(revision=control.store.revision))


async def list_nodes(control: Control, _: Request) -> Response:
    """Every node that reported lately."""
    found = control.registry.nodes.all(control.clock.now())
    return reply(Nodes(nodes=tuple(NodeView(report=report, age=age) for report, age in found)))


ENDPOINTS = (
    Endpoint(
        method="PUT",
        path="/api/v1/nodes/{node}/report",
        summary="What a node runs, and what HAProxy's checks on it say.",
        handler=put_report,
        body=NodeReport,
        answer=Written,
        errors=(InvalidName, InvalidValue, LimitReached),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/nodes",
        summary="Every node that reported lately.",
        handler=list_nodes,
        answer=Nodes,
    ),
)
