"""`atoll call NAME [METHOD] PATH`: one request to a service by its name, through the mesh, as another service would."""

from __future__ import annotations

import http.client
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from atoll.cli.facts import nodes, require_services, snapshot
from atoll.cli.invocation import Invocation
from atoll.cli.numbers import seconds
from atoll.cli.options import command, complete_services
from atoll.errors import InvalidValue, Unreachable
from atoll.kit.text import scrub
from atoll.model.keys import SERVICES
from atoll.model.names import ServiceName, service_name
from atoll.model.service import Protocol

PIECE = 1 << 16
"""Bytes read and written at once."""
_METHOD = re.compile(r"[A-Z]{3,10}")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")


@command("call")
@click.argument("name", metavar="SERVICE", shell_complete=complete_services)
@click.argument("words", nargs=-1, required=True, metavar="[METHOD] PATH")
@click.option("-d", "--data", metavar="DATA", help="Body; @FILE reads a file, @- stdin. Makes POST the method.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="May be repeated.")
@click.option("--timeout", default="60s", show_default=True, metavar="TIME", help="For each read.")
def call(
    invocation: Invocation,
    name: str,
    words: tuple[str, ...],
    *,
    data: str | None,
    headers: tuple[str, ...],
    timeout: str,
) -> int:
    """Call a service by name, through the mesh.

    The body goes to stdout, the status to stderr (the headers too with -v). Exits 1 when the status is 400 or more.
    """
    wanted = service_name(name)
    method, path = _request_line(words, has_body=data is not None)
    sent = dict(parse_header(text) for text in headers)
    body = _body(invocation, data)
    limit = seconds(timeout, name="--timeout")
    host, port = _mesh(invocation, wanted)
    if body is not None and "content-type" not in {header.lower() for header in sent}:
        sent["Content-Type"] = "application/json" if body[:1] in (b"{", b"[") else "application/octet-stream"
    connection = http.client.HTTPConnection(host, port, timeout=limit)
    try:
        connection.request(method, path, body, {"Host": wanted, "User-Agent": "atoll-cli", "Accept": "*/*", **sent})
        return _print(invocation, connection.getresponse())
    except TimeoutError:
        raise Unreachable(f"{wanted} did not answer within {limit:g} s", hint=f"`atoll logs {wanted}`") from None
    except BrokenPipeError:
        raise  # stdout's reader has enough
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(
            f"the mesh at {host}:{port} broke off: {type(error).__name__}", hint="`atoll doctor` shows what is wrong"
        ) from None
    finally:
        connection.close()


def _request_line(words: tuple[str, ...], *, has_body: bool) -> tuple[str, str]:
    if len(words) > 2 or (len(words) == 2 and not _METHOD.fullmatch(words[0].upper())):
        raise click.UsageError(
            "give SERVICE, then a method if it is not GET, then the path", click.get_current_context()
        )
    path = words[-1]
    if not path.startswith("/"):
        raise InvalidValue(f"path {scrub(path, limit=80)!r} does not begin with /", hint=f"write it as /{scrub(path)}")
    method = words[0].upper() if len(words) == 2 else "POST" if has_body else "GET"
    return method, quote(path, safe="/?&=%:@!$'()*+,;~-._[]", errors="surrogateescape")


def parse_header(text: str) -> tuple[str, str]:
    """A header as typed, `Name: value`.

    Raises:
        InvalidValue: it is not one line of that form.
    """
    found = _HEADER.fullmatch(text)
    if found is None:
        raise InvalidValue(
            f"header {scrub(text, limit=80)!r} cannot be sent", hint="write it as 'Name: value', one line"
        )
    return found[1], found[2]


def _body(invocation: Invocation, data: str | None) -> bytes | None:
    if data is None:
        return None
    if data == "@-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        return (invocation.base / Path(data[1:])).read_bytes()
    return data.encode("utf-8", "surrogateescape")


def _mesh(invocation: Invocation, wanted: ServiceName) -> tuple[str, int]:
    """Where the mesh listens, by a node's own word.

    Raises:
        NotFound: there is no such service.
        Unreachable: no node reports a gateway.
    """
    facts = snapshot(invocation.api, SERVICES)
    require_services(facts, (wanted,))
    service = facts.services[wanted]
    for node in nodes(invocation.api):
        gateway = node.report.gateway
        host, _, port = gateway.mesh.rpartition(":")
        if host and port.isascii() and port.isdigit():
            if service.protocol is Protocol.TCP:
                raise InvalidValue(
                    f"{wanted} speaks tcp, not HTTP",
                    hint=f"connect to its port of the mesh, {gateway.mesh_ports + service.mesh_index}",
                )
            return host.strip("[]"), int(port)
    raise Unreachable("no node reports a gateway", hint="`atoll doctor` shows what is wrong")


def _print(invocation: Invocation, answer: http.client.HTTPResponse) -> int:
    code = 1 if answer.status >= 400 else 0
    if invocation.json:
        content = answer.read()
        document: dict[str, Any] = {"status": answer.status, "headers": dict(answer.getheaders())}
        invocation.show.json({**document, "body": content.decode("utf-8", "backslashreplace")})
        return code
    talk = invocation.talk
    talk.note(f"{answer.status} {answer.reason}")
    for name, value in answer.getheaders():
        talk.detail(f"{name}: {value}")
    terminal = sys.stdout.isatty()
    ended = True
    while piece := answer.read1(PIECE):
        if terminal:  # what a service answers must not drive the terminal
            text = piece.decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\t", "    ")
            sys.stdout.write("\n".join(scrub(line, limit=PIECE) for line in text.split("\n")))
            ended = text.endswith("\n")
        else:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)
    if terminal and not ended:
        sys.stdout.write("\n")
    return code
