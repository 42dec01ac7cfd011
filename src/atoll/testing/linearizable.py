"""Is a concurrent history of one key explained by some order of single steps? (Wing and Gong's search, with Lowe's memo.)

Owns the search and the model of one register. Pure. Promises a witness order or the longest explained part; refuses
histories beyond CALL_LIMIT calls, CLIENT_LIMIT calls at once, or that need more than STEP_LIMIT steps (`Undecided`): the search is
exponential in the calls that overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from atoll.testing.history import Call, Outcome

CALL_LIMIT = 300
CLIENT_LIMIT = 6
STEP_LIMIT = 2_000_000
"""Steps of one search: about ten seconds."""


class Undecided(Exception):
    """The history is too large for the search; make it smaller."""


class Register(NamedTuple):
    """The state of one key: value (None: absent) and the revision that wrote it (None: not known, after a lost answer)."""

    value: str | None = None
    modified: int | None = 0


@dataclass(frozen=True)
class Verdict:
    """What the search found."""

    linearizable: bool
    order: tuple[Call, ...]
    """An order that explains everything; or the longest beginning of one that was found."""
    stuck: tuple[Call, ...] = ()
    """When it is not: the calls that could come next after `order`, none of which fits."""


def step(state: Register, call: Call) -> Register | None:
    """The state after `call` if its answer fits `state`, else None.

    Calls: `get` answers {"value", "modified"}; `put` with argument value; `cas` with arguments value and expect (a
    revision, 0: absent). A put or cas answers with `revision`, one above everything before it; refused with
    "revision-conflict" when the expectation does not hold. Any other refusal is a call that did nothing.
    """
    if call.call == "get":
        return _read(state, call)
    fits = call.call == "put" or state.modified is None or call.arguments["expect"] == state.modified
    if call.outcome is Outcome.REFUSED:
        if call.error == "revision-conflict" and call.call == "cas":
            return None if fits and state.modified is not None else state
        return state
    if not fits or (call.revision is not None and state.modified is not None and call.revision <= state.modified):
        return None
    return Register(call.arguments["value"], call.revision)


def _read(state: Register, call: Call) -> Register | None:
    if call.outcome is not Outcome.OK:
        return state
    seen = Register(call.answer["value"], call.answer["modified"])
    if seen.value != state.value or (state.modified is not None and seen.modified != state.modified):
        return None
    return seen


def linearizable(calls: Iterable[Call], *, initial: Register | None = None) -> Verdict:
    """Search an order of `calls` (all of one key) that keeps real time and that `step` accepts.

    Calls of unknown outcome may have happened at any time after their start, or never.

    Raises:
        Undecided: over CALL_LIMIT, CLIENT_LIMIT or STEP_LIMIT.
    """
    todo = sorted((call for call in calls if not _says_nothing(call)), key=lambda call: call.start)
    if len(todo) > CALL_LIMIT:
        raise Undecided(f"{len(todo)} calls are more than {CALL_LIMIT}")
    if _overlap(todo) > CLIENT_LIMIT:
        raise Undecided(f"{_overlap(todo)} calls at once are more than {CLIENT_LIMIT}")
    return _search(todo, initial or Register())


def _search(todo: Sequence[Call], initial: Register) -> Verdict:
    needed = sum(1 << index for index, call in enumerate(todo) if call.outcome is not Outcome.UNKNOWN)
    trail: list[tuple[int, int, Register]] = []  # chosen call, and where the search stood before it
    done, state, position = 0, initial, 0
    known: set[tuple[int, Register]] = {(0, initial)}
    best: list[int] = []
    stuck: tuple[Call, ...] = ()
    steps = 0
    while done & needed != needed:
        options = _next(todo, done)
        for option in range(position, len(options)):
            steps += 1
            index = options[option]
            after = step(state, todo[index])
            if after is not None and (done | 1 << index, after) not in known:
                known.add((done | 1 << index, after))
                trail.append((index, option, state))
                done, state, position = done | 1 << index, after, 0
                break
        else:
            if len(trail) >= len(best):
                best, stuck = [index for index, _, _ in trail], tuple(todo[index] for index in options)
            if not trail:
                return Verdict(False, tuple(todo[index] for index in best), stuck)
            index, option, state = trail.pop()
            done, position = done & ~(1 << index), option + 1
        if steps > STEP_LIMIT:
            raise Undecided(f"more than {STEP_LIMIT} steps")
    return Verdict(True, tuple(todo[index] for index, _, _ in trail))


def _next(todo: Sequence[Call], done: int) -> list[int]:
    """The calls that may come next: not done, and started before every undone call that was answered had ended."""
    options: list[int] = []
    earliest_end = float("inf")
    for index, call in enumerate(todo):
        if done >> index & 1:
            continue
        if call.start > earliest_end:
            break
        options.append(index)
        if call.outcome is not Outcome.UNKNOWN:
            earliest_end = min(earliest_end, call.end)
    return [index for index in options if todo[index].start <= earliest_end]


def _says_nothing(call: Call) -> bool:
    return call.outcome is Outcome.UNKNOWN and call.call == "get"


def _overlap(todo: Sequence[Call]) -> int:
    """The most answered calls under way at one time."""
    answered = [call for call in todo if call.outcome is not Outcome.UNKNOWN]
    moments = sorted([(call.start, 1) for call in answered] + [(call.end, -1) for call in answered])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most
