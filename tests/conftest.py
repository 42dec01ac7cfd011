"""What every test gets."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# tests start atoll's processes hundreds of times: what is compiled once is kept, whatever the shell says
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# a shell that starts us in the background ignores Ctrl-C for us, and whom we start would inherit it
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "default",
    deadline=None,  # the machines are noisy; time is measured in bench/, not here
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=bool(os.environ.get("CI")),  # CI states facts; the search for new ones is `make fault`'s
)
settings.load_profile("default")


@pytest.fixture(scope="module", autouse=True)
def _what_is_left_open_is_told_by_the_module_that_left_it() -> Iterator[None]:
    yield
    gc.collect()
    gc.freeze()  # what is alive now is looked through no more: a collection takes 5 ms, not 100
