"""The documents say what the code does: every error code, every path, every state."""

from __future__ import annotations

import re
from pathlib import Path

from atoll.errors import AtollError
from atoll.model.answers import Verb
from atoll.model.service import State
from atoll.sdk.problem import known_codes
from atoll.server.app import ENDPOINTS

DOCS = Path(__file__).parents[3] / "docs"
API = (DOCS / "api.md").read_text()
REGISTRY = (DOCS / "registry.md").read_text()


def test_every_error_code_stands_in_the_table_with_its_status_and_no_other_does() -> None:
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (\d+) \| \S", API, flags=re.MULTILINE))
    assert rows == {code: str(kind.status) for code, kind in known_codes().items()}
    assert AtollError.code in rows


def test_every_path_in_the_documents_exists() -> None:
    known = {re.sub(r"{\w+}", "*", one.path) for one in ENDPOINTS}
    said = set(re.findall(r"/api/v1/[\w/.-]+|/livez|/readyz", API + REGISTRY))
    for path in said:
        found = re.sub(r"(services|instances|routes|nodes)/[\w-]+", r"\1/*", path.rstrip("."))
        assert found in known, path


def test_every_state_and_every_verb_of_the_history_is_explained() -> None:
    for state in State:
        assert f"| `{state.value}` |" in REGISTRY
    for verb in Verb:
        assert verb.value in REGISTRY
