"""Who has the machine is found out: our own work is not others', and others' work is."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from tests.fault.checks.others import Others

BURN = "import time\nend = time.monotonic() + 0.6\nwhile time.monotonic() < end: pass"


def test_what_our_children_do_is_ours() -> None:
    others = Others()
    child = subprocess.Popen([sys.executable, "-c", BURN])
    time.sleep(0.5)
    with_child = others.share()
    spent = sum(psutil.Process(child.pid).cpu_times()[:2])
    child.wait()
    assert spent > 0
    # whatever others did, the child's part is not in it
    assert with_child <= 1 - spent / (os.cpu_count() or 1) / 0.5 + 0.1


def test_what_a_stranger_does_is_not() -> None:
    others = Others()
    script = f"import os\nif os.fork() == 0:\n os.setsid()\n exec({BURN!r})\n os._exit(0)"
    subprocess.run([sys.executable, "-c", script], check=True)  # its parent is gone, so it is nobody's of ours
    began = time.monotonic()
    time.sleep(0.4)
    mine = sum(psutil.Process().cpu_times()[:2])
    share = others.share()
    assert mine >= 0
    assert share > 0.02, f"after {time.monotonic() - began:.1f} s"
