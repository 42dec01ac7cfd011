"""Words for a person, on stderr: notes, warnings, errors. stdout is data only. Every value is scrubbed."""

from __future__ import annotations

import json as jsonlib
from typing import Any, TextIO

from atoll.cli.tint import tint
from atoll.errors import AtollError
from atoll.kit.text import scrub


def plain(text: str) -> str:
    """`text` line by line, each scrubbed: the only control character that stays is the newline."""
    return "\n".join(scrub(line) for line in text.split("\n"))


class Talk:
    """Writes to one stream; a stream that is gone is no error."""

    def __init__(
        self, stream: TextIO, *, color: bool = False, quiet: bool = False, verbose: bool = False, json: bool = False
    ) -> None:
        self._stream = stream
        self._color = color
        self._quiet = quiet
        self._verbose = verbose
        self._json = json

    def note(self, text: str) -> None:
        """Something good to know; not with `-q`."""
        if not self._quiet:
            self._write(plain(text))

    def detail(self, text: str) -> None:
        """Something for the curious; only with `-v`."""
        if self._verbose:
            self._write(tint(plain(text), "dim", on=self._color))

    def warning(self, text: str, hint: str = "") -> None:
        """Something is not as it should be; the command goes on."""
        self._write(f"{tint('warning:', 'yellow', on=self._color)} {plain(text)}")
        if hint:
            self.hint(hint)

    def hint(self, text: str) -> None:
        """What to do next."""
        self._write(f"  {tint('hint:', 'cyan', on=self._color)} {plain(text)}")

    def error(self, text: str, hint: str = "") -> None:
        """Why the command failed."""
        self._write(f"{tint('error:', 'red', on=self._color)} {plain(text)}")
        if hint:
            self.hint(hint)

    def rendered(self, text: str) -> None:
        """A finding that was rendered elsewhere, its first word (`error:`, `warning:`) in colour."""
        word, space, rest = plain(text).partition(" ")
        self._write(tint(word, "yellow" if word == "warning:" else "red", on=self._color) + space + rest)

    def failed(self, error: AtollError) -> None:
        """An error of atoll's own: with `--json` its problem document, else `error:` and `hint:` with its code."""
        if self._json:
            self._write(jsonlib.dumps(error.problem(), default=str))
            return
        self.error(error.detail, error.hint or "")
        self.detail(f"  code: {error.code}")

    def problem(self, document: dict[str, Any]) -> None:
        """A problem document as it is, on one line."""
        self._write(jsonlib.dumps(document, default=str))

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._quiet = True
