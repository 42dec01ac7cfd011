"""The control plane as a process of its own, for tests: `python api_server.py STATE`."""

from __future__ import annotations

import sys
from pathlib import Path

from atoll.errors import AtollError
from atoll.kit.logs import log_to_stderr
from atoll.server.serve import run
from atoll.settings import load

if __name__ == "__main__":
    log_to_stderr()
    try:
        run(load(Path(sys.argv[1]), {"ATOLL_API_PORT": "0"}))
    except AtollError as error:
        sys.exit(f"{error.code}: {error.detail}")
