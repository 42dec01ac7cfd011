"""What nodes measure, as series: processor time never goes back, and who is gone is marked as ended."""

from __future__ import annotations

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import ChildReport, NodeReport, Phase
from atoll.telemetry.metrics.vitals import Vitals
from tests.unit.telemetry.metrics.otlp_bodies import NOW
from tests.unit.telemetry.metrics.stage import STALE, Desk


def child(*, pid: int | None = 7, cpu: float = 0.0, memory: int = 4096) -> ChildReport:
    return ChildReport(
        service=ServiceName("cart"), instance=InstanceId("cart-1"), phase=Phase.RUNNING, pid=pid, started=5.0,
        restarts=2, cpu_seconds=cpu, memory=memory, descriptors=9,
    )  # fmt: skip


class Node:
    """A node that reports its children again and again."""

    def __init__(self) -> None:
        self.desk, self.vitals, self._at = Desk(), Vitals(), NOW

    def report(self, *children: ChildReport) -> dict[str, list[object]]:
        self._at += 10_000
        self.desk.book.begin(self._at)
        self.vitals.take(self.desk.book, [NodeReport(node=NodeName("local"), children=children)], self._at)
        return {name.removesuffix("{node=local}"): list(values) for name, values in self.desk.values().items()}


def test_an_instance_has_its_figures_under_the_usual_names() -> None:
    assert Node().report(child(cpu=1.5)) == {
        "process_start_time_seconds": [5.0], "atoll_instance_restarts_total": [2.0],
        "process_cpu_seconds_total": [1.5], "process_resident_memory_bytes": [4096.0], "process_open_fds": [9.0],
    }  # fmt: skip


def test_they_do_not_hide_what_the_service_tells_under_the_same_names() -> None:
    node = Node()
    node.desk.book.begin(NOW)
    node.vitals.take(node.desk.book, [NodeReport(node=NodeName("local"), children=(child(),))], NOW)
    own = {"service": "cart", "instance": "cart-1", "job": "node", "node": "local"}
    assert all(one.labels == own for one in node.desk.book.rows.series)


def test_processor_time_does_not_go_back_with_a_process_that_ended() -> None:
    node = Node()
    spent = [node.report(child(cpu=seconds))["process_cpu_seconds_total"] for seconds in (5.0, 8.0, 2.0, 3.0)]
    assert spent == [[5.0], [8.0], [8.0], [9.0]]


def test_processor_time_begins_anew_with_a_new_run() -> None:
    node = Node()
    node.report(child(cpu=5.0))
    assert node.report(child(pid=8, cpu=1.0))["process_cpu_seconds_total"] == [1.0]


def test_who_is_gone_is_marked_as_ended_and_who_does_not_run_has_no_figures() -> None:
    node = Node()
    node.report(child(cpu=1.0))
    assert all(values == [STALE] for values in node.report(child(pid=None)).values())
    assert node.report() == {}


def test_what_is_not_measured_yet_is_not_told_as_nothing() -> None:
    assert "process_resident_memory_bytes" not in Node().report(child(memory=0))
