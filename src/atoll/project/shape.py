"""A tree against the schema: every mistake of shape as a finding, and whatever is sound as a typed root.

The parts at fault are taken out and the rest is looked at again, so that a typo in one service does not hide an unknown
reference in another: all problems are told at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from atoll.kit.text import closest, scrub
from atoll.project.finding import Code, Finding, Path
from atoll.project.node import KEY, Document, Mapping, Node, Place, Sequence, data, place_of
from atoll.project.schema import Part, Root

PASSES = 4
"""Looks at the rest; what is still wrong after them depends on what was taken out."""


@dataclass
class Shape:
    """What was found. `root` is None when too little is sound; `document` is reduced to what `root` was made of."""

    document: Document
    root: Root | None = None
    findings: list[Finding] = field(default_factory=list)
    damaged: set[Place] = field(default_factory=set)
    """Places of services and routes of which something was taken out: nothing they lack may be held against them."""


def read_shape(document: Document) -> Shape:
    """The shape of `document`: its sound part, and every finding."""
    shape = Shape(document)
    removed: set[Path] = set()
    for _ in range(PASSES):
        document = shape.document
        try:
            shape.root = Root.model_validate(data(document.root))
            return shape
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False)
        shape.findings += [
            _finding(document, detail)
            for detail in details
            if not any(fault[: len(detail["loc"])] == detail["loc"] for fault in removed)
        ]
        faults = [_fault(document, detail) for detail in details]
        removed.update(faults)
        if () in faults:
            break
        shape.damaged |= {place_of(document.root, item_of(fault)) for fault in faults}
        root = _without(document.root, faults)
        assert isinstance(root, Mapping)
        shape.document = replace(document, root=root)
    return shape


def item_of(path: Path) -> Path:
    """The service, listener or route that `path` lies in."""
    return path[:3] if path[:1] == ("gateway",) else path[:2]


def _fault(document: Document, detail: ErrorDetails) -> Path:
    """What must be taken out: the value at fault as it was written, or, where a key is missing, whatever misses it."""
    path = tuple(step for step in detail["loc"] if step != KEY)
    if detail["type"] == "missing":
        path = path[:-1]
    node: Node = document.root
    for depth, step in enumerate(path):
        if isinstance(node, Mapping) and step in node.entries:
            node = node.entries[str(step)][1]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return path[:depth]
    return path


def _without(node: Node, faults: Iterable[Path], here: Path = ()) -> Node:
    inside = [fault for fault in faults if fault[: len(here)] == here]
    if not inside:
        return node
    if isinstance(node, Mapping):
        kept = {
            key: (label, _without(value, inside, (*here, key)))
            for key, (label, value) in node.entries.items()
            if (*here, key) not in inside
        }
        return replace(node, entries=kept)
    if isinstance(node, Sequence):
        items = [
            _without(item, inside, (*here, index))
            for index, item in enumerate(node.items)
            if (*here, index) not in inside
        ]
        return replace(node, items=tuple(items))
    return node


def _finding(document: Document, detail: ErrorDetails) -> Finding:
    path: Path = tuple(step for step in detail["loc"] if step != KEY)
    name = scrub(str(path[-1]), limit=80) if path else "the file"
    kind = detail["type"]
    if kind == "extra_forbidden":
        return document.locate(_unknown_key(path, name))
    if kind == "missing":
        finding = Finding(code=Code.MISSING_KEY, message=f"`{name}` is missing", path=path, hint=_about(path))
        return document.locate(finding)
    context = detail.get("ctx", {})
    hint = str(context.get("hint", ""))
    code = Code.WRONG_TYPE if kind.endswith("_type") else Code.INVALID_VALUE
    where = _where(path)
    return document.locate(Finding(code=code, message=f"{where} {_said(detail)}", path=path, hint=hint))


def _where(path: Path) -> str:
    steps = [scrub(str(step), limit=80) for step in path]
    if not steps:
        return "the file"
    if isinstance(path[-1], int):
        return f"item {path[-1] + 1} of `{steps[-2]}`"
    return f"`{steps[-1]}`"


_SAID = {
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "list_type": "should be a list",
    "dict_type": "should be a map",
    "model_type": "should be a map",
    "too_short": "should not be empty",
}


def _said(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    if "said" in context:
        return str(context["said"])
    if detail["type"] in _SAID:
        return _SAID[detail["type"]]
    message = detail["msg"]
    for opening in ("Input should", "List should", "String should", "Dictionary should", "Value should"):
        message = message.replace(opening, "should", 1) if message.startswith(opening) else message
    return scrub(message, limit=300)


def _unknown_key(path: Path, name: str) -> Finding:
    part = _part(path[:-1])
    if path[-1] in part.later:
        return Finding(
            code=Code.NOT_SUPPORTED,
            message=f"`{name}` is not supported by this version of atoll",
            path=(*path, KEY),
            hint="remove it; a later version knows it",
        )
    known = list(part.model_fields)
    return Finding(
        code=Code.UNKNOWN_KEY,
        message=f"unknown key `{name}`" + (f" in `{_owner(path)}`" if len(path) > 1 else ""),
        path=(*path, KEY),
        suggestion=closest(str(path[-1]), known) or "",
        hint=f"keys here are: {', '.join(known)}",
    )


def _owner(path: Path) -> str:
    return scrub(str(next(step for step in reversed(path[:-1]) if isinstance(step, str))), limit=80)


def _about(path: Path) -> str:
    known = _part(path[:-1]).model_fields.get(str(path[-1]))
    return (known.description or "").replace("\n", " ") if known else ""


def _part(path: Path) -> type[Part]:
    """The model that stands at `path`."""
    kind: Any = Root
    for step in path:
        kind = _inner(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[str(step)].annotation
        else:
            kind = get_args(kind)[-1]
    found: type[Part] = _inner(kind)
    return found


def _inner(kind: Any) -> Any:
    """`kind` without its annotations and its None."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _inner(get_args(kind)[0])
    if origin in {Union, UnionType}:
        return _inner(next(part for part in get_args(kind) if part is not type(None)))
    return kind
