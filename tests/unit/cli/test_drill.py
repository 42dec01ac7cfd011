"""What is shown of drills and chaos runs, and what is refused before anything is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.drill.report import KEPT, DrillReport, Reports
from tests.unit.cli.drill_stage import AT, drill_report, keep_reports
from tests.unit.cli.fake_api import Cli, FakeApi


def test_a_drill_is_shown_in_one_sentence_with_its_details(cli: Cli, folder: Path) -> None:
    keep_reports(folder / ".atoll")
    shown = cli("drill", "show")
    assert shown.code == 0
    assert shown.out.startswith("kill orders-2 of orders: recovered in 100 ms, 1 of 51 requests lost, 1 retried\n")
    assert "no-instance 1" in shown.out
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in shown.out
    assert "orders-2" in cli("drill", "list").out


def test_a_chaos_run_is_shown_with_its_score_its_findings_and_what_was_not_tried(cli: Cli, folder: Path) -> None:
    keep_reports(folder / ".atoll")
    shown = cli("chaos", "show").out
    assert shown.startswith("resilience 50 of 100: 1 of 2 checks passed\n")
    assert "-50" in shown
    assert "web → orders has no timeout" in shown
    assert "db: it speaks tcp" in shown
    assert " 50 " in cli("chaos", "list").out


def test_a_report_that_is_not_there_or_cannot_be_read_is_no_crash(cli: Cli, folder: Path) -> None:
    assert "there is no report" in cli("drill", "show").err
    keep_reports(folder / ".atoll")
    assert "there is no report `../token`" in cli("drill", "show", "../token").err
    (folder / ".atoll/drills/20990101T000000.000-kill.json").write_bytes(b"\xff{")
    assert len(cli("drill", "list", "--json").json) == 1


def test_only_so_many_reports_are_kept(folder: Path) -> None:
    reports = Reports(folder / ".atoll", DrillReport, folder="drills")
    for at in range(KEPT + 3):
        one = drill_report(at=AT + at)
        reports.keep(one.id, one)
    assert len(reports.all()) == KEPT
    assert reports.all()[-1].at == AT + KEPT + 2


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("drill", "kill", "orders", "--rate", "501"), 2, "1 to 500"),
        (("drill", "kill", "orders", "--rate", "nan"), 2, "1 to 500"),
        (("drill", "kill", "orders", "--for", "61s"), 2, "2 to 60"),
        (("drill", "kill", "orders", "--for", "soon"), 2, "not a duration"),
        (("drill", "pause", "orders", "--for", "10s", "--hold", "7s"), 2, "leaves no time"),
        (("drill", "kill", "orders", "--expect-lost", "-1"), 2, "-1"),
        (("drill", "kill", "ordrs", "--yes"), 1, "did you mean `orders`"),
        (("drill", "kill", "catalog", "--yes"), 3, "no node here runs a process of catalog"),
        (("drill", "errors", "orders-1", "--yes"), 2, "name orders"),
        (("drill", "kill", "orders"), 2, "--yes"),
        (("drill", "kill", "orders", "--url", "http://127.0.0.1:1", "--yes"), 1, "on the machine"),
        (("chaos", "run"), 2, "--yes"),
        (("chaos", "run", "hurricane"), 2, "standard"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_broken(
    cli: Cli, shop: FakeApi, line: tuple[str, ...], code: int, said: str
) -> None:
    result = cli(*line)
    assert (result.code, said in result.err) == (code, True), result.err
    assert shop.sent("POST") == []


def test_two_drills_at_once_are_refused(cli: Cli, shop: FakeApi, folder: Path) -> None:
    from atoll.kit.files import LockFile, private_folder

    with LockFile(private_folder(folder / ".atoll/drills") / "lock"):
        result = cli("drill", "kill", "orders", "--yes")
    assert result.code == 1
    assert "a drill runs already" in result.err
