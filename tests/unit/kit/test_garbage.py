from __future__ import annotations

import gc

from atoll.kit.garbage import settle


def test_what_is_there_is_no_longer_looked_at() -> None:
    here = [object() for _ in range(10)]
    settle()
    try:
        assert gc.get_freeze_count() > 1000
        assert not any(one is here for one in gc.get_objects())
    finally:
        gc.unfreeze()
