"""One call of the command line: the global options as the user gave them, and what is made of them when needed.

Everything heavy (HTTP client, settings, tables) is imported when first asked for: `atoll --help` pays for none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.cli.api import Api
    from atoll.cli.place import Place
    from atoll.cli.show import Show
    from atoll.cli.talk import Talk
    from atoll.kit.clock import Clock

ANSWER_SECONDS = 10.0
"""How long the control plane may take for one answer; `ATOLL_TIMEOUT` changes it."""


class Invocation:
    """The global options. Set by the option callbacks of `cli.options`, wherever on the line the user wrote them."""

    def __init__(self, environ: Mapping[str, str] | None = None, clock: Clock | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ
        self.json = False
        self.quiet = False
        self.verbose = 0
        self.color = "auto"
        self.progress = "auto"
        self.no_input = False
        self.file: Path | None = None
        self.folder: Path | None = None
        self.state: Path | None = None
        self.url: str | None = self.environ.get("ATOLL_URL") or None
        self.token: str | None = self.environ.get("ATOLL_TOKEN") or None
        self._clock = clock
        self._api: Api | None = None

    @property
    def clock(self) -> Clock:
        """The machine's clock, or the test's."""
        if self._clock is None:
            from atoll.kit.clock import SystemClock

            self._clock = SystemClock()
        return self._clock

    @property
    def base(self) -> Path:
        """The folder that relative paths and the search for the platform start from (`-C`)."""
        return Path.cwd() / self.folder if self.folder is not None else Path.cwd()

    @property
    def given_file(self) -> Path | None:
        """The project file given with `-f`, made absolute; None when none was given."""
        return None if self.file is None else self.base / self.file

    @property
    def place(self) -> Place:
        """Where the platform is.

        Raises:
            Unreachable: no platform is to be seen from here.
        """
        from atoll.cli.place import find

        return find(self)

    @property
    def api(self) -> Api:
        """A client of the platform's control plane; nothing is sent before it is used.

        Raises:
            Unreachable: no platform is to be seen from here.
        """
        if self._api is None:
            from atoll.cli.api import Api

            self._api = Api(self.place, timeout=self.answer_seconds, clock=self.clock)
        return self._api

    @property
    def quick_api(self) -> Api:
        """A client that gives up after half a second, for what is only nice to have.

        Raises:
            Unreachable: no platform is to be seen from here.
        """
        from atoll.cli.api import Api

        return Api(self.place, timeout=min(0.5, self.answer_seconds), clock=self.clock)

    @property
    def live(self) -> bool:
        """Whether progress may redraw its line: stderr is a terminal that can."""
        return self.progress == "auto" and sys.stderr.isatty() and self.environ.get("TERM") != "dumb"

    @property
    def answer_seconds(self) -> float:
        """Seconds the control plane may take for one answer.

        Raises:
            InvalidValue: `ATOLL_TIMEOUT` is not a number above zero.
        """
        text = self.environ.get("ATOLL_TIMEOUT", "")
        if not text:
            return ANSWER_SECONDS
        from atoll.cli.numbers import seconds

        return seconds(text, name="ATOLL_TIMEOUT")

    def use_color(self, *, stderr: bool = False) -> bool:
        """Whether to write colours to stdout (or stderr): `--color`, then NO_COLOR, then FORCE_COLOR, then a terminal."""
        if self.color != "auto":
            return self.color == "always"
        if self.environ.get("NO_COLOR"):
            return False
        if self.environ.get("FORCE_COLOR"):
            return True
        stream = sys.stderr if stderr else sys.stdout
        return stream.isatty() and self.environ.get("TERM") != "dumb"

    @property
    def interactive(self) -> bool:
        """Whether there is somebody to ask."""
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something is destroyed; `yes` is the command's `--yes`.

        Raises:
            BadRequest: nobody is there to ask and `--yes` was not given.
            KeyboardInterrupt: the answer was no.
        """
        if yes:
            return
        if not self.interactive:
            from atoll.errors import BadRequest

            raise BadRequest(f"{question}: nobody is there to ask", hint="say --yes to go on")
        self.talk.note(f"{question}? [y/N]")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise KeyboardInterrupt

    @property
    def show(self) -> Show:
        """Data for stdout."""
        from atoll.cli.show import Show

        return Show(sys.stdout, json=self.json, color=self.use_color(), width=_width(sys.stdout))

    @property
    def talk(self) -> Talk:
        """Words for stderr."""
        from atoll.cli.talk import Talk

        return Talk(
            sys.stderr, color=self.use_color(stderr=True), quiet=self.quiet, verbose=self.verbose > 0, json=self.json
        )


def _width(stream: object) -> int | None:
    """Columns of the terminal behind `stream`; None when it is none (nothing is cut then)."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None  # type: ignore[attr-defined]
    except (OSError, ValueError, AttributeError):
        return None
