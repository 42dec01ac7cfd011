"""Run the catalog on 127.0.0.1:$PORT. A plain `uvicorn app:api` works as well, but ends with signal 15 instead of code 0."""

from __future__ import annotations

import os
import signal
import sys

import uvicorn
from app import api
from request_log import RequestLog

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again once it has stopped
    uvicorn.run(
        RequestLog(api),
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        log_level="warning",  # the request log is ours
        access_log=False,
        timeout_keep_alive=75,  # seconds; longer than a proxy keeps an idle connection, so it never meets a closed one
        timeout_graceful_shutdown=10,
        ws_max_size=65_536,
        server_header=False,
    )
