"""The report of a drill or a chaos run as a file: `<state>/drills/ID.json`, and ID.requests.jsonl with the whole history.

Owns the folder: private to the user, at most KEPT reports, the oldest go. Names are made of time and kind, never of
what a user wrote.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from atoll.drill.history import History
from atoll.drill.judge import Verdict
from atoll.errors import NotFound
from atoll.kit.files import private_folder, replace_file
from atoll.kit.text import scrub

KEPT = 200
"""Reports of one kind."""

T = TypeVar("T")


class DrillReport(msgspec.Struct, frozen=True, kw_only=True):
    """One drill. Wall seconds in `at`, seconds elsewhere."""

    id: str
    at: float
    fault: str
    """kill, pause, slow, errors, partition."""
    target: str
    service: str
    instances: tuple[str, ...]
    """Those that the fault concerned."""
    of: int
    """Instances of the service that served before."""
    load: str
    """What was asked; empty: nothing could be."""
    rate: float
    duration: float
    hold: float | None
    """How long the fault lasted; None: it is not one that lasts."""
    summary: str
    verdict: Verdict


def new_id(wall: float, kind: str) -> str:
    """A name that sorts by time."""
    moment = dt.datetime.fromtimestamp(wall, dt.UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}-{kind}"


class Reports:
    """The reports in one folder of the state folder, all of one kind."""

    def __init__(self, state: Path, kind: type[T], *, folder: str) -> None:
        self.folder = state / folder
        self._kind = kind

    def keep(self, identity: str, report: msgspec.Struct, history: History | None = None) -> Path:
        """Write a report down; returns its file."""
        private_folder(self.folder)
        path = self.folder / f"{identity}.json"
        if history is not None:
            lines = [msgspec.json.encode(one) for one in (*history.requests, *history.looks)]
            replace_file(self.folder / f"{identity}.requests.jsonl", b"\n".join(lines) + b"\n", durable=False)
        replace_file(path, msgspec.json.format(msgspec.json.encode(report), indent=2), durable=False)
        for old in self._ids()[:-KEPT]:
            for suffix in (".json", ".requests.jsonl"):
                with contextlib.suppress(OSError):
                    (self.folder / f"{old}{suffix}").unlink()
        return path

    def all(self) -> list[Any]:
        """Every report that can be read, the oldest first."""
        found = (self._read(identity) for identity in self._ids())
        return [one for one in found if one is not None]

    def one(self, identity: str) -> Any:
        """The report with this id, or `latest`.

        Raises:
            NotFound: there is none.
        """
        ids = self._ids()
        wanted = ids[-1] if identity == "latest" and ids else identity
        found = self._read(wanted) if wanted in ids else None
        if found is None:
            raise NotFound(
                f"there is no report `{scrub(identity, limit=80)}`", hint="the `list` beside `show` has them"
            )
        return found

    def _ids(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def _read(self, identity: str) -> Any:
        try:
            return msgspec.json.decode((self.folder / f"{identity}.json").read_bytes(), type=self._kind)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
