"""The runner of the scenarios: a seed for each, figures and seeds printed, histories of failures kept in `.fault/`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.scenario import LONG, LONG_TIMEOUT, SHORT_TIMEOUT, Scenario, base_seed

KEPT = Path(".fault")
SEED = base_seed()
RAN = pytest.StashKey[Scenario]()
HERE = Path(__file__).parent
_ran: list[tuple[Scenario, str]] = []


@pytest.fixture
def scenario(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scenario]:
    """This run of this scenario."""
    run = Scenario(request.node.name, SEED, tmp_path)
    request.node.stash[RAN] = run
    yield run
    run.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and (LONG or item.get_closest_marker("timeout") is None):
            item.add_marker(pytest.mark.timeout(LONG_TIMEOUT if LONG else SHORT_TIMEOUT))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    run = item.stash.get(RAN, None)
    if run is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
        _ran.append((run, report.outcome))
        if report.failed:
            report.sections.append(("scenario", _kept(item, run)))
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _ran:
        return
    terminalreporter.section(f"scenarios ({'long' if LONG else 'short'} form, seed {SEED})")
    KEPT.mkdir(exist_ok=True)
    with (KEPT / "results.jsonl").open("a") as results:
        for run, outcome in _ran:
            figures = " ".join(f"{name}={value}" for name, value in run.figures.items())
            terminalreporter.write_line(f"{outcome:7} {run.name.removeprefix('test_')}  {figures}")
            words = {"scenario": run.name, "outcome": outcome, "seed": SEED, "long": LONG, **run.figures}
            results.write(json.dumps(words, default=str) + "\n")


def _kept(item: pytest.Item, run: Scenario) -> str:
    place = KEPT / f"{run.name}-{SEED}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(run.folder / "histories", place)
    form = "ATOLL_FAULT=long " if LONG else ""
    return f"seed {SEED}, histories in {place}\nagain: {form}ATOLL_FAULT_SEED={SEED} .venv/bin/pytest '{item.nodeid}'"
