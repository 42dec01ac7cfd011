"""The engines under the store's contract. A further engine joins by one more line in ENGINES.

The suite does not know which engine runs: it is given an `Engine` (see store/base.py), a folder and a clock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from atoll.kit.clock import Clock
from atoll.settings import Store as StoreSettings
from atoll.store.base import Engine, Store
from atoll.store.image import Image
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_store
from atoll.testing import FakeClock


def memory() -> Engine:
    """The memory engine; what the folder is to others, an image kept by the test is to it."""
    images: dict[Path, Image] = {}

    def opened(folder: Path, settings: StoreSettings, clock: Clock) -> AbstractAsyncContextManager[Store]:
        return open_memory(settings, clock, image=images.setdefault(folder, Image()))

    return opened


ENGINES: dict[str, Callable[[], Engine]] = {"memory": memory, "sqlite": lambda: open_store}

SMALL = StoreSettings(history=40, watcher_backlog=8)
"""Limits that a test can reach."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return ENGINES[request.param]()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(engine: Engine, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with engine(tmp_path, StoreSettings(), clock) as store:
        yield store


@pytest.fixture
async def small(engine: Engine, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with engine(tmp_path, SMALL, clock) as store:
        yield store
