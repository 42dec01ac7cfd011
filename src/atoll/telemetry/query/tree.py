"""Spans as a tree, whatever was received: doubled spans, shared ids, parents that never came, circles. Pure.

Promises: every distinct span stands in the tree exactly once, and the time is linear in their number (but for sorting);
nothing here recurses, for a trace may be thousands of spans deep.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from atoll.telemetry.query.span import SERVER, Span

NOBODY = -1


@dataclass
class Tree:
    """Spans by index."""

    spans: list[Span]
    parent: list[int]
    """Index of each span's parent; NOBODY for a root."""
    children: list[list[int]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    orphans: dict[str, list[int]] = field(default_factory=dict)
    """Roots whose parent was named and not received, by its id."""
    doubles: int = 0
    """Spans that came more than once."""

    def walk(self, tops: Sequence[int] | None = None) -> Iterator[tuple[int, int]]:
        """Index and depth of every span, parents before children, children in their order."""
        waiting = [(index, 0) for index in reversed(self.roots if tops is None else tops)]
        while waiting:
            index, depth = waiting.pop()
            yield index, depth
            waiting += [(child, depth + 1) for child in reversed(self.children[index])]

    def order(self, starts: Sequence[int]) -> None:
        """Put roots and children in the order of `starts`."""
        for group in (self.roots, *self.children, *self.orphans.values()):
            group.sort(key=lambda index: (starts[index], self.spans[index].id))


def make_tree(spans: Iterable[Span]) -> Tree:
    """The tree of a trace's spans, in the order of their starts."""
    kept, doubles = _distinct(spans)
    holders: dict[str, int] = {}
    parent = [NOBODY] * len(kept)
    sharing: set[int] = set()
    for index, span in enumerate(kept):
        first = holders.setdefault(span.id, index)
        if first == index:
            continue
        lower, upper = (index, first) if span.kind == SERVER or kept[first].kind != SERVER else (first, index)
        if first in sharing or index in sharing:
            lower, upper = index, first
        parent[lower] = upper  # one id for both sides of a call, as Zipkin's clients do: the server's is inside
        sharing.add(lower)
        holders[span.id] = lower
    orphans: dict[str, list[int]] = {}
    for index, span in enumerate(kept):
        if index in sharing or not span.parent.strip("0"):
            continue
        found = holders.get(span.parent)
        if found is None:
            orphans.setdefault(span.parent, []).append(index)
        elif found != index:
            parent[index] = found
    _cut_circles(parent)
    tree = Tree(kept, parent, [[] for _ in kept], [], orphans, doubles)
    for index, above in enumerate(parent):
        (tree.roots if above == NOBODY else tree.children[above]).append(index)
    tree.order([span.start for span in kept])
    return tree


def _distinct(spans: Iterable[Span]) -> tuple[list[Span], int]:
    seen: set[tuple[object, ...]] = set()
    kept: list[Span] = []
    doubles = 0
    for span in spans:
        key = (span.id, span.parent, span.kind, span.service, span.name, span.start, span.duration)
        if key in seen:
            doubles += 1
        else:
            seen.add(key)
            kept.append(span)
    kept.sort(key=lambda span: (span.start, -span.length, span.id))
    return kept, doubles


def _cut_circles(parent: list[int]) -> None:
    """Make a root of the first span of every circle, so that each span is reached from a root."""
    done = bytearray(len(parent))  # 1: on the way up that is walked now; 2: leads to a root
    for start in range(len(parent)):
        way = []
        index = start
        while index != NOBODY and not done[index]:
            done[index] = 1
            way.append(index)
            index = parent[index]
        if index != NOBODY and done[index] == 1:
            parent[min(way[way.index(index) :])] = NOBODY
        for one in way:
            done[one] = 2
