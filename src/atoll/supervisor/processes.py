"""The machine's process table, read only: who is whose, since when, how big, and who bears our mark."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MARK = "ATOLL_INSTANCE_MARK"
"""Environment variable that every process of an instance inherits; its value is new for each start."""
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One line of the table. `start` in clock ticks since boot, `cpu` in seconds, `memory` in resident bytes."""

    pid: int
    parent: int
    session: int
    start: int
    cpu: float
    memory: int
    zombie: bool


@dataclass(frozen=True)
class Usage:
    """What a tree of processes uses."""

    cpu: float = 0.0
    """Seconds of processor since its start."""
    memory: int = 0
    descriptors: int = 0


def process(pid: int) -> Process | None:
    """The process with this pid now; None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
        word = text.rpartition(b")")[2].split()
        return Process(
            pid=pid,
            parent=int(word[1]),
            session=int(word[3]),
            start=int(word[19]),
            cpu=(int(word[11]) + int(word[12])) / TICKS,
            memory=int(word[21]) * PAGE,
            zombie=word[0] in {b"Z", b"X"},
        )
    except (OSError, IndexError, ValueError):
        return None


def table() -> dict[int, Process]:
    """Every process that can be seen; blocking, some milliseconds for hundreds of them."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - names, not paths
    except OSError:  # no descriptor left: nothing can be seen now
        return {}
    found = (process(int(name)) for name in names if name.isdigit())
    return {one.pid: one for one in found if one is not None}


def below(root: int, processes: Mapping[int, Process]) -> list[Process]:
    """Everything that descends from `root`, itself left out."""
    children: dict[int, list[Process]] = {}
    for one in processes.values():
        children.setdefault(one.parent, []).append(one)
    found: list[Process] = []
    level = children.get(root, [])
    while level:
        found += level
        level = [child for one in level for child in children.get(one.pid, [])]
    return found


def usage(members: Iterable[Process]) -> Usage:
    """The sum over `members`; counts their descriptors, which reads the disk's /proc once per process."""
    cpu, memory, descriptors = 0.0, 0, 0
    for one in members:
        cpu += one.cpu
        memory += one.memory
        try:
            descriptors += len(os.listdir(f"/proc/{one.pid}/fd"))  # noqa: PTH208
        except OSError:
            continue
    return Usage(cpu, memory, descriptors)


def bears(pid: int, mark: str) -> bool:
    """Whether this process was started with the mark."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def boot_id() -> str:
    """Names this boot of this machine: pids and start times of another one mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
