from __future__ import annotations

import gc
import subprocess
import sys

from atoll.kit.garbage import settle


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
