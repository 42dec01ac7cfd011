"""How far the log files were read into the store: one small file, replaced after every commit, never before.

It is not forced to disk: after a power cut it may be older than the store (lines come twice), or unreadable (every line
that is still in the files comes again); it is never newer.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from atoll.kit.files import replace_file
from atoll.kit.logs import Log
from atoll.telemetry.logs.source import Place

log = Log("telemetry")


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """Of one instance: where to read on, and the start of the run whose lines come next."""

    place: Place
    run: str = ""


def load(path: Path) -> dict[str, dict[str, Kept]]:
    """What was kept, by source and instance; nothing when there is no file or it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Kept]])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, ValueError) as error:
        log.warning("how far logs were read is not known: what is in the files is read again", error=error)
        return {}


def save(path: Path, kept: dict[str, dict[str, Kept]]) -> None:
    """Keep it. Blocking, half a millisecond.

    Raises:
        OSError: the disk does not take it; the file is as it was.
    """
    replace_file(path, msgspec.json.encode(kept), durable=False)
