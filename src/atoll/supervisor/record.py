"""What is written about a running child, so that the next node knows it: one file per instance, written by its keeper.

`<run>/children/<instance>.json` names the keeper and the child by pid and start time, the boot, the mark and what was
wanted at the start; after the end also how it ended. `<run>/children/<instance>.keeper` is locked while the keeper
lives, so two nodes never run the same instance twice; it holds the counters of cut and dropped lines.
A record is a claim, not a proof: `proved` asks the machine, and everything that cannot be proved is left alone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from atoll.errors import AtollError
from atoll.kit.files import private_folder
from atoll.model.names import InstanceId, ServiceName, instance_id, service_name
from atoll.settings import Settings
from atoll.supervisor import processes
from atoll.supervisor.ending import Ending

RECORD_LIMIT = 64 << 10
"""Bytes of a record that are read; ours have some hundreds."""


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What the node wanted when it started the child."""

    service: ServiceName
    instance: InstanceId
    mark: str
    port: int | None
    digest: str
    """Of everything that a change of would need a new process for."""
    restarts: int
    """The operator's restart count at the start (`Run.restarts`)."""
    ends: int = 0
    """Unexpected ends of this instance before."""
    started: float = 0.0
    """Wall time."""


class Exit(msgspec.Struct, frozen=True):
    """How it ended, as the keeper saw it."""

    code: int
    wall: float
    cut: int = 0
    dropped: int = 0
    oom: bool = False


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record file. `keeper` and `child` are (pid, start time in ticks since boot)."""

    boot: str
    keeper: tuple[int, int]
    note: Note
    child: tuple[int, int] | None = None
    subreaper: bool = False
    exit: Exit | None = None

    @property
    def ending(self) -> Ending:
        """The end it tells of; without one, the keeper did not live to write it."""
        if self.exit is None:
            return Ending(None)
        return Ending(self.exit.code, self.exit.oom, self.exit.cut, self.exit.dropped)


@dataclass(frozen=True)
class Places:
    """Where the files of an instance are."""

    children: Path
    logs: Path

    @classmethod
    def of(cls, settings: Settings) -> Places:
        """The folders of this platform; made when missing."""
        return cls(private_folder(settings.run / "children"), private_folder(settings.logs))

    def record(self, instance: InstanceId) -> Path:
        """The record; removed when the instance is gone for good."""
        return self.children / f"{instance}.json"

    def lock(self, instance: InstanceId) -> Path:
        """The lock and counters; stays (unlinking it would race with the next keeper)."""
        return self.children / f"{instance}.keeper"

    def log(self, service: ServiceName, instance: InstanceId) -> Path:
        """The newer of the two log files."""
        return self.logs / service / f"{instance}.log"


def read(path: Path) -> Record | None:
    """The record in this file; None when there is none, or it is not one of ours."""
    try:
        with path.open("rb") as file:
            record = msgspec.json.decode(file.read(RECORD_LIMIT), type=Record)
        service_name(record.note.service)
        instance_id(record.note.instance)
    except (OSError, msgspec.DecodeError, AtollError):
        return None
    named = path.name == f"{record.note.instance}.json"
    sane = record.keeper[0] > 1 and (record.child is None or record.child[0] > 1) and bool(record.note.mark)
    return record if named and sane else None


def read_all(places: Places) -> list[Record]:
    """Every record that can be read, by instance id."""
    found = (read(path) for path in sorted(places.children.glob("*.json")))
    return [record for record in found if record is not None]


def proved(record: Record) -> bool:
    """Whether its keeper runs: same boot, same pid, same start time, and it bears the mark. A reused pid never does."""
    pid, start = record.keeper
    if record.boot != processes.boot_id():
        return False
    now = processes.process(pid)
    return now is not None and not now.zombie and now.start == start and processes.bears(pid, record.note.mark)


def clear(places: Places, instance: InstanceId) -> None:
    """The instance is gone for good."""
    with contextlib.suppress(OSError):
        places.record(instance).unlink(missing_ok=True)


def counters(places: Places, instance: InstanceId) -> tuple[int, int]:
    """Lines (cut, dropped) of the present or last run."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        words = places.lock(instance).read_text().split()
        return int(words[0]), int(words[1])
    return 0, 0
