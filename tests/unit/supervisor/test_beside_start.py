from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from atoll.supervisor.beside import start


def test_requests_that_come_while_the_providers_are_made_are_traced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make() -> Any:
        made.append(threading.get_ident())
        assert not start._sdk.ready()  # what is imported for it may ask as well
        time.sleep(0.05)
        return object()

    monkeypatch.setattr(start, "_sdk", start._Sdk())
    monkeypatch.setattr(start, "_make", make)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: start.sdk(), range(8)))
    assert found == [True] * 8
    assert len(made) == 1


def test_a_lock_that_a_fork_left_held_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sdk = start._Sdk()
    monkeypatch.setattr(start, "PATIENCE", 0.05)
    with ThreadPoolExecutor(1) as pool, sdk._lock:
        assert pool.submit(sdk.ready).result(5) is False
