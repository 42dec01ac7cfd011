"""The variables of a whole document: every value but the commands, whose own variables come later."""

from __future__ import annotations

from collections.abc import Mapping as Values
from dataclasses import replace

from atoll.kit.text import scrub
from atoll.project.finding import Code, Finding, Path
from atoll.project.interpolate import Expansion, expand
from atoll.project.node import Document, Mapping, Node, Place, Scalar, Sequence

RUNTIME_HINT = "it is known only when an instance starts; use it in `command`"


def fill(document: Document, values: Values[str, str]) -> tuple[Document, list[Finding], list[Finding]]:
    """The document with its variables filled in from `values`, the findings, and the warnings."""
    filler = _Filler(document, values)
    root = filler.node(document.root, ())
    assert isinstance(root, Mapping)
    return replace(document, root=root), filler.findings, filler.warnings


class _Filler:
    def __init__(self, document: Document, values: Values[str, str]) -> None:
        self._document = document
        self._values = values
        self.findings: list[Finding] = []
        self.warnings: list[Finding] = []

    def node(self, node: Node, path: Path) -> Node:
        if _is_command(node, path):
            return node
        if isinstance(node, Mapping):
            entries = {key: (label, self.node(value, (*path, key))) for key, (label, value) in node.entries.items()}
            return replace(node, entries=entries)
        if isinstance(node, Sequence):
            return replace(node, items=tuple(self.node(item, (*path, at)) for at, item in enumerate(node.items)))
        if "$" not in node.text:
            return node
        expansion = expand(node.text, self._values)
        findings, warnings = tell(expansion, path)
        self.findings += [self._at(finding, node.place) for finding in findings]
        self.warnings += [self._at(warning, node.place) for warning in warnings]
        if findings:
            return node
        return Scalar(expansion.text, node.place, plain=False, filled=expansion.filled)

    def _at(self, finding: Finding, place: Place) -> Finding:
        return self._document.at(finding, place)


def _is_command(node: Node, path: Path) -> bool:
    if len(path) < 2 or path[0] != "services":
        return False
    if len(path) == 2:
        return isinstance(node, Scalar)
    keys = path[3:] if path[2] == "x-atoll" else path[2:]
    return keys in {("command",), ("entrypoint",)}


def tell(expansion: Expansion, path: Path) -> tuple[list[Finding], list[Finding]]:
    """What must be said of an expansion: findings, and warnings."""
    findings = [
        Finding(code=Code.INTERPOLATION, message=problem, path=path, hint="write $$ for one $")
        for problem in expansion.problems
    ]
    findings += [Finding(code=Code.INTERPOLATION, message=said, path=path) for said in expansion.missing]
    findings += [
        Finding(
            code=Code.NOT_SUPPORTED,
            message=f"`{reference}` is not supported by this version of atoll",
            path=path,
            hint="use a variable, such as ${NAME:?set it in .env}",
        )
        for reference in expansion.later
    ]
    warnings = [
        Finding(
            code=Code.VARIABLE_UNSET,
            message=f"variable `{scrub(name, limit=80)}` is not set; nothing is filled in for it",
            path=path,
            hint=RUNTIME_HINT if name == "PORT" else f"set it, or write ${{{name}:-default}}",
        )
        for name in dict.fromkeys(expansion.unset)
    ]
    return findings, warnings
