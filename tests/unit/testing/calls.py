"""Hand-written calls for the tests of the checks: `put(1, 2, "a", 5)` ran from 1 to 2 and was answered with revision 5."""

from __future__ import annotations

from atoll.kit.clock import Instant
from atoll.testing.history import Call, Outcome


class TickClock:
    """Each look is one second later."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> Instant:
        self._now += 1
        return Instant(self._now)

    def wall(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here waits {seconds} s")


def put(start: float, end: float, value: str, revision: int | None, *, client: str = "c") -> Call:
    """A write; revision None: its answer was lost."""
    return Call(
        client=client,
        call="put",
        arguments={"value": value},
        start=start,
        end=end,
        outcome=Outcome.UNKNOWN if revision is None else Outcome.OK,
        revision=revision,
    )


def cas(start: float, end: float, expect: int, value: str, revision: int | None, error: str | None = None) -> Call:
    """A compare-and-set; with `error` it was refused."""
    outcome = Outcome.REFUSED if error else Outcome.UNKNOWN if revision is None else Outcome.OK
    arguments = {"value": value, "expect": expect}
    return Call(
        client="c",
        call="cas",
        arguments=arguments,
        start=start,
        end=end,
        outcome=outcome,
        revision=revision,
        error=error,
    )


def get(start: float, end: float, value: str | None, modified: int) -> Call:
    """A read."""
    answer = {"value": value, "modified": modified}
    return Call(client="c", call="get", start=start, end=end, outcome=Outcome.OK, answer=answer, revision=modified)


def commit(
    start: float, end: float, keys: dict[str, str | None], revision: int | None = None, error: str | None = None
) -> Call:
    """A commit of puts and (value None) deletes."""
    operations = [
        {"kind": "delete", "key": key} if value is None else {"kind": "put", "key": key, "value": value}
        for key, value in keys.items()
    ]
    outcome = Outcome.REFUSED if error else Outcome.UNKNOWN if revision is None else Outcome.OK
    return Call(
        client="w",
        call="commit",
        arguments={"operations": operations},
        start=start,
        end=end,
        outcome=outcome,
        revision=revision,
        error=error,
    )
