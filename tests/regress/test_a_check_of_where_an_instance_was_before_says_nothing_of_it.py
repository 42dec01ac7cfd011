"""K4, twenty deaths: a restarted instance on a new port was called failing for its old one, and then damped for seconds."""

from __future__ import annotations

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import NodeReport, ServerReport
from atoll.model.service import State
from tests.unit.registry.stage import Stage, staged


async def _told(stage: Stage, port: int) -> None:
    """The node says that nobody answers at `port`."""
    said = ServerReport(service=ServiceName("orders"), instance=InstanceId("o-1"), up=False, port=port, cause="L4CON")
    await stage.registry.report(NodeReport(node=NodeName("n1"), servers=(said,)))


async def test_only_a_check_of_its_present_port_makes_an_instance_failing() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        port = held.instance.port
        await _told(stage, port + 1)
        assert stage.state("orders", "o-1") is State.PASSING
        assert await stage.verbs("orders") == ["o-1 registered"]
        await _told(stage, port)
        assert stage.state("orders", "o-1") is State.FAILING
