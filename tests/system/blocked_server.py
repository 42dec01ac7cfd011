"""A control plane with a handler that blocks its event loop: `python blocked_server.py STATE SECONDS`.

Each time that the file STATE/block is there, the next listing of nodes removes it and sleeps in the loop.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from atoll.kit.logs import log_to_stderr
from atoll.registry.nodes import Nodes
from atoll.server.serve import run
from atoll.settings import Watchdog, load

if __name__ == "__main__":
    state, seconds = Path(sys.argv[1]), float(sys.argv[2])
    listed = Nodes.all

    def somebody_who_blocks(nodes: Nodes, now: Any) -> Any:
        if (state / "block").exists():
            (state / "block").unlink()
            time.sleep(seconds)
        return listed(nodes, now)

    setattr(Nodes, "all", somebody_who_blocks)  # noqa: B010 -- mypy is right that this is no way to treat a class
    log_to_stderr()
    settings = load(state, {"ATOLL_API_PORT": "0", "ATOLL_WATCHDOG_LIMIT": "0.4", "ATOLL_WATCHDOG_QUIET": "1.5"})
    assert settings.watchdog == Watchdog(limit=0.4, quiet=1.5)
    run(settings)
