from __future__ import annotations

from atoll.model.answers import Verb
from atoll.model.names import NodeName, ServiceName
from atoll.model.report import FailoverReport, NodeReport
from tests.unit.registry.stage import Stage, staged


async def report(stage: Stage, at: int, cause: str = "") -> None:
    told = FailoverReport(service=ServiceName("orders"), group=("orders", "lite")[at], at=at, cause=cause)
    await stage.registry.report(NodeReport(node=NodeName("n1"), failovers=(told,)))


async def test_the_history_tells_each_time_that_requests_go_to_another_group_and_why() -> None:
    async with staged() as stage:
        await stage.register("orders", "o1")
        await report(stage, 0)
        await report(stage, 1, "orders: none of its instances takes requests")
        await report(stage, 1, "orders: none of its instances takes requests")
        await report(stage, 0, "orders is well again")
        told = [one.cause for one in await stage.history("orders") if one.verb is Verb.FAILOVER]
        assert told == [
            "n1 sends requests to lite: orders: none of its instances takes requests",
            "n1 sends requests to orders: orders is well again",
        ]


async def test_what_a_node_said_before_a_restart_of_the_control_plane_is_not_news() -> None:
    async with staged() as stage:
        await stage.register("orders", "o1")
        await report(stage, 1, "x")
        assert not [one for one in await stage.history("orders") if one.verb is Verb.FAILOVER]
