"""What is wrong with a project, said so that it can be mended: code, place, source line, did-you-mean, hint.

A finding is made where the fault is seen, with the path of the value at fault; the document it came from adds the
place. All findings of a project travel together in one `ProjectInvalid`, also through the API.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from atoll.errors import ProjectInvalid
from atoll.kit.text import scrub

FINDINGS_LIMIT = 100
"""Findings told at once; what is more is counted."""
SOURCE_LIMIT = 160
"""Characters of a source line that are shown, cut around the place."""


class Code(StrEnum):
    """Stable numbers of findings; explained in docs/atoll-yaml.md. 0xx reading, 1xx meaning, 2xx machine, 3xx warnings."""

    UNREADABLE = "AT001"
    SYNTAX = "AT002"
    DUPLICATE_KEY = "AT003"
    TOO_LARGE = "AT004"
    NO_FILE = "AT005"
    UNKNOWN_KEY = "AT101"
    UNKNOWN_REFERENCE = "AT102"
    WRONG_TYPE = "AT103"
    INVALID_VALUE = "AT104"
    MISSING_KEY = "AT105"
    NOT_SUPPORTED = "AT106"
    INTERPOLATION = "AT107"
    CYCLE = "AT108"
    SAME_MATCH = "AT109"
    PORT_TWICE = "AT110"
    PORT_SHARED = "AT111"
    EXCLUSIVE = "AT112"
    NAME_TWICE = "AT113"
    SHELL_SYNTAX = "AT114"
    PROGRAM_MISSING = "AT201"
    PROGRAM_UNUSABLE = "AT202"
    INTERPRETER = "AT203"
    FOLDER_MISSING = "AT204"
    ENV_FILE = "AT205"
    VARIABLE_UNSET = "AT301"
    IGNORED = "AT302"
    EXTERNAL = "AT303"
    RENAMED = "AT304"


Path = tuple[str | int, ...]
"""Where a value stands: keys, and indexes of lists, from the root of the file."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One problem. `line` and `column` count from 1 and are 0 when there is no file; `length` is the caret's width."""

    code: Code
    message: str
    path: Path = ()
    file: str = ""
    line: int = 0
    column: int = 0
    length: int = 1
    source: str = ""
    """The line at fault, as it stands in the file."""
    suggestion: str = ""
    """What was probably meant; shown beside the caret."""
    hint: str = ""

    def render(self, *, kind: str = "error") -> str:
        """The finding for people: message, place, source line with caret, hint; free of control characters."""
        lines = [f"{kind}: {scrub(self.message)}"]
        if self.file:
            place = f":{self.line}:{self.column}" if self.line else ""
            lines.append(f"  --> {scrub(self.file)}{place}")
        said = f"did you mean `{scrub(self.suggestion)}`?" if self.suggestion else ""
        if self.line and self.source:
            shown, indent, width = _window(self.source, self.column - 1, self.length)
            gutter = " " * len(str(self.line))
            caret = f"{' ' * indent}{'^' * width} {said}".rstrip()
            lines += [f"{gutter} |", f"{self.line} | {shown}", f"{gutter} | {caret}"]
        elif said:
            lines.append(f"  {said}")
        if self.hint:
            lines.append(f"  hint: {scrub(self.hint)}")
        lines.append(f"  docs: docs/atoll-yaml.md#{self.code.lower()}")
        return "\n".join(lines)

    def problem(self) -> dict[str, Any]:
        """The finding as a member of problem+json's `errors`."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def _window(source: str, start: int, length: int) -> tuple[str, int, int]:
    """The part of a source line to show, and where in it the caret begins and how wide it is."""
    left = 0 if start + length <= SOURCE_LIMIT else max(0, start - SOURCE_LIMIT // 4)
    part = source[left : left + SOURCE_LIMIT].rstrip()
    before = scrub(part[: start - left])
    marked = scrub(part[start - left : start - left + length])
    return scrub(part, limit=SOURCE_LIMIT), len(before), max(1, len(marked))


def invalid(findings: Sequence[Finding], *, what: str) -> ProjectInvalid:
    """The error that carries all `findings` of the project that `what` names (a file, or a project's name)."""
    count = len(findings)
    told = [finding.problem() for finding in findings[:FINDINGS_LIMIT]]
    noun = "problem" if count == 1 else "problems"
    return ProjectInvalid(f"{count} {noun} in {scrub(what)}", errors=told, count=count)


def findings_of(error: ProjectInvalid) -> tuple[Finding, ...]:
    """The findings an error carries, whether it was raised here or came as problem+json over the API."""
    return msgspec.convert(tuple(error.fields.get("errors", ())), tuple[Finding, ...])
