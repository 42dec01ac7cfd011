"""What an earlier node left running: goes on under this one, or is ended; nothing else is ever touched.

A record is believed when the machine confirms it (`record.proved`): boot, pid, start time and mark. A keeper that has
ended without saying how was killed; what it held bears the mark and is ended before the instance may start again.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from atoll.kit.logs import Log
from atoll.model.names import InstanceId
from atoll.supervisor import child, processes, record
from atoll.supervisor.child import Child
from atoll.supervisor.record import Places

log = Log("supervisor")


def survivors(places: Places) -> list[Child]:
    """The children that still run. Records of all others are cleared, with the strays they may have. Blocking."""
    found: list[Child] = []
    for one in record.read_all(places):
        running = child.adopt(one, places)
        if running is not None:
            log.info("adopted", instance=one.note.instance, pid=running.pid)
            found.append(running)
            continue
        if one.boot == processes.boot_id() and one.exit is None and not record.proved(one):
            strays = child.end_marked(one.note.mark)
            log.info("not adopted", instance=one.note.instance, strays_ended=strays)
        if not record.proved(one):
            record.clear(places, one.note.instance)
    return found


def running(places: Places, instance: InstanceId) -> Child | None:
    """The child of one instance, if its record leads to one that runs. Blocking."""
    found = record.read(places.record(instance))
    return child.adopt(found, places) if found is not None else None


def end_keeper(places: Places, instance: InstanceId) -> int:
    """End a keeper that holds the instance's lock and whose record is lost; how many were told. Blocking."""
    told = 0
    lock = os.fsencode(places.lock(instance))
    for pid in processes.table():
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if lock in words and os.fsencode(child.KEEPER) in words:
                signal.pidfd_send_signal(pidfd, signal.SIGUSR1)
                told += 1
        except OSError:
            continue
        finally:
            with contextlib.suppress(OSError):
                os.close(pidfd)
    return told
