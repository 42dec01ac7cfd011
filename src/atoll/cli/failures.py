"""How a command ends when it fails: `error:`/`hint:` lines (or problem+json) on stderr, and the exit code.

0 done · 1 failed · 2 usage or configuration · 3 not ready · 130 interrupted. Never a traceback: a bug is one line and
a file with the details (`-v` shows them).
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback

import click

from atoll.cli.early import INTERRUPTED as INTERRUPTED
from atoll.cli.invocation import Invocation
from atoll.errors import AtollError, BadRequest, ProjectInvalid


def report(error: BaseException, invocation: Invocation) -> int:
    """Tell the user what went wrong; returns the exit code."""
    talk = invocation.talk
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return 0
    if isinstance(error, click.ClickException):
        talk.failed(_usage(error))
        return 2
    if isinstance(error, ProjectInvalid) and not invocation.json and _findings(error, invocation):
        return error.exit_code
    if isinstance(error, AtollError):
        talk.failed(error)
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        talk.failed(AtollFailed(f"{where}{error.strerror}"))
        return 1
    return _bug(error, invocation)


class AtollFailed(AtollError):
    """The machine refused something (a file, a socket)."""

    code, title = "system", "The system refused"


def _findings(error: ProjectInvalid, invocation: Invocation) -> bool:
    """Every finding with its place in the file, then how many there were; False when it carries none."""
    import msgspec

    from atoll.project.finding import findings_of

    try:
        found = findings_of(error)
    except msgspec.ValidationError:  # it came from a control plane of another version
        found = ()
    talk = invocation.talk
    for finding in found:
        talk.rendered(finding.render())
        talk.rendered("")
    if found:
        talk.note(error.detail)
    return bool(found)


def _usage(error: click.ClickException) -> BadRequest:
    context = getattr(error, "ctx", None)
    hint = f"see `{context.command_path} --help`" if context is not None else None
    message = error.format_message()
    return BadRequest(message[:1].lower() + message[1:].removesuffix("."), hint=hint)


def _silence_stdout() -> None:
    """The reader of stdout has enough (`| head`): the interpreter shall not complain about it while it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(error: BaseException, invocation: Invocation) -> int:
    details = "".join(traceback.format_exception(error))
    talk = invocation.talk
    if invocation.verbose:
        talk.error(f"this is a bug in atoll: {type(error).__name__}: {error}")
        talk.detail(details.rstrip())
        return 1
    try:
        descriptor, path = tempfile.mkstemp(prefix="atoll-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"atoll {' '.join(sys.argv[1:2])}\n{details}")
        where = f"the details are in {path}"
    except OSError:
        where = "run it again with -v for the details"
    talk.error(f"this is a bug in atoll: {type(error).__name__}: {error}", where)
    return 1
