"""A bit that flips in a key (or lease id) makes it no UTF-8: opening raised UnicodeDecodeError instead of StorageFailed.

Found by scenario C6 of tests/fault (seed 620178826).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import StorageFailed
from atoll.kit.clock import SystemClock
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store.base import Put
from atoll.store.sqlite import DATABASE, open_store


async def test_a_key_that_is_no_utf8_any_more_is_refused_as_damage(tmp_path: Path) -> None:
    async with open_store(tmp_path, StoreSettings(), SystemClock()) as store:
        await store.commit([Put(Key("web/some-key-of-ours"), b"1")])
    file = tmp_path / DATABASE
    content = file.read_bytes()
    assert content.count(b"web/some-key-of-ours") == 2, "in the table and in its index"
    file.write_bytes(content.replace(b"web/some-key-of-ours", b"web/\xf3ome-key-of-ours"))
    with pytest.raises(StorageFailed, match="damaged"):
        async with open_store(tmp_path, StoreSettings(), SystemClock()):
            pass


async def test_a_lease_that_is_another_one_now_is_refused_as_damage(tmp_path: Path) -> None:
    """Rows of leases carried no checksum: a flipped bit made it another lease, and its keys would have stayed for ever."""
    async with open_store(tmp_path, StoreSettings(), SystemClock()) as store:
        lease = (await store.grant(3600.0)).encode()
    file = tmp_path / DATABASE
    content = file.read_bytes()
    assert content.count(lease) == 1
    file.write_bytes(content.replace(lease, lease[:-1] + bytes([lease[-1] ^ 1])))
    with pytest.raises(StorageFailed, match="lease"):
        async with open_store(tmp_path, StoreSettings(), SystemClock()):
            pass
