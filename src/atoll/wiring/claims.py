"""Which mesh ports the living platforms of this user hold, also in the moment in which nobody listens there.

A HAProxy that is being started again does not listen: who looked at listeners alone would take its ports, and it would
never come back. So every node leaves a note in the user's runtime folder. The note counts for as long as its node or its
HAProxy lives, each proved by pid, start time and boot; notes of the dead are removed by whoever reads them. Platforms of
other users are not seen here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from atoll.gateway.config import Files
from atoll.gateway.process import Identity, alive, identity, recorded
from atoll.kit.files import private_folder, replace_file
from atoll.settings import Settings


class Claim(msgspec.Struct, frozen=True):
    """Ports of one platform."""

    state: str
    """Its folder."""
    ports: tuple[int, ...]
    node: Identity
    proxy: str
    """The file in which its node writes down which HAProxy runs."""

    @property
    def holds(self) -> bool:
        """Whether somebody lives who needs the ports. Reads /proc."""
        return alive(self.node) or self.served

    @property
    def served(self) -> bool:
        """Whether its HAProxy lives, with or without a node."""
        proxy = recorded(Path(self.proxy))
        return proxy is not None and alive(proxy)


class Claims:
    """The notes in `folder`. Written by the one node that has its turn (`mesh.choosing`). Every method blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def others(self, settings: Settings) -> Iterator[Claim]:
        """What other living platforms hold."""
        for file in sorted(self._folder.glob("*.json")):
            if file == self._file(settings):
                continue
            try:
                claim = msgspec.json.decode(file.read_bytes(), type=Claim)
            except (OSError, msgspec.DecodeError):
                continue  # removed meanwhile, or of another version
            if claim.holds:
                yield claim
            else:
                with contextlib.suppress(OSError):
                    file.unlink()

    def make(self, settings: Settings, ports: list[int]) -> None:
        """This process is the node of a platform that needs `ports`."""
        me = identity(os.getpid())
        assert me is not None, "a process that runs has an entry in /proc"
        claim = Claim(str(settings.state), tuple(ports), me, str(Files(settings.run / "haproxy").pid))
        replace_file(
            private_folder(self._folder) / self._file(settings).name, msgspec.json.encode(claim), durable=False
        )

    def drop(self, settings: Settings) -> None:
        """This node ends; what its HAProxy goes on using stays claimed."""
        file = self._file(settings)
        with contextlib.suppress(OSError, msgspec.DecodeError):
            claim = msgspec.json.decode(file.read_bytes(), type=Claim)
            if claim.node == identity(os.getpid()) and not claim.served:
                file.unlink()

    def _file(self, settings: Settings) -> Path:
        digest = hashlib.sha256(os.fsencode(os.path.realpath(settings.state))).hexdigest()[:16]
        return self._folder / f"{digest}.json"
