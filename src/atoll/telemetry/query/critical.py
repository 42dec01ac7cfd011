"""Where the time of a trace went: the critical path, and the time that each span spent itself. Pure, never recursive.

The critical path is what had to get faster for the whole to end earlier: from the end of the root backwards, at every
moment through the child that ended last before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.telemetry.query.tree import Tree


def critical_path(tree: Tree, starts: Sequence[int], root: int) -> list[int]:
    """Nanoseconds that each span contributes to the critical path of `root`; they add up to its duration."""
    spent = [0] * len(tree.spans)
    waiting = [(root, starts[root] + tree.spans[root].length)]
    while waiting:
        index, until = waiting.pop()
        begin = starts[index]
        now = until
        ends = [
            (min(until, starts[child] + tree.spans[child].length), -starts[child]) for child in tree.children[index]
        ]
        for (end, negative), child in sorted(zip(ends, tree.children[index], strict=True), reverse=True):
            start = max(begin, -negative)
            if end > now or start >= end:
                continue  # something that ended later was waited for meanwhile, or it took no time
            spent[index] += now - end
            if starts[child] >= begin:
                waiting.append((child, end))
            else:
                spent[child] += end - start  # it began before its parent: only what lies inside counts
            now = start
        spent[index] += max(0, now - begin)
    return spent


def self_times(tree: Tree, starts: Sequence[int]) -> list[int]:
    """Nanoseconds in which each span was open and none of its children was."""
    own = []
    for index, span in enumerate(tree.spans):
        begin, end = starts[index], starts[index] + span.length
        covered, reached = 0, begin
        for child in sorted(tree.children[index], key=lambda one: starts[one]):
            start = max(reached, starts[child])
            stop = min(end, starts[child] + tree.spans[child].length)
            if stop > start:
                covered += stop - start
                reached = stop
        own.append(span.length - covered)
    return own
