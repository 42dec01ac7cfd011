"""Each file of tests/golden/project is one case: files and variables in, errors, warnings and facts out.

A case has sections `=== name`: the project file first, then `.env` and env files, `environ`, `profiles`; then what comes
out: `errors`, `warnings`, `facts` (as the plan on an empty platform). `UPDATE_GOLDEN=1` writes the output anew; read the
difference before it is committed.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from atoll.errors import ProjectInvalid
from atoll.model.snapshot import Snapshot
from atoll.project.finding import findings_of
from atoll.project.load import parse_project
from atoll.project.plan import make_plan
from atoll.project.render import render_plan

CASES = sorted((Path(__file__).parent / "project").glob("*.case"))
OUTPUT = ("errors", "warnings", "facts")
FOLDER = Path("/srv/demo")


def sections_of(text: str) -> dict[str, str]:
    parts = re.split(r"^=== (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def outcome(sections: dict[str, str]) -> dict[str, str]:
    file = next(iter(sections))
    environ = dict(line.split("=", 1) for line in sections.get("environ", "").splitlines())
    profiles = sections["profiles"].split() if "profiles" in sections else None

    def read(path: Path) -> str:
        name = str(path.relative_to(FOLDER))
        if name not in sections:
            raise FileNotFoundError(name)
        return sections[name]

    try:
        loaded = parse_project(sections[file].rstrip("\n") + "\n", file, FOLDER, environ, profiles, read=read)
    except ProjectInvalid as error:
        return {"errors": "\n".join(finding.render() for finding in findings_of(error)) + "\n"}
    facts = render_plan(make_plan(Snapshot(), loaded.project))
    if loaded.listener:
        facts += f"\nlistener {loaded.listener.name} {loaded.listener.host}:{loaded.listener.port}"
    warnings = "\n".join(warning.render(kind="warning") for warning in loaded.warnings)
    return {**({"warnings": warnings + "\n"} if warnings else {}), "facts": f"project {loaded.project.name}\n{facts}\n"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_project_comes_down_to_what_its_case_says(case: Path) -> None:
    sections = sections_of(case.read_text())
    given = {name: text for name, text in sections.items() if name not in OUTPUT}
    found = outcome(given)
    if os.environ.get("UPDATE_GOLDEN"):
        case.write_text("".join(f"=== {name}\n{text.rstrip()}\n" for name, text in {**given, **found}.items()))
    expected = {name: text.rstrip() for name, text in sections.items() if name in OUTPUT}
    assert {name: text.rstrip() for name, text in found.items()} == expected


def test_there_are_cases() -> None:
    assert len(CASES) > 30
