from __future__ import annotations

from atoll.model.names import InstanceId, ServiceName
from atoll.model.project import Project
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Condition, Restart, Run, Service
from atoll.wiring.node import selected
from atoll.wiring.progress import Progress

ORDERS = ServiceName("orders")


def service(**run: object) -> dict[ServiceName, Service]:
    return {ORDERS: Service(name=ORDERS, run=Run(command=("x",), **run))}  # type: ignore[arg-type]


def child(number: int, phase: Phase, **more: object) -> ChildReport:
    return ChildReport(service=ORDERS, instance=InstanceId(f"orders-{number}"), phase=phase, **more)  # type: ignore[arg-type]


def test_running_instances_are_counted_against_the_replicas() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(service(replicas=2), [child(1, Phase.RUNNING), child(2, Phase.STARTING)])
    assert progress.counts == {"orders": (1, 2)}
    assert not progress.complete
    progress.see(service(replicas=2), [child(1, Phase.RUNNING), child(2, Phase.RUNNING)])
    assert progress.complete


def test_a_surge_instance_of_a_rollout_does_not_count_beyond_the_replicas() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(service(replicas=1), [child(1, Phase.RUNNING), child(2, Phase.RUNNING)])
    assert progress.counts == {"orders": (1, 1)}


def test_a_job_that_ended_well_is_there() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(service(restart=Restart.NO), [child(1, Phase.EXITED, exit_code=0)])
    assert progress.complete
    progress.see(service(restart=Restart.NO), [child(1, Phase.EXITED, exit_code=3)])
    assert not progress.complete


def test_a_service_that_is_stopped_on_purpose_holds_nobody_up() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see(service(stopped=True), [])
    assert progress.complete


def test_a_service_whose_fact_has_not_arrived_is_not_ready() -> None:
    progress = Progress(frozenset({ORDERS}))
    progress.see({}, [])
    assert not progress.complete


def test_a_failure_is_told_once_an_episode_and_again_when_it_becomes_a_crash_loop() -> None:
    progress = Progress(frozenset({ORDERS}))
    told = []
    for phase in (Phase.BACKOFF, Phase.BACKOFF, Phase.CRASH_LOOP, Phase.CRASH_LOOP, Phase.RUNNING, Phase.BACKOFF):
        progress.see(service(), [child(1, phase, cause="exit 3", last_lines=("boom",))])
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
