"""`atoll chaos`: the standard faults over all services of the project, and a score with a finding for every missing point."""

from __future__ import annotations

from pathlib import Path

import click

from atoll.cli.facts import plain
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import clock_time
from atoll.cli.options import AtollGroup, command
from atoll.cli.proving import MEAN_IT, ApiGround, only_one, refuse_public, settings_of, state_of, to_the_end
from atoll.cli.show import Cell
from atoll.drill.chaos import Chaos
from atoll.drill.report import Reports, new_id
from atoll.drill.score import ChaosReport, findings, score
from atoll.settings import Settings

FOLDER = "chaos"
"""Of reports, in the state folder."""
SUITES = ("standard",)


@click.group("chaos", cls=AtollGroup)
def chaos() -> None:
    """Break everything once, one thing after the other; score what callers were spared."""


@command("run")
@click.argument("suite", type=click.Choice(SUITES), default="standard", metavar="[standard]")
@click.option("--min-score", type=click.IntRange(0, 100), metavar="N", help="Exit 1 when the score is below.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(MEAN_IT, "mean_it", is_flag=True, help="Also when others can reach the gateway.")
def run(invocation: Invocation, suite: str, *, min_score: int | None, yes: bool, mean_it: bool) -> int:
    """Kill, pause and fail every service, then kill the platform's own parts; say what that cost callers.

    Takes about 20 seconds for each service. Nothing stays broken, also after Ctrl-C.

    Example: atoll chaos run standard --yes --min-score 60
    """
    settings = settings_of(invocation)
    refuse_public(invocation, mean_it=mean_it)
    invocation.confirm("break every service and every part of this platform, one after the other", yes=yes)
    with only_one(settings):
        report, path = to_the_end(_run(invocation, settings, suite))
    if invocation.json:
        invocation.show.json(plain(report))
    else:
        _show(invocation, report)
        invocation.talk.note(f"report: {path}")
    return 1 if min_score is not None and report.score < min_score else 0


@command("list", reads=True)
def list_(invocation: Invocation) -> None:
    """List the chaos runs of this platform, the oldest first."""
    found: list[ChaosReport] = _reports(invocation).all()
    if invocation.json:
        invocation.show.json([plain(one) for one in found])
        return
    invocation.show.table(
        ("TIME", "ID", "SUITE", "SCORE", "FINDINGS", "CHECKS", "TOOK"),
        [
            [
                clock_time(one.at),
                one.id,
                one.suite,
                str(one.score),
                str(len(one.findings)),
                str(len(one.checks)),
                f"{one.seconds:.0f}s",
            ]
            for one in found
        ],
    )


@command("show", reads=True)
@click.argument("identity", metavar="[ID]", default="latest")
def show(invocation: Invocation, identity: str) -> None:
    """Show one chaos run with its findings; the latest, when none is named."""
    found: ChaosReport = _reports(invocation).one(identity)
    if invocation.json:
        invocation.show.json(plain(found))
    else:
        _show(invocation, found)


for _one in (run, list_, show):
    chaos.add_command(_one)


def _reports(invocation: Invocation) -> Reports:
    return Reports(state_of(invocation), ChaosReport, folder=FOLDER)


async def _run(invocation: Invocation, settings: Settings, suite: str) -> tuple[ChaosReport, Path]:
    clock = invocation.clock
    at, began = clock.wall(), clock.now()
    made = Chaos(
        ApiGround(invocation, settings),
        clock,
        lambda text: invocation.talk.note(f"{clock.now() - began:5.0f}s  {text}"),
    )
    await made.standard()
    report = ChaosReport(
        id=new_id(at, suite),
        at=at,
        suite=suite,
        seconds=clock.now() - began,
        score=score(made.checks),
        findings=findings(made.checks),
        checks=tuple(made.checks),
        skipped=tuple(made.skipped),
    )
    return report, Reports(settings.state, ChaosReport, folder=FOLDER).keep(report.id, report)


def _show(invocation: Invocation, report: ChaosReport) -> None:
    out = invocation.show
    passed = len(report.checks) - len(report.findings)
    out.text(f"resilience {report.score} of 100: {passed} of {len(report.checks)} checks passed")
    for one in report.findings:
        check = one.check
        out.text()
        out.fields([(f"-{one.points:g}", Cell(f"{check.seen}", "bold")), ("", check.advice)])
        if check.traces:
            out.text(f"      `atoll why {check.traces[0]}`")
    if report.skipped:
        out.text()
        out.text("not tried:")
        for text in report.skipped:
            out.text(f"  {text}")
