from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys

import pytest

from atoll.kit.garbage import ALLOCATOR, GIVE_BACK_EVERY, OURS, forget_allocator, give_back, page_by_page, settle
from atoll.kit.tasks import owned
from atoll.testing import FakeClock

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library gives nothing back")
BURST = """
import asyncio
from atoll.kit.garbage import give_back, one_arena
from atoll.kit.tasks import owned
from atoll.testing import FakeClock
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4 // 1024
async def main():
    clock = FakeClock()
    async with owned("test") as tasks:
        tasks.start("give back", give_back(clock))
        before = resident()
        burst = [[str(number) for number in range(50)] for _ in range(10_000)]
        kept = burst[::100]  # something of every region of the heap
        del burst
        after = resident()
        await clock.advance(60)
        print(before, after, resident())
one_arena()
asyncio.run(main())
"""


@glibc
def test_a_long_lived_process_of_ours_uses_the_c_library_and_its_children_know_nothing_of_it() -> None:
    environ = page_by_page({"HOME": "/"})
    assert environ == {"HOME": "/", ALLOCATOR: "malloc", OURS: "1"}
    forget_allocator(environ)
    assert environ == {"HOME": "/"}


def test_whoever_chose_an_allocator_keeps_it() -> None:
    environ = page_by_page({ALLOCATOR: "debug"})
    forget_allocator(environ)
    assert environ == {ALLOCATOR: "debug"}


@glibc
def test_what_a_burst_took_is_given_back_though_something_of_it_stays() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", BURST], env=page_by_page(os.environ), capture_output=True, text=True, check=True
    )
    before, burst, after = map(int, ran.stdout.split())
    assert burst - before >= 20, "MiB: it was no burst"
    assert after - before <= (burst - before) // 4


async def test_it_is_asked_for_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, trims = FakeClock(), list[int]()

    class Library:
        malloc_trim = staticmethod(trims.append)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    async with owned("test") as tasks:
        tasks.start("give back", give_back(clock))
        await clock.advance(3 * GIVE_BACK_EVERY + 1)
    assert trims == [0, 0, 0]


def test_what_is_there_is_no_longer_looked_at() -> None:
    here = [object() for _ in range(10)]
    settle()
    try:
        assert gc.get_freeze_count() > 1000
        assert not any(one is here for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_code_that_was_let_go_of_runs_as_before() -> None:
    """In a process of its own: all code of it, however small the library."""
    program = """
import json, re, sys
from atoll.kit import garbage
garbage.LIBRARY = 1
garbage.let_go_of_code()
print(json.dumps(sorted(re.findall("[a-c]+", "xx abc yy ca" * 3))), sum(range(1000)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == '["abc", "abc", "abc", "ca", "ca", "ca"] 499500\n'
