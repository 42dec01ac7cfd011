"""YAML text to a tree with places: YAML 1.2's core schema, one document, no tags, duplicate keys refused.

Built from the parser's events, so depth, size and alias expansion are bounded before anything is built. Merge keys
(`<<`) work as compose files use them. Text that no process could be given (NUL, lone surrogates) is refused here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from atoll.kit.text import scrub
from atoll.project.finding import Code, Finding, invalid
from atoll.project.node import Document, Mapping, Node, Place, Scalar, Sequence, located

DEPTH_LIMIT = 24
"""Levels of nesting; atoll's own format needs 8."""
NODE_LIMIT = 100_000
"""Values of a file after aliases are expanded; a thousand services need 20,000."""
TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})


_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""What the parser counts as the end of a line."""


class _Stop(Exception):
    """Nothing more can be read; the finding says why."""

    def __init__(self, finding: Finding, place: Place) -> None:
        super().__init__(finding.message)
        self.finding = finding
        self.place = place


def read_yaml(text: str, file: str) -> Document:
    """The document in `text`; `file` is its name for messages.

    Raises:
        ProjectInvalid: it is not YAML, not a mapping, over a limit, or has duplicate keys or tags.
    """
    lines = tuple(_BREAK.split(text))
    builder = _Builder()
    try:
        root = builder.build(_events(text))
    except _Stop as stop:
        builder.findings.append((stop.finding, stop.place))
        root = Mapping()
    if builder.findings:
        raise invalid([located(finding, file, lines, place) for finding, place in builder.findings], what=file)
    return Document(file, lines, root)


def _events(text: str) -> Iterator[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        said = " ".join(part for part in (error.problem, error.context) if part)
        raise _Stop(_syntax(f"this is not YAML: {said}", _advice(str(error.problem))), place) from None
    except (YAMLError, ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError) as error:
        # ruamel lets some of its own accidents through on broken input; for the reader they are all "not YAML"
        raise _Stop(_syntax(f"this is not YAML: {scrub(str(error), limit=200)}"), Place(1, 1)) from None


def _syntax(message: str, hint: str = "") -> Finding:
    return Finding(code=Code.SYNTAX, message=scrub(message, limit=300), hint=hint)


def _advice(problem: str) -> str:
    if "\\t" in problem:
        return "indent with spaces, not tabs"
    if "mapping values are not allowed" in problem:
        return "put text that holds ': ' in quotes"
    if "cannot start any token" in problem:
        return "put text that begins with a special character in quotes"
    return ""


class _Builder:
    """One pass over the events; what is wrong but can be passed over is gathered in `findings`."""

    def __init__(self) -> None:
        self.findings: list[tuple[Finding, Place]] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def build(self, events: Iterator[Any]) -> Mapping:
        root: Node | None = None
        for event in events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    raise _Stop(_syntax("there is a second document", "keep one document in a file"), _place(event))
                if event.version not in {None, (1, 2)}:
                    raise _Stop(_syntax("this is not YAML 1.2", "remove the %YAML line"), _place(event))
            elif isinstance(event, ScalarEvent | AliasEvent | MappingStartEvent | SequenceStartEvent):
                root = self._node(event, events, 1)
        if root is None or (isinstance(root, Scalar) and root.plain and not root.text):
            raise _Stop(
                _syntax("the file is empty", "the smallest file names one service and its command"), Place(1, 1)
            )
        if not isinstance(root, Mapping):
            raise _Stop(
                Finding(code=Code.WRONG_TYPE, message="the file is not a mapping", hint="begin with `services:`"),
                root.place,
            )
        return root

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        place = _place(event)
        if isinstance(event, AliasEvent):
            node, size = self._anchors.get(event.anchor, (None, 0))
            if node is None:
                raise _Stop(_syntax(f"there is no anchor `{event.anchor}` before this"), place)
            self._take(size, place)
            return node
        if depth > DEPTH_LIMIT:
            raise _Stop(Finding(code=Code.TOO_LARGE, message=f"more than {DEPTH_LIMIT} levels deep"), place)
        before = self._count
        self._take(1, place)
        if isinstance(event, ScalarEvent):
            made: Node = self._scalar(event, place)
        elif isinstance(event, SequenceStartEvent):
            self._no_tag(event, place, "tag:yaml.org,2002:seq")
            made = self._sequence(events, place, depth)
        else:
            self._no_tag(event, place, "tag:yaml.org,2002:map")
            made = self._mapping(events, place, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (made, self._count - before)
        return made

    def _take(self, size: int, place: Place) -> None:
        self._count += size
        if self._count > NODE_LIMIT:
            raise _Stop(
                Finding(
                    code=Code.TOO_LARGE,
                    message=f"more than {NODE_LIMIT} values",
                    hint="aliases count as often as they are used",
                ),
                place,
            )

    def _no_tag(self, event: Any, place: Place, usual: str) -> None:
        tag = None if event.tag is None else str(event.tag)
        if tag not in TAGS and tag != usual:
            self._say(Code.NOT_SUPPORTED, f"tag `{scrub(tag or '', limit=80)}` is not supported", place)

    def _scalar(self, event: Any, place: Place) -> Scalar:
        self._no_tag(event, place, "tag:yaml.org,2002:str")
        text: str = event.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._say(Code.INVALID_VALUE, "text holds a character that no process can be given", place)
            text = ""
        return Scalar(text, place, plain=bool(event.implicit[0]))

    def _sequence(self, events: Iterator[Any], place: Place, depth: int) -> Sequence:
        items = []
        while not isinstance(event := next(events), SequenceEndEvent):
            items.append(self._node(event, events, depth + 1))
        return Sequence(tuple(items), place)

    def _mapping(self, events: Iterator[Any], place: Place, depth: int) -> Mapping:
        entries: dict[str, tuple[Scalar, Node]] = {}
        merged: list[Mapping] = []
        while not isinstance(event := next(events), MappingEndEvent):
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                self._say(Code.WRONG_TYPE, "a key must be text", key.place, "put it in quotes")
            elif key.plain and key.text == "<<":
                merged += self._merged(value)
            elif key.text in entries:
                first = entries[key.text][0].place.line
                name = scrub(key.text, limit=80)
                self._say(Code.DUPLICATE_KEY, f"`{name}` is here twice", key.place, f"the first is on line {first}")
            else:
                entries[key.text] = (key, value)
        for source in merged:
            for name, entry in source.entries.items():
                entries.setdefault(name, entry)
        return Mapping(entries, place)

    def _merged(self, value: Node) -> list[Mapping]:
        parts = value.items if isinstance(value, Sequence) else (value,)
        for part in parts:
            if not isinstance(part, Mapping):
                self._say(Code.WRONG_TYPE, "`<<` takes a mapping, or a list of mappings", part.place)
        return [part for part in parts if isinstance(part, Mapping)]

    def _say(self, code: Code, message: str, place: Place, hint: str = "") -> None:
        self.findings.append((Finding(code=code, message=message, hint=hint), place))


def _place(event: Any) -> Place:
    start, end = event.start_mark, event.end_mark
    length = end.column - start.column if end.line == start.line else 1
    return Place(start.line + 1, start.column + 1, max(1, length))
