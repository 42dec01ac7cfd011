"""What counts for a route, a call or a service beside its section: a line of numbers and words that fixed rules read.

Only verdicts with the flag `p` have a line, so a request of which nothing is said pays nothing. A feature that needs a
word of its own per line adds a column; its rules stand in `backend` and look at `policied` first.
"""

from __future__ import annotations

from atoll.gateway import breaker_lines, deadline, limits, retries
from atoll.gateway.bound import Bound, Column
from atoll.gateway.config import POLICIES, map_path

LINE = "txn.policy"

COLUMNS: tuple[tuple[str, Column], ...] = (
    *deadline.COLUMNS,
    *retries.COLUMNS,
    *limits.COLUMNS,
    *breaker_lines.COLUMNS,
)
"""By name, in the order of the line."""


def column(name: str) -> str:
    """The expression of a word of the request's line."""
    at = [each for each, _ in COLUMNS].index(name) + 1
    return f"var({LINE}),field({at},|)"


def policy_line(bound: Bound) -> str:
    """The line of the map; empty when nothing is to be done."""
    words = [word(bound) for _, word in COLUMNS]
    return "|".join(words) if any(words) else ""


UNTIMED = f"""\
  acl untimed var({LINE}) -m beg {"|" * len((*deadline.COLUMNS, *retries.COLUMNS))}
"""
"""A line that says nothing of time and retries: their words come first, and are empty."""

RULES = f"""\
  http-request set-var({LINE}) var(txn.at),field(7,|),map_str({map_path(POLICIES)}) if {{ var(txn.at) -m end p }}
  acl policied var({LINE}) -m found
"""
"""Before every rule that asks for a column; they all begin with `policied`."""
