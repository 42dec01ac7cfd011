"""Procfile as an atoll tree: `name: command` a line, variables from `.env`, `$PORT` for each, `web` at `/`.

Lines are for foreman's shell; here there is none, and shell syntax is refused like in any command. A process that does
not mention `$PORT` gets one all the same and counts as well while it runs.
"""

from __future__ import annotations

import re

from atoll.kit.text import scrub
from atoll.project.compose import fold
from atoll.project.finding import Code, Finding, invalid
from atoll.project.node import Document, Mapping, Node, Place, Scalar, Sequence, located

WEB = "web"
_LINE = re.compile(r"([A-Za-z0-9_-]+)[ \t]*:[ \t]*(\S.*?)[ \t\r]*")
_PORT = re.compile(r"\$(?:PORT\b|\{PORT\b)")
LINES_LIMIT = 1000


def read_procfile(text: str, file: str) -> tuple[Document, list[Finding]]:
    """The document in `text`, and warnings.

    Raises:
        ProjectInvalid: a line is not `name: command`, a name stands twice, or nothing is left.
    """
    lines = tuple(text.removeprefix("\ufeff").split("\n"))
    entries: dict[str, tuple[Scalar, Node]] = {}
    findings: list[Finding] = []
    warnings: list[Finding] = []

    def say(where: list[Finding], code: Code, message: str, place: Place, hint: str = "") -> None:
        where.append(located(Finding(code=code, message=message, hint=hint), file, lines, place))

    if len(lines) > LINES_LIMIT:
        say(findings, Code.TOO_LARGE, f"more than {LINES_LIMIT} lines", Place(LINES_LIMIT + 1, 1))
    for number, line in enumerate(lines[:LINES_LIMIT], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or "\0" in line or any("\ud800" <= character <= "\udfff" for character in line):
            say(findings, Code.SYNTAX, "this is not `name: command`", Place(number, 1, len(line)))
            continue
        place = Place(number, 1, len(found[1]))
        name = fold(found[1]) or found[1]
        if found[1] == "release":
            hint = "run it yourself before `atoll up`, or write an atoll.yaml with `restart: no`"
            say(warnings, Code.IGNORED, "`release` runs once at a deploy and is not a service", place, hint)
        elif name in entries:
            say(findings, Code.NAME_TWICE, f"`{name}` is here twice", place)
        else:
            if name != found[1]:
                hint = "service names are DNS labels: a-z, 0-9 and '-'"
                say(warnings, Code.RENAMED, f"`{scrub(found[1])}` is called `{name}` here", place, hint)
            command = Scalar(found[2], Place(number, found.start(2) + 1, len(found[2])))
            entries[name] = (Scalar(name, place), _process(name, command, place))
    if not entries and not findings:
        say(findings, Code.SYNTAX, "the file names no process", Place(1, 1), "write `web: command`")
    if findings:
        raise invalid(findings, what=file)
    root = Mapping({"services": (Scalar("services", Place(1, 1)), Mapping(entries, Place(1, 1)))}, Place(1, 1))
    return Document(file, lines, root), warnings


def _process(name: str, command: Scalar, place: Place) -> Mapping:
    optional = Mapping({}, place).with_entry("path", Scalar(".env", place))
    optional = optional.with_entry("required", Scalar("false", place, plain=True))
    process = Mapping({}, place).with_entry("command", command).with_entry("env_file", Sequence((optional,), place))
    if name != WEB and not _PORT.search(command.text):
        check = Mapping({}, place).with_entry("process", Scalar("true", place, plain=True))
        process = process.with_entry("healthcheck", check)
    return process
