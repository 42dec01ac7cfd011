"""docs/faults.md names every scenario file and every regression."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_scenario_stands_in_the_table() -> None:
    text = (ROOT / "docs" / "faults.md").read_text()
    missing = [path.name for path in (ROOT / "tests/fault/scenarios").glob("test_*.py") if path.name not in text]
    assert missing == []


def test_the_table_names_no_scenario_that_is_not_there() -> None:
    words = (ROOT / "docs" / "faults.md").read_text().replace("`", " ").split()
    named = {word for word in words if word.startswith("test_") and word.endswith(".py")}
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert named - there == set()
