"""`make demo`: the shop in the foreground, and a first customer as soon as it is ready.

Runs `atoll up` here, in this terminal, until Ctrl-C. With `JOURNEY=loop` in the environment customers keep coming, one
every few seconds; with `JOURNEY=none` none comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

FOLDER = Path(__file__).parent
ATOLL = Path(sys.executable).with_name("atoll")
NOBODY_YET = 1  # what `atoll wait` exits with while no platform runs here
READY_WITHIN = "180s"  # the first start compiles every library's bytecode


def send_customers(platform: subprocess.Popen[bytes], gateway: str, mode: str) -> None:
    """Wait until the whole shop is up, then walk the journey; says nothing when the shop is stopped before."""
    wait = [ATOLL, "-C", FOLDER, "wait", "--timeout", READY_WITHIN]
    while (ready := subprocess.run(wait, capture_output=True, check=False)).returncode == NOBODY_YET:
        if platform.poll() is not None:
            return
        time.sleep(0.2)
    if ready.returncode == 0:
        rounds = ["--forever", "--interval", "5"] if mode == "loop" else ["--rounds", "1"]
        subprocess.run([sys.executable, FOLDER / "journey.py", "--base", gateway, *rounds], check=False)


def main() -> int:
    mode = os.environ.get("JOURNEY", "once")
    gateway = f"http://127.0.0.1:{os.environ.get('ATOLL_GATEWAY_PORT', '8080')}"
    platform = subprocess.Popen([ATOLL, "-C", FOLDER, "up"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the platform too, which stops everything in order
    signal.signal(signal.SIGTERM, lambda *_: platform.terminate())
    if mode != "none":
        threading.Thread(target=send_customers, args=(platform, gateway, mode), daemon=True).start()
    return platform.wait()


if __name__ == "__main__":
    sys.exit(main())
