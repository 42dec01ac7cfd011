"""Who has the machine is found out: our own work is not others', and others' work is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.fault.checks.others import Others

WORK = 0.3
"""Seconds of processor time that a child, or a stranger, takes; then it ends."""
BURN = f"import time\nwhile time.process_time() < {WORK}: pass"
STRANGER = f"""
import os, sys
if (pid := os.fork()) == 0:
    os.setsid()
    exec({BURN!r})
else:
    open(sys.argv[1], "w").write(str(pid))
"""
PART = 0.2
TICKS = 0.05
"""Seconds by which the kernel's books of processor time may be wrong."""


def spent(pid: int) -> float:
    """Seconds of processor time so far; all of it once it has ended."""
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return WORK


def test_what_our_children_do_is_ours() -> None:
    began, others = time.monotonic(), Others()
    child = subprocess.Popen([sys.executable, "-c", BURN])
    while (taken := spent(child.pid)) < PART:
        time.sleep(0.01)
    share = others.share()
    seconds = (time.monotonic() - began) * (os.cpu_count() or 1)
    child.wait()
    # whatever others did, the child's part is not in it
    assert share * seconds <= seconds - taken + TICKS * (os.cpu_count() or 1)


def test_what_a_stranger_does_is_not(tmp_path: Path) -> None:
    began, others, told = time.monotonic(), Others(), tmp_path / "pid"
    subprocess.run([sys.executable, "-c", STRANGER, told], check=True)  # its parent is gone, so it is nobody's of ours
    pid, taken = int(told.read_text()), 0.0
    while taken < PART:
        time.sleep(0.01)
        taken = spent(pid)
    share = others.share()
    seconds = (time.monotonic() - began) * (os.cpu_count() or 1)
    assert share * seconds >= PART - TICKS * (os.cpu_count() or 1)
