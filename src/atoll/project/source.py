"""Which file a path means, and its text. Bounded; a pipe, a folder or bytes that are no text are refused with the reason."""

from __future__ import annotations

import os
from pathlib import Path as File

from atoll.kit.text import scrub
from atoll.project.finding import Code, Finding, invalid

NAMES = (
    "atoll.yaml", "atoll.yml", "compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "Procfile",
)  # fmt: skip
"""Looked for in a folder, in this order."""
FILE_LIMIT = 512 << 10
"""Bytes of a project file; a thousand services need 150 kB."""
ENV_FILE_LIMIT = 256 << 10


def find_file(path: File) -> File:
    """The project file that `path` means: itself, or the first known name in that folder.

    Raises:
        ProjectInvalid: there is none.
    """
    if not path.is_dir():
        return path
    for name in NAMES:
        if (path / name).exists():
            return path / name
    finding = Finding(
        code=Code.NO_FILE,
        message=f"no project file in {scrub(str(path), limit=300)}",
        hint="write an atoll.yaml, or start one command with `atoll run NAME -- COMMAND`",
    )
    raise invalid([finding], what=str(path))


def read_source(path: File, file: str) -> str:
    """The text of the project file at `path`; `file` is its name for messages.

    Raises:
        ProjectInvalid: it cannot be read.
    """
    try:
        return _text(path, limit=FILE_LIMIT)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        large = isinstance(error, _TooLarge)
        finding = Finding(
            code=Code.TOO_LARGE if large else Code.UNREADABLE,
            message=f"{scrub(file, limit=200)} cannot be read: {scrub(reason, limit=200)}",
            file=file,
            hint="" if large else f"looked for {scrub(str(path), limit=300)}",
        )
        raise invalid([finding], what=file) from None


class _TooLarge(ValueError):
    """A file is over its limit."""


def _text(path: File, *, limit: int) -> str:
    """The text of a regular file.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not a file, too large, or not UTF-8.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO must not make us wait
    with os.fdopen(descriptor, "rb") as stream:
        if not path.is_file():
            raise ValueError("it is not a file")
        raw = stream.read(limit + 1)
    if len(raw) > limit:
        raise _TooLarge(f"it is over {limit >> 10} kB")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from None


def read_env_file(path: File) -> str:
    """The text of a file of variables.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is not a file, too large, or not UTF-8.
    """
    return _text(path, limit=ENV_FILE_LIMIT)


def shown(path: File) -> str:
    """A path as people want to see it: from the current folder when it lies below."""
    try:
        return str(path.absolute().relative_to(File.cwd()))
    except ValueError:
        return str(path)
