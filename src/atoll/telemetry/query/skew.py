"""Clocks that disagree: by how much the times of each span are moved so that no effect comes before its cause. Pure.

A call's server side lies inside its client side, and nothing begins before what caused it. A span that breaks this by
its own clock is moved, and with it everything else of the same clock: centred in the call, or to its parent's begin.
The first root's clock is taken as right. An error smaller than the call it shows in cannot be told from a slow network
and is left alone.
"""

from __future__ import annotations

from atoll.telemetry.query.span import CLIENT, PROXIES, SERVER, Span
from atoll.telemetry.query.tree import NOBODY, Tree

MARK = 5_000_000
"""Nanoseconds; a clock that is off by less is corrected and not worth a word."""


def shifts(tree: Tree) -> list[int]:
    """Nanoseconds to add to the times of each span; then `tree` is in the order of the corrected starts."""
    moved = [0] * len(tree.spans)
    known: dict[tuple[str, str], int] = {}
    for index, _ in tree.walk():
        span, above = tree.spans[index], tree.parent[index]
        if above != NOBODY and tree.spans[above].clock == span.clock:
            moved[index] = moved[above]
            continue
        guess = known.get(span.clock, 0)
        if above != NOBODY:
            guess = _fitting(span, guess, tree.spans[above], moved[above])
        moved[index] = guess
        known.setdefault(span.clock, guess)
    tree.order([span.start + shift for span, shift in zip(tree.spans, moved, strict=True)])
    return moved


def _fitting(span: Span, guess: int, parent: Span, parent_shift: int) -> int:
    begin = parent.start + parent_shift
    start = span.start + guess
    waited_for = span.kind == SERVER and (parent.kind == CLIENT or parent.source in PROXIES)
    if start >= begin and (not waited_for or start <= begin + parent.length):
        return guess
    spare = (parent.length - span.length) // 2 if waited_for else 0
    return begin + max(0, spare) - span.start
