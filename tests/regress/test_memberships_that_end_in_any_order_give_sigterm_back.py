"""Two memberships of one process, the first ended first: its handler came back with the second's end and swallowed SIGTERM."""

from __future__ import annotations

import signal

import pytest

from atoll.sdk.termination import Termination


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
async def test_sigterm_is_as_before_when_the_last_has_gone(order: tuple[int, ...]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    held = []
    for _ in range(3):
        one = Termination(lambda: None)
        assert one.install()
        held.append(one)
    try:
        for number in order:
            held[number].remove()
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, before)
