"""What only this machine can tell before anything starts: folders, programs and their interpreters. Reads the disk.

Nothing is run. A program whose name holds a variable that is known only at the start is left to the supervisor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as File

from atoll.kit.text import closest, scrub
from atoll.model.project import Project
from atoll.model.service import Run
from atoll.project.finding import Code, Finding, Path

SHEBANG_LIMIT = 256
"""Bytes of a `#!` line that Linux reads."""
BUILTINS = frozenset({"cd", "exec", "export", "source", ".", "set", "alias", "eval", "ulimit", "unset", "umask"})
NEIGHBOURS_LIMIT = 5000
"""Programs looked through for a did-you-mean."""
_VARIABLE = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


def check_environment(project: Project, environ: Mapping[str, str]) -> tuple[Finding, ...]:
    """What keeps the services of `project` from starting on this machine, under `environ`; findings without a place."""
    return tuple(
        finding
        for service in project.services
        if service.run is not None and service.run.command and service.run.command[0]
        for finding in _run(service.run, ("services", service.name), environ)
    )


def _run(run: Run, here: Path, environ: Mapping[str, str]) -> Iterator[Finding]:
    folder = File(run.root, run.working_dir)
    try:
        problem = _folder_problem(folder)
    except (OSError, ValueError) as error:
        problem = str(error)
    if problem:
        yield Finding(
            code=Code.FOLDER_MISSING,
            message=f"working_dir of `{here[1]}` {problem}",
            path=(*here, "working_dir"),
            hint=f"looked for {scrub(str(folder), limit=300)}",
        )
        return
    environment = {**environ, **run.environment}
    program = _expanded(run.command[0], environment)
    if program is None:
        return
    try:
        yield from _program(program, folder, environment, (*here, "command"))
    except (OSError, ValueError) as error:
        shown = scrub(program, limit=80)
        yield Finding(
            code=Code.PROGRAM_UNUSABLE,
            message=f"program `{shown}` cannot be looked at: {scrub(str(error), limit=200)}",
            path=(*here, "command"),
        )


def _folder_problem(folder: File) -> str:
    if not folder.exists():
        return "does not exist"
    if not folder.is_dir():
        return "is not a folder"
    return "" if os.access(folder, os.X_OK) else "may not be entered by this user"


def _expanded(word: str, environment: Mapping[str, str]) -> str | None:
    """The program's name with its variables; None when one is known only at the start."""
    unknown = False

    def value(found: re.Match[str]) -> str:
        nonlocal unknown
        if found[1]:
            return "$"
        known = environment.get(found[2] or found[3])
        unknown = unknown or known is None
        return known or ""

    program = _VARIABLE.sub(value, word)
    return None if unknown else program


def _program(name: str, folder: File, environment: Mapping[str, str], path: Path) -> Iterator[Finding]:
    shown = scrub(name, limit=200)
    candidates = _candidates(name, folder, environment)
    found = next((file for file in candidates if file.is_file() and os.access(file, os.X_OK)), None)
    if found is not None:
        yield from _interpreter(found, folder, environment, path)
        return
    there = next((file for file in candidates if file.exists()), None)
    if there is None:
        yield _missing(name, shown, folder, candidates, path)
    elif there.is_dir():
        yield Finding(code=Code.PROGRAM_UNUSABLE, message=f"program `{shown}` is a folder", path=path)
    else:
        yield Finding(
            code=Code.PROGRAM_UNUSABLE,
            message=f"program `{shown}` may not be executed",
            path=path,
            hint=f"chmod +x {scrub(str(there), limit=300)}, or name its interpreter first",
        )


def _candidates(name: str, folder: File, environment: Mapping[str, str]) -> list[File]:
    if "/" in name:
        return [folder / name]
    places = environment.get("PATH", os.defpath).split(os.pathsep)
    return [folder / place / name for place in places if place]


def _missing(name: str, shown: str, folder: File, candidates: list[File], path: Path) -> Finding:
    suggestion = ""
    if name in BUILTINS:
        hint = "that is a word of the shell; use working_dir and environment, or `sh -c '…'`"
    elif "/" in name:
        hint = f"looked for {scrub(str(candidates[0]), limit=300)} (relative to working_dir)"
    elif (folder / name).is_file():
        hint = f"a file of that name is in working_dir: write ./{shown}"
    else:
        hint = f"install it, give its path, or change PATH ({len(candidates)} folders were looked through)"
        suggestion = closest(name, _neighbours(candidates)) or ""
    return Finding(
        code=Code.PROGRAM_MISSING,
        message=f"program `{shown}` is not found",
        path=path,
        hint=hint,
        suggestion=suggestion,
    )


def _neighbours(candidates: list[File]) -> list[str]:
    names: list[str] = []
    for place in dict.fromkeys(candidate.parent for candidate in candidates):
        try:
            names += (entry.name for entry in place.iterdir())
        except OSError:
            continue
        if len(names) > NEIGHBOURS_LIMIT:
            break
    return names[:NEIGHBOURS_LIMIT]


def _interpreter(program: File, folder: File, environment: Mapping[str, str], path: Path) -> Iterator[Finding]:
    try:
        with program.open("rb") as file:
            start = file.read(SHEBANG_LIMIT)
    except OSError:
        return  # executable but not readable is allowed
    shown = scrub(str(program), limit=200)

    def wrong(message: str, hint: str) -> Finding:
        return Finding(code=Code.INTERPRETER, message=message, path=path, hint=hint)

    if start.startswith(b"#!"):
        line = start[2:].split(b"\n", 1)[0]
        words = os.fsdecode(line).split()
        if not words:
            yield wrong(f"{shown} names no interpreter after `#!`", "write one, such as #!/usr/bin/env python3")
        elif line.endswith(b"\r"):
            yield wrong(f"the first line of {shown} ends with a carriage return", "save it with Unix line ends")
        elif not os.access(folder / words[0], os.X_OK):
            yield wrong(
                f"the interpreter `{scrub(words[0], limit=200)}` of {shown} does not exist",
                "correct its first line; a moved virtual environment leaves such scripts behind",
            )
        elif File(words[0]).name == "env":
            yield from _through_env(words[1:], shown, folder, environment, path)
    elif not start:
        yield wrong(f"{shown} is empty", "give a program")
    elif b"\0" not in start and not start.startswith(b"\x7fELF"):
        yield wrong(f"{shown} is a text without a `#!` line", "name its interpreter first, such as `sh` or `python3`")


def _through_env(
    words: list[str], shown: str, folder: File, environment: Mapping[str, str], path: Path
) -> Iterator[Finding]:
    """`#!/usr/bin/env NAME`: NAME is looked for in PATH."""
    name = next((word for word in words if not word.startswith("-") and "=" not in word), None)
    if name is None:
        return
    candidates = _candidates(name, folder, environment)
    if not any(file.is_file() and os.access(file, os.X_OK) for file in candidates):
        yield Finding(
            code=Code.INTERPRETER,
            message=f"the interpreter `{scrub(name, limit=80)}` of {shown} is not found",
            path=path,
            hint="install it, or change PATH",
        )
