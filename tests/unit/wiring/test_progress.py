from __future__ import annotations

from atoll.model.names import InstanceId, ServiceName
from atoll.model.project import Project
from atoll.model.report import ChildReport, GatewayReport, Phase, ServerReport
from atoll.model.service import Condition, Instance, Run, Service
from atoll.model.snapshot import Snapshot
from atoll.wiring.platform import selected
from atoll.wiring.progress import Progress

ORDERS = ServiceName("orders")
FIRST = InstanceId("orders-1")


def facts(*, registered: bool = True) -> Snapshot:
    snapshot = Snapshot(1, services={ORDERS: Service(name=ORDERS, run=Run(command=("x",)))})
    if registered:
        snapshot.instances[ORDERS, FIRST] = Instance(service=ORDERS, id=FIRST, host="127.0.0.1", port=1)
    return snapshot


def child(phase: Phase, cause: str = "", last_lines: tuple[str, ...] = ()) -> ChildReport:
    return ChildReport(service=ORDERS, instance=FIRST, phase=phase, cause=cause, last_lines=last_lines)


def test_everything_is_there_when_every_wanted_instance_passes() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(facts(registered=False), [child(Phase.STARTING)])
    assert progress.counts == {"orders": (0, 1)}
    assert not progress.complete
    progress.see(facts(), [child(Phase.RUNNING)])
    assert progress.counts == {"orders": (1, 1)}
    assert progress.complete


def test_an_instance_that_the_gateway_cannot_reach_is_not_there() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(facts(), [child(Phase.RUNNING)], [ServerReport(service=ORDERS, instance=FIRST, up=False)])
    assert not progress.complete


def test_nothing_is_there_before_the_gateway_runs_the_facts_that_say_so() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(facts(), [child(Phase.RUNNING)], gateway=GatewayReport(revision=0))
    assert progress.counts == {"orders": (1, 1)}
    assert not progress.complete
    progress.see(facts(), [child(Phase.RUNNING)], gateway=GatewayReport(revision=1))
    assert progress.complete


def test_a_service_whose_fact_has_not_arrived_is_not_ready() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(Snapshot(), [])
    assert not progress.complete


def test_a_failure_is_told_once_an_episode_and_again_when_it_becomes_a_crash_loop() -> None:
    progress = Progress(frozenset({ORDERS}))
    told = []
    for phase in (Phase.BACKOFF, Phase.BACKOFF, Phase.CRASH_LOOP, Phase.CRASH_LOOP, Phase.RUNNING, Phase.BACKOFF):
        progress.see(facts(), [child(phase, "exit 3", ("boom",))])
        told.append(progress.new_failures())
    failure = ("orders", "orders-1: exit 3", ("boom",))
    assert told == [[failure], [], [failure], [], [], [failure]]


def test_naming_services_selects_what_they_depend_on_as_well() -> None:
    def made(name: str, *needs: str) -> Service:
        depends_on = {ServiceName(need): Condition.HEALTHY for need in needs}
        return Service(name=ServiceName(name), run=Run(command=("x",), depends_on=depends_on))

    project = Project(name="p", services=(made("a", "b"), made("b", "c"), made("c", "b"), made("d")))
    assert selected(project, ["a"]) == {"a", "b", "c"}
    assert selected(project, []) == {"a", "b", "c", "d"}
