"""What a node says of itself, kept as its children's output is: in a file of bounded size that telemetry reads on in.

`<state>/platform/node/node.log`, whoever shows the lines elsewhere (a console, the file of `up -d`). A line is written
when it is logged; a disk that is full or slow costs lines, which are counted in the file, never the node.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from atoll.kit.files import private_folder
from atoll.kit.logs import FORMAT, TIME
from atoll.settings import Settings
from atoll.supervisor import keeper

NAME = "node"


class OwnLog(logging.Handler):
    """Writes to a log as keepers write them."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter(FORMAT, TIME))
        folder = private_folder(settings.state / "platform" / NAME)
        knobs = settings.supervisor
        self._log = keeper.Log(str(folder / f"{NAME}.log"), knobs.line_limit, knobs.log_bytes)
        self._log.note(f"started: node {settings.node}")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a broken one is logging's own business."""
        try:
            self._log.feed((self.format(record) + "\n").encode("utf-8", "replace"))
        except (TypeError, ValueError):
            self.handleError(record)

    def close(self) -> None:
        """Nothing more comes."""
        super().close()
        self._log.end()


@contextlib.contextmanager
def own_log(settings: Settings) -> Iterator[None]:
    """Keep what atoll logs in this process from INFO on, for the length of the block."""
    root = logging.getLogger("atoll")
    handler = OwnLog(settings)
    before = root.level
    root.addHandler(handler)
    root.setLevel(min(before or logging.WARNING, logging.INFO))
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()
