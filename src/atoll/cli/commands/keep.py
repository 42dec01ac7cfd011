"""`atoll backup FILE` and `atoll restore FILE`: the facts as one consistent SQLite file."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import click

from atoll.cli.facts import V1
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import size
from atoll.cli.options import command
from atoll.errors import Unreachable
from atoll.kit.files import sync_folder

BACKUP_SECONDS = 600.0
"""A backup may take longer than other answers."""
MAGIC = b"SQLite format 3\0"

_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
_YES = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@command("backup")
@_FILE
@_YES
def backup(invocation: Invocation, file: Path, *, yes: bool) -> None:
    """Save the facts of the running platform to a file.

    The file appears when it is whole. It holds no instance that would be alive later: they register again.
    """
    target = invocation.base / file
    if target.exists():
        invocation.confirm(f"replace {target}", yes=yes)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out:
            count = invocation.api.download(f"{V1}/backup", out.write, timeout=BACKUP_SECONDS)
            out.flush()
            os.fsync(out.fileno())
        _check(part)
        part.replace(target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)
    if invocation.json:
        invocation.show.json({"file": str(target), "bytes": count})
    invocation.talk.note(f"saved to {target} ({size(count)})")


def _check(part: Path) -> None:
    """Refuse to call something a backup that is none."""
    with part.open("rb") as file:
        whole = file.read(len(MAGIC)) == MAGIC
    if whole:
        connection = sqlite3.connect(f"{part.as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            whole = connection.execute("PRAGMA quick_check").fetchone() == ("ok",)
        except sqlite3.DatabaseError:
            whole = False
        finally:
            connection.close()
    if not whole:
        raise Unreachable("what came is not a whole backup", hint="try again; `atoll doctor` shows what is wrong")


@command("restore")
@_FILE
@_YES
def restore(invocation: Invocation, file: Path, *, yes: bool) -> None:
    """Put a backup in the place of a stopped platform's facts.

    The facts that were there stay beside it, under another name.
    """
    from atoll.cli import nodefile
    from atoll.cli.place import STATE_FOLDER, settings_here
    from atoll.errors import AlreadyRunning
    from atoll.settings import load
    from atoll.store.backup import restore as restore_store

    settings = settings_here(invocation) or load(invocation.base / STATE_FOLDER, invocation.environ)
    node = nodefile.read(settings)
    if node is not None:
        raise AlreadyRunning(f"the platform runs (pid {node.pid})", hint="stop it first: atoll down", pid=node.pid)
    if settings.state.exists():
        invocation.confirm(f"replace the facts in {settings.state}", yes=yes)
    done = restore_store(invocation.base / file, settings.state)
    if invocation.json:
        kept = None if done.kept is None else str(done.kept)
        invocation.show.json({"revision": done.revision, "backup_revision": done.backup_revision, "kept": kept})
    invocation.talk.note(f"restored revision {done.backup_revision} into {settings.state}")
    if done.kept is not None:
        invocation.talk.note(f"what was there before is in {done.kept}")
