"""The console of a running platform: takes what the node tells and never makes it wait.

The node drives a gateway on its event loop; a terminal that is stopped (Ctrl-S) or slow must not stop that. Events go
into a bounded queue that one thread draws from. At the bound, output lines are left out here and counted (they are in
the log files); other events are few, and have a bound of their own beyond which the newest are left out.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from atoll.cli.screen import Screen

LINES_LIMIT = 10_000
"""Output lines that wait for the terminal; what is more is left out and counted."""
EVENTS_LIMIT = 1_000
"""Other events that wait for the terminal; a stopped one does not hear of more."""
CLOSE_SECONDS = 2.0
"""How long the end of the program waits for a terminal that does not take its last lines."""


class Console:
    """See `wiring` for who calls it. Methods return at once and never raise."""

    def __init__(
        self,
        screen: Screen,
        *,
        on_part: Callable[[str, str], None] | None = None,
        on_ready: Callable[[float], None] | None = None,
        on_failed: Callable[[str, str], None] | None = None,
    ) -> None:
        self._screen = screen
        self._on_part = on_part
        self._on_ready = on_ready
        self._on_failed = on_failed
        self._waiting: deque[Callable[[], None]] = deque()
        self._lines = 0
        self._skipped = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def part_begins(self, name: str) -> None:
        """A part of the platform (`gateway`) is being started."""
        self._tell(lambda: self._screen.part_begins(name))

    def part_ready(self, name: str, seconds: float, where: str = "") -> None:
        """It runs, after so many seconds, at `where`."""
        if self._on_part is not None:
            self._on_part(name, where)
        self._tell(lambda: self._screen.part_ready(name, seconds, where))

    def part_failed(self, name: str, cause: str) -> None:
        """It does not run; whoever calls this raises the error as well."""
        self._tell(lambda: self._screen.part_failed(name, cause))

    def services(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """All services: how many instances pass, how many are wanted. Only differences are shown."""
        kept = dict(progress)
        self._tell(lambda: self._screen.services(kept))

    def service_failed(self, service: str, cause: str, last_lines: Sequence[str] = ()) -> None:
        """A service does not come up (once per episode)."""
        kept = tuple(last_lines)
        if self._on_failed is not None:
            self._on_failed(service, cause)
        self._tell(lambda: self._screen.service_failed(service, cause, kept))

    def line(self, service: str, instance: str, text: str) -> None:
        """A line of output."""
        with self._changed:
            if self._lines >= LINES_LIMIT:
                self._skipped += 1
                return
            self._lines += 1
            self._waiting.append(lambda: self._line(service, instance, text))
            self._changed.notify()

    def note(self, text: str) -> None:
        """Something good to know."""
        self._tell(lambda: self._screen.note(text))

    def warning(self, text: str, hint: str = "") -> None:
        """Something is not as it should be, and what to do about it."""
        self._tell(lambda: self._screen.warning(text, hint))

    def ready(self, seconds: float, urls: Sequence[tuple[str, str]], curl: str = "") -> None:
        """Everything that was asked for passes; what is where, and a command to try."""
        kept = tuple(urls)
        if self._on_ready is not None:
            self._on_ready(seconds)
        self._tell(lambda: self._screen.ready(seconds, kept, curl))

    def stopping(self, left: Mapping[str, int]) -> None:
        """The end has begun: instances that still run, by service."""
        kept = dict(left)
        self._tell(lambda: self._screen.stopping(kept))

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Show what is waiting, for at most `seconds`."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)

    def _line(self, service: str, instance: str, text: str) -> None:
        with self._changed:
            self._lines -= 1
        self._screen.line(service, instance, text)

    def _tell(self, event: Callable[[], None]) -> None:
        with self._changed:
            if len(self._waiting) - self._lines >= EVENTS_LIMIT:
                return
            self._waiting.append(event)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                event = self._waiting.popleft()
            event()
            with self._changed:
                skipped = self._skipped if not self._lines else 0
                self._skipped -= skipped
            if skipped:
                self._screen.skipped(skipped)
        self._screen.finish()
