"""What counts for a route, a call or a service beside its section: a line of numbers and words that fixed rules read.

Only verdicts with the flag `p` have a line, so a request of which nothing is said pays nothing. A feature that needs a
word of its own per line adds a column, and a bit to `Does`; its rules stand in `backend` and look at the bit first.

A line is `bits|number|…|text|text`. HAProxy takes 30 instructions for each character that it counts fields through, so
numbers have a width and are taken out by position; the last text is counted from the end.
"""

from __future__ import annotations

from atoll.gateway import breaker_lines, deadline, limits, retries
from atoll.gateway.bound import DOES, Bits, Bound, Does, Number, Text, does
from atoll.gateway.config import POLICIES, map_path

LINE = "txn.policy"

BITS: tuple[Bits, ...] = (deadline.bits, retries.bits, limits.bits, breaker_lines.bits)
NUMBERS: tuple[tuple[str, Number], ...] = (*deadline.NUMBERS, *retries.NUMBERS, *limits.NUMBERS)
TEXTS: tuple[tuple[str, Text], ...] = (*retries.TEXTS, *breaker_lines.TEXTS)
"""By name, in the order of the line."""
BITS_WIDTH, WIDTH = 4, 9
"""Digits."""


def column(name: str) -> str:
    """The expression of a word of the request's line."""
    texts = [each for each, _ in TEXTS]
    if name in texts:
        return f"var({LINE}),field({texts.index(name) - len(texts)},|)"
    at = [each for each, _ in NUMBERS].index(name)
    return _digits(BITS_WIDTH + 1 + at * (WIDTH + 1), WIDTH)


def _digits(at: int, width: int) -> str:
    # `bytes` gives no text, of which numbers are made; the cheapest converter that does is one with nothing to do
    return f"var({LINE}),bytes({at},{width}),rtrim(|)"


def policy_line(bound: Bound) -> str:
    """The line of the map; empty when nothing is to be done."""
    asked = Does(0)
    for bits in BITS:
        asked |= bits(bound)
    if not asked:
        return ""
    numbers = (f"{number(bound):0{WIDTH}d}" for _, number in NUMBERS)
    return "|".join((f"{asked:0{BITS_WIDTH}d}", *numbers, *(text(bound) for _, text in TEXTS)))


_TIME = Does.TIMED | Does.TRIED | Does.OWNER | Does.PATIENT | Does.ONCE | Does.CHOOSY | Does.BUDGET
UNTIMED = f"""\
  acl timed_or_tried {does(_TIME)}
"""
"""Not of a line that says nothing of time and retries."""

RULES = f"""\
  http-request set-var({LINE}) var(txn.at),field(-2,|),map_str({map_path(POLICIES)}) if {{ var(txn.at) -m end p }}
  http-request set-var({DOES}) {_digits(0, BITS_WIDTH)},add(0) if {{ var({LINE}) -m found }}
  acl policied var({DOES}) -m found
"""
"""Before every rule that asks for a column; they all begin with `policied`, or a bit."""
