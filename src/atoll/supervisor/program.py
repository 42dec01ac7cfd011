"""Which file a command means, before anything is started: words filled in, program found, interpreter looked at.

There is no shell: an argument stays one argument whatever is in it. Names without a value stay as they are written, so
that a missing variable is seen in the command and not as an empty argument.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import ProgramMissing
from atoll.kit.text import scrub

_NAME = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*)|(\$))")
_SHEBANG_LIMIT = 256
"""Bytes of a `#!` line that Linux reads."""


@dataclass(frozen=True)
class Command:
    """What is executed: the file, the arguments (the first is the name as written), the folder. All absolute."""

    program: str
    arguments: tuple[str, ...]
    folder: str


def expand(text: str, environment: Mapping[str, str]) -> str:
    """`text` with `$NAME` and `${NAME}` filled from `environment`, and `$$` as one `$`; unknown names stay."""
    return _NAME.sub(lambda found: found[3] or environment.get(found[1] or found[2], found[0]), text)


def command_of(words: Sequence[str], working_dir: str, root: str, environment: Mapping[str, str]) -> Command:
    """The command ready for execution, found in the child's own PATH. Reads the disk.

    Raises:
        ProgramMissing: no such folder, program or interpreter, or it may not be executed; says what was tried.
    """
    arguments = tuple(expand(word, environment) for word in words)
    if not arguments or not arguments[0]:
        raise ProgramMissing("the command is empty", hint="give a program and its arguments")
    if any("\0" in text for text in (*arguments, working_dir, root)):
        raise ProgramMissing("the command holds a NUL character", hint="no program can be given one")
    folder = Path(root, working_dir)
    if not folder.is_dir():
        raise ProgramMissing(
            f"working folder {scrub(str(folder))} does not exist",
            hint="check working_dir in the project file",
            folder=str(folder),
        )
    program = _found(arguments[0], folder, environment)
    _check_interpreter(program)
    return Command(str(program), arguments, str(folder))


def _found(name: str, folder: Path, environment: Mapping[str, str]) -> Path:
    if "/" in name:
        candidates = [folder / name]
    else:
        path = environment.get("PATH", os.defpath)
        candidates = [folder / place / name for place in path.split(os.pathsep) if place]
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    shown = scrub(name, limit=200)
    for candidate in candidates:
        if candidate.is_file():
            raise ProgramMissing(
                f"{scrub(str(candidate))} may not be executed",
                hint=f"chmod +x {scrub(str(candidate))}, or name its interpreter in the command",
                tried=[str(candidate)],
            )
        if candidate.is_dir() and "/" in name:
            raise ProgramMissing(f"{scrub(str(candidate))} is a folder", hint="name the program in it")
    tried = [str(candidate.parent) for candidate in candidates]
    raise ProgramMissing(
        f"program {shown!r} is not in {scrub(os.pathsep.join(tried))}",
        hint=f"install it, or give its path; tried {len(tried)} place{'s' if len(tried) != 1 else ''}",
        program=shown,
        tried=tried,
    )


def _check_interpreter(program: Path) -> None:
    """A script whose `#!` names a file that is not there fails with a puzzling "not found"; say it plainly."""
    try:
        with program.open("rb") as file:
            start = file.read(_SHEBANG_LIMIT)
    except OSError:
        return  # executable but not readable is allowed
    if start.startswith(b"#!"):
        words = start[2:].split(b"\n", 1)[0].split()
        interpreter = os.fsdecode(words[0]) if words else ""
        if not os.access(interpreter, os.X_OK):
            raise ProgramMissing(
                f"the interpreter {scrub(interpreter)!r} of {scrub(str(program))} does not exist",
                hint="correct its first line (a moved virtual environment leaves such scripts behind)",
                tried=[interpreter],
            )
    elif not start:
        raise ProgramMissing(f"{scrub(str(program))} is empty", hint="give a program")
    elif b"\0" not in start and not start.startswith(b"\x7fELF"):
        raise ProgramMissing(
            f"{scrub(str(program))} is a text without a #! line",
            hint="name its interpreter in the command, such as `sh` or `python`",
        )
