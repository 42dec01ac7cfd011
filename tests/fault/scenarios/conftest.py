"""The platform that scenarios share: their faults leave it whole, and it is proved so before and after each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.fault.platform import Fleet, own_fleet


class Shared:
    """At most one platform, made when it is first asked for and again after one that was left broken."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._fleet: Fleet | None = None

    def fleet(self) -> Fleet:
        """One that is whole."""
        if self._fleet is not None:
            try:
                asyncio.run(self._fleet.converged(within=15))
            except AssertionError:
                self.close()
        if self._fleet is None:
            self._fleet = self._stack.enter_context(own_fleet())
        return self._fleet

    def close(self) -> None:
        """Stop it, and prove that nothing is left."""
        self._fleet = None
        self._stack.close()


@pytest.fixture(scope="session")
def shared_platform() -> Iterator[Shared]:
    """For the fixture `fleet`."""
    shared = Shared()
    yield shared
    shared.close()


@pytest.fixture
def fleet(shared_platform: Shared) -> Iterator[Fleet]:
    """The shared platform; a scenario that takes it leaves it as it was, which is proved here."""
    fleet = shared_platform.fleet()
    yield fleet
    asyncio.run(fleet.converged())
