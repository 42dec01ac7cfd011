"""F9: `import atoll` costs next to nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import atoll

PROGRAM = """
import json, sys, time
before = set(sys.modules)
began = time.perf_counter()
import atoll
took = time.perf_counter() - began
dir(atoll)
print(json.dumps({"took": took, "modules": sorted(set(sys.modules) - before)}))
"""


def fresh() -> tuple[float, set[str]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    return said["took"], set(said["modules"])


def test_importing_atoll_loads_nothing_that_is_not_used() -> None:
    _, modules = fresh()
    ours = {name for name in modules if name.startswith("atoll")}
    assert ours == {"atoll"}
    for heavy in ("httpx2", "msgspec", "starlette", "uvicorn", "chdb", "pydantic", "asyncio", "apsw"):
        assert heavy not in modules


def test_importing_atoll_takes_at_most_150_ms() -> None:
    assert min(fresh()[0] for _ in range(3)) <= 0.150  # the best of three: the machine may be busy


def test_every_name_that_atoll_offers_is_there_and_no_other() -> None:
    for name in atoll.__all__:
        assert getattr(atoll, name) is not None
        assert name in dir(atoll)
    assert not hasattr(atoll, "clients")
