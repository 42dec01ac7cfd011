"""Clocks that disagree: by how much the times of each span are moved so that no effect comes before its cause. Pure.

A call's server side lies inside its client side, and nothing begins before what caused it. A span that breaks this by
its own clock is moved, and with it everything else of the same clock: centred in the call, or to its parent's begin.
The first root's clock is taken as right. An error smaller than the call it shows in cannot be told from a slow network
and is left alone.

Gateway and mesh are one process with one clock, which HAProxy reads before it takes what waits: a busy one says a begin
that is some milliseconds early. Such a span is moved to its cause alone, and no clock is said to be wrong.
"""

from __future__ import annotations

from atoll.telemetry.query.span import CLIENT, PROXIES, SERVER, Span
from atoll.telemetry.query.tree import NOBODY, Tree

MARK = 5_000_000
"""Nanoseconds; a clock that is off by less is corrected and not worth a word."""
EARLY = 100_000_000
"""Nanoseconds that a proxy's span may begin too early without its clock being wrong."""


def shifts(tree: Tree) -> list[int]:
    """Nanoseconds to add to the times of each span; then `tree` is in the order of the corrected starts."""
    moved = [0] * len(tree.spans)
    known: dict[tuple[str, str], int] = {}
    for index, _ in tree.walk():
        span, above = tree.spans[index], tree.parent[index]
        clock = _clock(span)
        if above != NOBODY and _clock(tree.spans[above]) == clock:
            moved[index] = moved[above]
            continue
        guess = fitting = known.get(clock, 0)
        if above != NOBODY:
            fitting = _fitting(span, guess, tree.spans[above], moved[above])
        moved[index] = fitting
        known.setdefault(clock, guess if worth_a_word(span, fitting - guess) == 0 else fitting)
    tree.order([span.start + shift for span, shift in zip(tree.spans, moved, strict=True)])
    return moved


def worth_a_word(span: Span, shift: int) -> int:
    """The part of a shift that says that the span's clock is wrong: all of it or nothing."""
    return shift if abs(shift) >= (EARLY if span.source in PROXIES else MARK) else 0


def _clock(span: Span) -> tuple[str, str]:
    """Whose clock the span's times were read from."""
    return ("", "") if span.source in PROXIES else (span.service, span.instance)


def _fitting(span: Span, guess: int, parent: Span, parent_shift: int) -> int:
    begin = parent.start + parent_shift
    start = span.start + guess
    if start < begin and not worth_a_word(span, begin - start):
        return begin - span.start
    waited_for = span.kind == SERVER and (parent.kind == CLIENT or parent.source in PROXIES)
    if start >= begin and (not waited_for or start <= begin + parent.length):
        return guess
    spare = (parent.length - span.length) // 2 if waited_for else 0
    return begin + max(0, spare) - span.start
