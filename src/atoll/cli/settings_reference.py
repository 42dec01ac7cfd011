"""`python -m atoll.cli.settings_reference`: docs/settings.md, made from the settings and the words below each of them."""

from __future__ import annotations

import ast
import inspect
from dataclasses import fields
from typing import Any

from atoll import settings

HEAD = """\
# Settings

Knobs of atoll's own processes. Each is an environment variable of `atoll up` and `atoll server`; what belongs to a
project (services, routes) is in [atoll.yaml](atoll-yaml.md). Durations are seconds. Made by
`python -m atoll.cli.settings_reference > docs/settings.md`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([HEAD, *(_group(name, kind) for name, kind in settings.GROUPS.items())])


def _group(name: str, kind: type[Any]) -> str:
    words = _words(kind)
    title = (inspect.getdoc(kind) or name).rstrip(".")
    rows = [
        f"| `{f'ATOLL_{name}_{knob.name}'.upper()}` | {_shown(knob.default)} | {words.get(knob.name, '')} |"
        for knob in fields(kind)
    ]
    return "\n".join([f"## {title}", "", "| variable | default | meaning |", "|---|---|---|", *rows, ""])


def _shown(value: object) -> str:
    return f"`{value}`" if value != "" else "empty"


def _words(kind: type[Any]) -> dict[str, str]:
    """The docstring below each field, on one line."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            value = below.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split()).replace("|", "\\|")
    return found


if __name__ == "__main__":
    print(page(), end="")
