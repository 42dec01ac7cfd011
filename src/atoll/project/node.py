"""A document as a tree in which every key and value knows its place. Readers make it, the schema looks into it.

Scalars keep the text as written beside the value it stands for in YAML 1.2's core schema: `no` and `12:30` are text,
`1.10` is a number whose text is still `1.10`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.project.finding import Finding, Path


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column count from 1; `length` characters of that line are meant."""

    line: int = 0
    column: int = 0
    length: int = 1


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. `plain`: written without quotes, so that it may be a number, a truth value or null."""

    text: str
    place: Place = Place()
    plain: bool = False
    filled: bool = False
    """A variable was filled in: it takes whatever type its place asks for."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    place: Place = Place()


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys with their own places, in the order written."""

    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    place: Place = Place()

    def get(self, key: str) -> Node | None:
        """The value of a key."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def with_entry(self, key: str, value: Node, *, at: Place | None = None) -> Mapping:
        """This mapping with one entry set."""
        return replace(self, entries={**self.entries, key: (Scalar(key, at or value.place), value)})


Node = Scalar | Sequence | Mapping


class Integer(int):
    """A whole number that remembers how it was written."""

    text: str


class Real(float):
    """A number that remembers how it was written."""

    text: str


class Filled(str):
    """Text in which a variable was filled in; may stand for a number or a truth value."""

    __slots__ = ()


_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"([-+]?)\.(?:inf|Inf|INF)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
DIGITS_LIMIT = 40
"""A longer run of digits stays text: no setting is that large, and Python refuses to convert very long ones."""


def core(text: str) -> Any:
    """What a plain scalar stands for in YAML 1.2's core schema: null, a truth value, a number, or its text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > DIGITS_LIMIT:
        return text
    if _INT.fullmatch(text):
        return _integer(text, 10)
    if _OCTAL.fullmatch(text):
        return _integer(text, 8)
    if _HEX.fullmatch(text):
        return _integer(text, 16)
    if _FLOAT.fullmatch(text):
        return _real(text, float(text))
    if found := _INFINITY.fullmatch(text):
        return _real(text, -math.inf if found[1] == "-" else math.inf)
    return _real(text, math.nan) if text in {".nan", ".NaN", ".NAN"} else text


def _integer(text: str, base: int) -> Integer:
    number = Integer(int(text, base))
    number.text = text
    return number


def _real(text: str, value: float) -> Real:
    number = Real(value)
    number.text = text
    return number


def written(value: Any) -> Any:
    """A scalar's text as written, for places where text is wanted and a number or truth value was given."""
    if isinstance(value, Integer | Real):
        return value.text
    return str(value).lower() if isinstance(value, bool) else value


def data(node: Node) -> Any:
    """The tree as plain dicts, lists and values."""
    if isinstance(node, Mapping):
        return {key: data(value) for key, (_, value) in node.entries.items()}
    if isinstance(node, Sequence):
        return [data(item) for item in node.items]
    if node.filled:
        return Filled(node.text)
    return core(node.text) if node.plain else node.text


KEY = "[key]"
"""As the last step of a path: the key itself is meant, not its value."""


def place_of(root: Node, path: Path) -> Place:
    """Where the value at `path` stands, or the deepest part of it that exists.

    That is the key, for a value of several lines or of none. In a list, text finds the item that is that text, begins
    with `text=`, or has it as its `name`.
    """
    node, place = root, root.place
    for step in path:
        found = _step(node, step)
        if found is None:
            return place
        label, node = found
        place = label.place if label is not None else node.place
        shown = isinstance(node, Scalar) and (node.text or not node.plain)
        if shown and not (path[-1] == KEY and step == path[-2]):
            place = node.place
    return place


def _step(node: Node, step: str | int) -> tuple[Scalar | None, Node] | None:
    if isinstance(node, Mapping):
        found = node.entries.get(str(step))
        return found or next((entry for key, entry in node.entries.items() if key.lower() == step), None)
    if isinstance(node, Scalar):
        return None
    if isinstance(step, int):
        return (None, node.items[step]) if step < len(node.items) else None
    return next(((None, item) for item in node.items if _called(item, step)), None)


def _called(item: Node, name: str) -> bool:
    if isinstance(item, Scalar):
        return item.text == name or item.text.startswith(f"{name}=")
    named = item.get("name") if isinstance(item, Mapping) else None
    return isinstance(named, Scalar) and named.text == name


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    if isinstance(node, Mapping):
        for _, value in node.entries.values():
            yield from walk(value)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from walk(item)


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read: its name as the user gave it, its lines, and its tree."""

    file: str
    lines: tuple[str, ...]
    root: Mapping

    def locate(self, finding: Finding) -> Finding:
        """`finding` with the file, line and column of its path; one that has a line keeps it."""
        if finding.line:
            return finding
        return self.at(finding, place_of(self.root, finding.path))

    def at(self, finding: Finding, place: Place) -> Finding:
        """`finding` at a known place of this file."""
        return located(finding, self.file, self.lines, place)


def located(finding: Finding, file: str, lines: tuple[str, ...], place: Place) -> Finding:
    """`finding` at a place of a file whose lines are given."""
    source = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
    path = tuple(step for step in finding.path if step != KEY)
    changed = {
        "path": path,
        "file": file,
        "line": place.line,
        "column": place.column,
        "length": place.length,
        "source": source,
    }
    return Finding(**{**{name: getattr(finding, name) for name in finding.__struct_fields__}, **changed})
