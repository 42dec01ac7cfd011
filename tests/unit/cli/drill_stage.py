"""Reports of drills, for tests of what is shown."""

from __future__ import annotations

from pathlib import Path

from atoll.drill.checks import Check
from atoll.drill.history import Asked, History, Look, Server
from atoll.drill.judge import Promises, judge
from atoll.drill.report import DrillReport, Reports, new_id
from atoll.drill.score import ChaosReport, findings, score
from atoll.drill.words import sentence

AT = 1_795_000_000.123
HISTORY = History(
    requests=(
        *(Asked(at / 10, at / 10 + 0.002, 200) for at in range(50)),
        Asked(2.05, 2.06, 503, "", "no-instance", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ),
    looks=(
        Look(1.9, (Server("be/orders-2:1", "orders-2", True, 100, 5, 5),), 0),
        Look(2.1, (Server("be/orders-2:1", "orders-2", False, 100, 6, 5),), 1),
        Look(2.5, (Server("be/orders-2:2", "orders-2", True, 100, 1, 1),), 1),
    ),
    fault_at=2.0,
    targets=("be/orders-2:1",),
    wanted=1,
)


def drill_report(fault: str = "kill", at: float = AT, **promises: int) -> DrillReport:
    verdict = judge(HISTORY, Promises(**promises))
    return DrillReport(
        id=new_id(at, fault), at=at, fault=fault, target="orders-2", service="orders", instances=("orders-2",), of=1,
        load="GET / through route orders", rate=10, duration=5, hold=None, summary=sentence(verdict), verdict=verdict,
    )  # fmt: skip


def chaos_report() -> ChaosReport:
    made = (
        Check(
            code="timeout", about="web>orders", weight=3, passed=False, seen="web → orders has no timeout", advice="say"
        ),
        Check(code="kill-replaced", about="orders", weight=3, passed=True, seen="all served again"),
    )
    return ChaosReport(
        id=new_id(AT, "standard"), at=AT, suite="standard", seconds=70.0, score=score(made), findings=findings(made),
        checks=made, skipped=("db: it speaks tcp",),
    )  # fmt: skip


def keep_reports(state: Path) -> None:
    report = drill_report()
    Reports(state, DrillReport, folder="drills").keep(report.id, report, HISTORY)
    run = chaos_report()
    Reports(state, ChaosReport, folder="chaos").keep(run.id, run)
