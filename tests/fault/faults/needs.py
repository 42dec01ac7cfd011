"""What a fault needs of the machine; where it is missing the scenario is skipped with that reason, never passed."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def _works(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def _need(there: bool, reason: str) -> None:
    if not there:
        pytest.skip(reason)


@functools.cache
def _strace_works() -> bool:
    return shutil.which("strace") is not None and _works(
        "strace", "-f", "-e", "trace=fdatasync", "-o", "/dev/null", "true"
    )


@functools.cache
def _own_mounts_work() -> bool:
    return shutil.which("unshare") is not None and _works("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


@functools.cache
def _namespaces_work() -> bool:
    name = f"atoll-try-{os.getpid()}"
    if shutil.which("ip") is None or os.geteuid() != 0 or not _works("ip", "netns", "add", name):
        return False
    return _works("ip", "netns", "del", name)


def strace() -> None:
    """Syscalls can be traced and made to fail."""
    _need(_strace_works(), "needs strace and the permission to ptrace (apt-get install strace)")


def own_mounts() -> None:
    """A process can have a file system of its own."""
    _need(_own_mounts_work(), "needs root, or user namespaces, for a tmpfs in `unshare -m`")


def namespaces() -> None:
    """Network namespaces and veth pairs."""
    _need(_namespaces_work(), "needs root and iproute2 for network namespaces")


def libfaketime() -> Path:
    """The library that sets a process's clock; from $LIBFAKETIME or where Debian puts it."""
    named = os.environ.get("LIBFAKETIME")
    found = [Path(named)] if named else list(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    paths = [path for path in found if path.is_file()]
    _need(bool(paths), "needs libfaketime (apt-get install libfaketime, or $LIBFAKETIME names the .so)")
    return paths[0]
