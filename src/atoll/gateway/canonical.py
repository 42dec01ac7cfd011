"""A request's host and path as the gateway reads them, before any route is asked. The twin of rules in `frontend`."""

from __future__ import annotations

import re

from atoll.errors import BadRequest
from atoll.kit.text import scrub

_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
REFUSED_IN_PATH = ("%2f", "%5c", "%00", "%0a", "%0d", "%c0", "%c1", "/.;", "/..;", "\\")
"""What servers read differently from one another, in lower case."""
REFUSED_IN_HOST = frozenset('~/?"@\\,#[] \t')


def canonical_host(raw: str) -> str:
    """`raw`, a Host header, without port and trailing dots, in lower case.

    Raises:
        BadRequest: it is no host name; the gateway answers 400.
    """
    host = raw
    if raw.startswith("["):
        host = raw[: raw.find("]") + 1] or raw
    elif ":" in raw:
        host = raw[: raw.rfind(":")]
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not host or any(character in REFUSED_IN_HOST or not character.isprintable() for character in inner):
        raise BadRequest(f"host {scrub(raw, limit=80)!r} is not a host name", hint="give a host such as localhost")
    return host.lower().rstrip(".")


def canonical_path(raw: str) -> str:
    """`raw`, a path without query, with plain characters decoded, empty and dot segments resolved.

    Raises:
        BadRequest: it holds what servers read differently from one another; the gateway answers 400.
    """
    folded = raw.lower()
    if not raw.startswith("/") or any(part in folded for part in REFUSED_IN_PATH):
        raise BadRequest(f"path {scrub(raw, limit=80)!r} is refused", hint="encoded slashes and the like are not taken")
    if not any(part in raw for part in ("%", "//", "/.")):
        return raw
    if re.search(r"%(?![0-9A-Fa-f]{2})", raw):
        raise BadRequest(f"path {scrub(raw, limit=80)!r} has a broken percent-encoding", hint="write % as %25")
    path = _UNRESERVED.sub(_decoded, raw)
    path = re.sub(r"/{2,}", "/", path)
    return _without_dots(path)


def _decoded(encoded: re.Match[str]) -> str:
    character = chr(int(encoded.group(1), 16))
    return character if character in _PLAIN else encoded.group(0)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
