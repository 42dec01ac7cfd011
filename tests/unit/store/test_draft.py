from __future__ import annotations

import pytest

from atoll.errors import Conflict, Overloaded
from atoll.model.names import Key
from atoll.settings import Store as StoreSettings
from atoll.store import draft as drafts
from atoll.store.base import Delete, Expect, Put, Revision
from atoll.store.draft import COMPACT_STEP, Draft
from atoll.store.image import Image


def put(key: str, value: bytes = b"", lease: str | None = None) -> Put:
    return Put(Key(key), value, lease)


def grown(revisions: int) -> Image:
    image = Image()
    draft = Draft(image)
    for number in range(revisions):
        draft.commit([put(f"a/{number % 10}", b"%d" % number)], [])
    draft.happen()
    return image


def test_nothing_happens_to_the_image_before_it_may() -> None:
    image = grown(3)
    draft = Draft(image)
    draft.commit([put("b"), Delete(Key("a/0"))], [])
    draft.grant("l", 10)
    assert (image.revision, len(image.entries), image.leases) == (3, 3, {})
    draft.happen()
    assert (image.revision, sorted(image.entries), image.leases) == (4, ["a/1", "a/2", "b"], {"l": 10})


def test_a_later_request_sees_what_an_earlier_one_of_the_same_group_decided() -> None:
    draft = Draft(Image())
    draft.commit([put("a", b"1")], [Expect(Key("a"))])
    with pytest.raises(Conflict):
        draft.commit([put("a", b"2")], [Expect(Key("a"))])
    draft.commit([Delete(Key("a"))], [Expect(Key("a"), Revision(1))])
    assert draft.commit([put("a", b"3")], [Expect(Key("a"))]) == 3


def test_a_lease_granted_and_ended_in_one_group_leaves_nothing() -> None:
    image = Image()
    draft = Draft(image)
    draft.grant("l", 10)
    draft.commit([put("a", lease="l")], [])
    draft.revoke("l")
    draft.happen()
    assert (image.leases, image.bound, image.entries, image.revision) == ({}, {}, {}, 2)


def test_one_group_forgets_a_bounded_number_of_revisions() -> None:
    image = grown(1000)
    draft = Draft(image)
    draft.commit([put("b")], [])
    draft.tidy(StoreSettings(history=10))
    assert draft.compacted == COMPACT_STEP + 1


def test_compaction_waits_until_a_hundredth_is_over() -> None:
    image = grown(500)
    draft = Draft(image)
    draft.tidy(StoreSettings(history=496))
    assert draft.empty
    draft.tidy(StoreSettings(history=490))
    assert draft.compacted == 10


def test_the_garbage_of_a_compaction_is_every_version_that_nobody_can_ask_for() -> None:
    image = Image()
    for operations in ([put("a", b"1"), put("b", b"1")], [put("a", b"2")], [Delete(Key("b"))], [put("c")]):
        draft = Draft(image)
        draft.commit(operations, [])
        draft.happen()
    draft = Draft(image)
    draft.compact(Revision(3))
    assert sorted(draft.garbage()) == [("a", 1), ("b", 1), ("b", 3)]


def test_the_number_of_leases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "LEASE_LIMIT", 2)
    draft = Draft(Image())
    draft.grant("1", 10)
    draft.grant("2", 10)
    with pytest.raises(Overloaded):
        draft.grant("3", 10)
