"""What `atoll up` shows, drawn on two streams: progress and words on one (stderr), output of services on the other.

On a terminal a status line at the bottom says what is still awaited; finished steps stay above it. In plain mode every
event is a line. Every text is scrubbed: a service cannot move the cursor or forge another one's prefix.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TextIO

from atoll.cli.prefix import Prefixer
from atoll.cli.show import cut
from atoll.cli.talk import plain
from atoll.cli.tint import service_tint, tint
from atoll.kit.text import scrub

ERASE = "\r\x1b[2K"


class Screen:
    """Draws at once, in the caller's thread (Console calls it from its own). `live`: stderr is a terminal."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        live: bool = False,
        color_out: bool = False,
        color_err: bool = False,
        quiet: bool = False,
        stop_words: str = "stopping (Ctrl-C again to kill)",
    ) -> None:
        self._out = out
        self._err = err
        self._live = live
        self._color = color_err
        self._quiet = quiet
        self._stop_words = stop_words
        self._pending: dict[str, None] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._stopping: dict[str, int] | None = None
        self._ready = False
        self._status = ""
        self._prefixer = Prefixer(color=color_out)

    def head(self, version: str, project: str, file: str) -> None:
        """The first line."""
        self._say(f"{tint(f'atoll {scrub(version)}', 'bold', on=self._color)}  {scrub(project)}  ({scrub(file)})")

    def part_begins(self, name: str) -> None:
        """A part of the platform is being started."""
        self._pending[name] = None
        self._redraw()

    def part_ready(self, name: str, seconds: float, where: str = "") -> None:
        """It runs."""
        self._pending.pop(name, None)
        self._say(f" {self._mark('✓')} {scrub(name):<15} {seconds:4.1f}s   {scrub(where)}".rstrip())

    def part_failed(self, name: str, cause: str) -> None:
        """It does not."""
        self._pending.pop(name, None)
        self._say(f" {self._mark('✗')} {scrub(name):<15} {plain(cause)}", loud=True)

    def services(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """How many instances of each service pass."""
        changed = {name: count for name, count in progress.items() if self._progress.get(name) != count}
        self._progress = dict(progress)
        if self._live and not self._ready:
            self._redraw()
            return
        for name, (passing, wanted) in changed.items():
            if not self._ready or passing < wanted:
                mark = self._mark("✓" if passing >= wanted else "…")
                self._say(f" {mark} {service_tint(scrub(name), name, on=self._color)} {passing}/{wanted}")

    def service_failed(self, service: str, cause: str, last_lines: Sequence[str] = ()) -> None:
        """An instance does not start, or keeps ending."""
        name = service_tint(scrub(service), service, on=self._color)
        self._say(f" {self._mark('✗')} {name}: {plain(cause)}", loud=True)
        for line in last_lines:
            self._say(f"     | {scrub(line)}", loud=True)

    def line(self, service: str, instance: str, text: str) -> None:
        """A line that an instance printed."""
        self._erase()
        self._write(self._out, self._prefixer.line(service, instance, text) + "\n")
        self._draw()

    def note(self, text: str) -> None:
        """Something good to know."""
        self._say(f"   {plain(text)}")

    def warning(self, text: str, hint: str = "") -> None:
        """Something is not as it should be."""
        self._say(f"{tint('warning:', 'yellow', on=self._color)} {plain(text)}", loud=True)
        if hint:
            self._say(f"  {tint('hint:', 'cyan', on=self._color)} {plain(hint)}", loud=True)

    def ready(self, seconds: float, urls: Sequence[tuple[str, str]], curl: str = "") -> None:
        """Everything that was asked for passes its checks."""
        self._ready = True
        counts = "  ".join(
            f"{self._mark('✓')} {service_tint(scrub(name), name, on=self._color)} {passing}/{wanted}"
            for name, (passing, wanted) in self._progress.items()
        )
        self._say(f" {counts}     ready in {seconds:.1f}s" if counts else f" ready in {seconds:.1f}s")
        widest = max((len(name) for name, _ in urls), default=0)
        for name, url in urls:
            self._say(f"   {scrub(name):<{widest}}  {scrub(url)}")
        if curl:
            self._say(f"   try: {tint(scrub(curl), 'bold', on=self._color)}")

    def stopping(self, left: Mapping[str, int]) -> None:
        """The end has begun; how many instances of each service still run."""
        begun = self._stopping is not None
        gone = [name for name, count in (self._stopping or {}).items() if count and not left.get(name)]
        self._stopping = {name: count for name, count in left.items() if count}
        if not begun:
            self._say(self._stop_words)
        if not self._live:
            for name in gone:
                self._say(f" {self._mark('✓')} {service_tint(scrub(name), name, on=self._color)} stopped")
        self._redraw()

    def skipped(self, count: int) -> None:
        """Lines were left out here because the terminal did not keep up."""
        self.warning(f"{count} lines are not shown here: this terminal is too slow", "they are all in `atoll logs`")

    def finish(self) -> None:
        """Take the status line away."""
        self._pending.clear()
        self._progress.clear()
        self._stopping = None
        self._ready = True
        self._redraw()

    def _mark(self, mark: str) -> str:
        return tint(mark, {"✓": "green", "✗": "red"}.get(mark, "yellow"), on=self._color)

    def _say(self, text: str, *, loud: bool = False) -> None:
        if self._quiet and not loud:
            return
        self._erase()
        self._write(self._err, text + "\n")
        self._draw()

    def _redraw(self) -> None:
        if self._wanted() != self._status:
            self._erase()
            self._draw()

    def _erase(self) -> None:
        if self._status:
            self._write(self._err, ERASE)
            self._status = ""

    def _draw(self) -> None:
        self._status = self._wanted()
        if self._status:
            self._write(self._err, self._status)

    def _wanted(self) -> str:
        """The status line: what is awaited now."""
        if not self._live or self._quiet:
            return ""
        if self._stopping is not None:
            words = [f"{scrub(name)} {count}" for name, count in self._stopping.items()]
            text = " … stopping: " + "  ".join(words) if words else ""
        elif self._ready:
            text = ""
        else:
            words = [scrub(name) for name in self._pending]
            words += [
                f"{scrub(name)} {passing}/{wanted}" + (" ✓" if passing >= wanted else "")
                for name, (passing, wanted) in self._progress.items()
            ]
            text = " … " + "  ".join(words) if words else ""
        return cut(text, self._columns() - 1) if text else ""

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._err.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _write(self, stream: TextIO, text: str) -> None:
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):
            return  # the terminal is gone; the platform is not
