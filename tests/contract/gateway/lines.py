"""Who reads HAProxy's request log in tests: what came, as columns by name."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Self

Line = dict[str, str]


def columns() -> list[str]:
    """The names of a line's columns, as telemetry's schema has them."""
    text = files("atoll.telemetry").joinpath("schema", "requests.sql").read_text("utf-8")
    table = text.split("raw_requests\n(", 1)[1].split("ENGINE", 1)[0]
    return re.findall(r"^\s+(\w+) String", table, re.MULTILINE)


COLUMNS = columns()


class Lines:
    """Listens where HAProxy's log goes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.received = b""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while chunk := connection.recv(1 << 16):
                self.received += chunk

    @property
    def requests(self) -> list[Line]:
        """The lines of requests, in order."""
        rows = [line.split("\t") for line in self.received.decode("utf-8").split("\n")[:-1]]
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows if len(row) > 1]

    @property
    def others(self) -> list[str]:
        """Lines of HAProxy itself."""
        return [line for line in self.received.decode("utf-8").split("\n")[:-1] if "\t" not in line]

    def next(self, wanted: Callable[[Line], bool] = lambda _: True, seconds: float = 8.0) -> Line:
        """The first line that is `wanted`, when it has come."""
        end = time.monotonic() + seconds
        while True:
            for line in self.requests:
                if wanted(line):
                    return line
            assert time.monotonic() < end, f"not in {seconds} s among {self.received!r}"
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # closing alone leaves the thread in accept()
        self._server.close()
