"""D12, 30,000 servers: the node's report was over the limit of request bodies, so nobody knew any more how the gateway was."""

from __future__ import annotations

import msgspec

from atoll.gateway.intent import SERVER_LIMIT
from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import NodeReport, ServerReport
from atoll.registry.health import CAUSE_LIMIT
from atoll.server.nodes import REPORT_LIMIT


def test_the_longest_report_of_as_many_servers_as_a_gateway_holds_is_under_the_limit() -> None:
    longest = ServerReport(
        service=ServiceName("s" * 63),
        instance=InstanceId("i" * 63),
        up=False,
        port=65535,
        cause="c" * CAUSE_LIMIT,
        since=1795302123.123456,
        sessions=10_000,
        requests=1 << 40,
    )
    report = NodeReport(node=NodeName("n" * 63), servers=(longest,) * SERVER_LIMIT)
    assert len(msgspec.json.encode(report)) < REPORT_LIMIT
