"""What `atoll doctor` finds out: one small check each, none of which changes anything."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from atoll.errors import AtollError
from atoll.settings import SOCKET_PATH_LIMIT, Settings

DISK_LOW = 1 << 30
"""Bytes free below which logs and facts will soon have no room."""
DISK_OUT = 64 << 20
CLOCK_FLOOR = 1_780_000_000.0
"""Mid-2026, before this version was written: a clock that shows less was never set."""
PYTHON_FLOOR = (3, 11)
SQLITE_FLOOR = (3, 51, 3)
"""The first version without the WAL-reset bug."""

OPENSSL_KEPT = (3, 5, 0)
"""The oldest OpenSSL 3 that its makers still mend (3.0 ended in September 2026); a distribution mends its own longer."""


class Verdict(StrEnum):
    """Of one check."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found, and (unless it is ok) how to mend it."""

    check: str
    verdict: Verdict = Verdict.OK
    detail: str = ""
    fix: str = ""


Check = Callable[[], Iterator[Finding]]


def run_check(name: str, check: Check) -> Iterator[Finding]:
    """The findings of one check; a check that fails is a finding itself."""
    try:
        yield from check()
    except AtollError as error:
        yield Finding(check=name, verdict=Verdict.BROKEN, detail=error.detail, fix=error.hint or "")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        yield Finding(
            check=name,
            verdict=Verdict.WARNING,
            detail=f"could not look: {where}{error.strerror or error}",
            fix="run this as the user who runs the platform",
        )


def check_python() -> Iterator[Finding]:
    """Version of the interpreter and the system."""
    version = platform.python_version()
    if sys.version_info[:2] < PYTHON_FLOOR:
        yield Finding(
            check="python",
            verdict=Verdict.BROKEN,
            detail=f"Python {version} is too old",
            fix="install Python 3.11 or newer",
        )
    elif sys.platform != "linux":
        yield Finding(
            check="python", verdict=Verdict.BROKEN, detail=f"{platform.system()} is not supported", fix="use Linux"
        )
    else:
        yield Finding(check="python", detail=f"Python {version} on {platform.system()} {platform.release()}")


def check_haproxy(setting: str) -> Iterator[Finding]:
    """Which HAProxy would run, and on which OpenSSL."""
    from atoll.gateway.binary import dotted, find_binary

    binary = find_binary(setting)
    unpatched = binary.origin == "bundled" and not binary.libraries and binary.openssl is not None
    if unpatched and binary.openssl is not None and binary.openssl < OPENSSL_KEPT:
        fix = f"OpenSSL {dotted(binary.openssl)} gets no fixes any more: install the system's OpenSSL 3 (libssl.so.3)"
        yield Finding(check="haproxy", verdict=Verdict.WARNING, detail=binary.describe(), fix=fix)
    else:
        yield Finding(check="haproxy", detail=binary.describe())


def check_sqlite() -> Iterator[Finding]:
    """The SQLite that the store uses (not Python's)."""
    import apsw

    text = apsw.sqlite_lib_version()
    if tuple(int(part) for part in text.split(".")[:3]) < SQLITE_FLOOR:
        yield Finding(
            check="sqlite",
            verdict=Verdict.BROKEN,
            detail=f"SQLite {text} has the WAL-reset bug",
            fix="pip install --upgrade apsw",
        )
    else:
        yield Finding(check="sqlite", detail=f"SQLite {text} (apsw's own)")


def check_disk(folder: Path) -> Iterator[Finding]:
    """Free space where the state is, or will be."""
    present = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(present).free
    verdict = Verdict.BROKEN if free < DISK_OUT else Verdict.WARNING if free < DISK_LOW else Verdict.OK
    yield Finding(
        check="disk",
        verdict=verdict,
        detail=f"{free / (1 << 30):.1f} GiB free at {present}",
        fix="" if verdict is Verdict.OK else "make room: without it writes are refused",
    )


def check_clock(wall: float, state: Path) -> Iterator[Finding]:
    """Whether the wall clock can be right: history is read by it."""
    newest = 0.0
    for path in (state / "state.db", state / "token"):
        if path.exists():
            newest = max(newest, path.stat().st_mtime)
    if wall < CLOCK_FLOOR:
        detail = "the clock was never set"
    elif newest > wall + 60:
        detail = f"the clock is {newest - wall:.0f} s behind the newest file of the state folder"
    else:
        yield Finding(check="clock", detail="plausible")
        return
    yield Finding(check="clock", verdict=Verdict.WARNING, detail=detail, fix="set it, and keep it with NTP")


def check_state(settings: Settings) -> Iterator[Finding]:
    """Whose the state folder is and who may enter it; the token likewise."""
    if not settings.state.exists():
        yield Finding(check="state", detail=f"{settings.state} does not exist yet; `atoll up` makes it")
        return
    for path, allowed in ((settings.state, 0o700), (settings.token_file, 0o600), (settings.run, 0o700)):
        if path.exists():
            yield _modes(path, allowed)
    if not os.access(settings.state, os.W_OK | os.X_OK):
        yield Finding(
            check="state",
            verdict=Verdict.BROKEN,
            detail=f"this user may not write to {settings.state}",
            fix=f"chown it, or run as the user who owns it ({settings.state.owner()})",
        )


def _modes(path: Path, allowed: int) -> Finding:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.getuid():
        return Finding(
            check="state",
            verdict=Verdict.BROKEN,
            detail=f"{path} belongs to user {status.st_uid}, not to you ({os.getuid()})",
            fix=f"sudo chown -R {os.getuid()} {path}",
        )
    if mode & 0o077:
        return Finding(
            check="state",
            verdict=Verdict.BROKEN,
            detail=f"others may look into {path} (mode {mode:04o})",
            fix=f"chmod {allowed:o} {path}",
        )
    return Finding(check="state", detail=f"{path} is yours alone (mode {mode:04o})")


def check_sockets(settings: Settings) -> Iterator[Finding]:
    """Whether the paths of the unix sockets are short enough."""
    length = len(os.fsencode(settings.run)) + len("/haproxy/master.sock")
    if length > SOCKET_PATH_LIMIT:
        yield Finding(
            check="sockets",
            verdict=Verdict.BROKEN,
            detail=f"{settings.run} is {length - SOCKET_PATH_LIMIT} bytes too long for a unix socket",
            fix="set XDG_RUNTIME_DIR to a short path, or move the project",
        )
    else:
        yield Finding(check="sockets", detail=f"in {settings.run}")
