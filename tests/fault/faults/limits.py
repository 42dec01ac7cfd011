"""Descriptors, memory or file size of a program, limited by the kernel."""

from __future__ import annotations

import resource


def few_descriptors(count: int) -> list[str]:
    """The words before a command that may hold at most `count` descriptors."""
    return ["prlimit", f"--nofile={count}:{count}", "--"]


def little_memory(bytes_: int) -> list[str]:
    """The words before a command whose address space is limited."""
    return ["prlimit", f"--as={bytes_}:{bytes_}", "--"]


def small_files(bytes_: int) -> list[str]:
    """The words before a command that may not make a file larger than this (SIGXFSZ, or EFBIG when ignored)."""
    return ["prlimit", f"--fsize={bytes_}:{bytes_}", "--"]


def starve_descriptors(pid: int, count: int) -> tuple[int, int]:
    """Limit the descriptors of a running process; returns the old limits, to be given back with `feed_descriptors`."""
    old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, old[1]))
    return old


def feed_descriptors(pid: int, limits: tuple[int, int]) -> None:
    """Heal `starve_descriptors`."""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
