"""`.env` and env files, as compose reads them: quotes, `export`, comments, variables from above or the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

from atoll.project.finding import Code, Finding
from atoll.project.interpolate import expand
from atoll.project.node import Place, located

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_KEY = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(=?)[ \t]*")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$$"}


def read_dotenv(text: str, file: str, environ: Mapping[str, str]) -> tuple[dict[str, str], list[Finding]]:
    """The variables of a file, and what is wrong with it. A name without `=` takes its value from `environ`, if set."""
    return _Reader(text, file, environ).read()


class _Reader:
    def __init__(self, text: str, file: str, environ: Mapping[str, str]) -> None:
        self._text = text.removeprefix("\ufeff")
        self._file = file
        self._lines = tuple(self._text.split("\n"))
        self._environ = environ
        self._values: dict[str, str] = {}
        self._findings: list[Finding] = []
        self._position = 0

    def read(self) -> tuple[dict[str, str], list[Finding]]:
        while True:
            if blank := _BLANK.match(self._text, self._position):
                self._position = blank.end()
            if self._position >= len(self._text):
                return self._values, self._findings
            key = _KEY.match(self._text, self._position)
            if key is None:
                self._say("this is not `NAME=value`", "begin a comment with #")
                self._skip_line()
                continue
            self._position = key.end()
            if not key[2]:
                self._bare_name(key[1])
            else:
                self._value(key[1])

    def _bare_name(self, name: str) -> None:
        if not _REST.match(self._text, self._position):
            self._say(f"`{name}` is not followed by `=`", "write NAME=value")
        elif name in self._environ:
            self._values[name] = self._environ[name]
        self._skip_line()

    def _value(self, name: str) -> None:
        quote = self._text[self._position : self._position + 1]
        if quote not in {"'", '"'}:
            found = _BARE.match(self._text, self._position)
            assert found is not None
            raw = _COMMENT.sub("", found[0]).strip()
            self._set(name, self._filled(raw))
            self._position = found.end()
            return
        quoted = (_SINGLE if quote == "'" else _DOUBLE).match(self._text, self._position)
        if quoted is None:
            self._say(f"the quote of `{name}` is not closed", "")
            self._position = len(self._text)
            return
        self._set(name, quoted[1] if quote == "'" else self._filled(_ESCAPE.sub(_unescaped, quoted[1])))
        self._position = quoted.end()
        if not _REST.match(self._text, self._position):
            self._say(f"text follows the closing quote of `{name}`", "put all of it in quotes")
        self._skip_line()

    def _set(self, name: str, value: str) -> None:
        if "\0" in value:
            self._say(f"`{name}` holds a NUL", "")
        else:
            self._values[name] = value

    def _filled(self, raw: str) -> str:
        expansion = expand(raw, {**self._values, **self._environ})
        for problem in (*expansion.problems, *expansion.missing, *expansion.later):
            self._say(problem, "write $$ for one $")
        return expansion.text

    def _skip_line(self) -> None:
        end = self._text.find("\n", self._position)
        self._position = len(self._text) if end < 0 else end + 1

    def _say(self, message: str, hint: str) -> None:
        line = self._text.count("\n", 0, self._position) + 1
        column = self._position - (self._text.rfind("\n", 0, self._position) + 1) + 1
        finding = Finding(code=Code.ENV_FILE, message=message, hint=hint)
        self._findings.append(located(finding, self._file, self._lines, Place(line, column)))


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[0])
