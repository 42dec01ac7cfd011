r"""The grammar of every name a user can write. Parsed once, trusted after.

What passes here can stand in a URL, a file name, an environment variable, haproxy.cfg and the runtime socket without
quoting: no white space, no quotes, no `%`, `$`, `;`, `#`, `\`, no control characters, no `..`.
"""

from __future__ import annotations

import re
from typing import NewType

from atoll.errors import InvalidName
from atoll.kit.text import scrub

ServiceName = NewType("ServiceName", str)
"""RFC 1123 label, lower case, starting with a letter: 1 to 63 of `a-z 0-9 -`."""
InstanceId = NewType("InstanceId", str)
"""1 to 127 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit."""
RouteName = NewType("RouteName", str)
"""As a service name, with `.` and `_` inside allowed."""
NodeName = NewType("NodeName", str)
"""As a route name."""
Token = NewType("Token", str)
"""A version, zone or tag: 1 to 63 of `A-Z a-z 0-9 . _ + -`, starting with a letter or digit."""
HostPattern = NewType("HostPattern", str)
"""A lower-case DNS name, or `*.` and one (the star stands for exactly one label), at most 253 characters."""
HeaderName = NewType("HeaderName", str)
"""1 to 63 of `a-z 0-9 -`; kept in lower case. Underscores are refused: servers alias them to dashes."""
HeaderValue = NewType("HeaderValue", str)
"""1 to 127 visible ASCII characters of `A-Z a-z 0-9 . _ ~ : / + = @ , -`."""
PathText = NewType("PathText", str)
"""A path that begins with `/`, of unreserved and sub-delimiter characters without `;`, no empty, `.` or `..` segment."""
Key = NewType("Key", str)
"""A store key: segments of `A-Z a-z 0-9 . _ + ~ : @ -` joined by single `/`, at most 512 characters, no `.`/`..` segment."""

_LABEL = r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SERVICE = re.compile(_LABEL)
_ROUTE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
_HOST_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?(?:{_HOST_LABEL}\.)*{_HOST_LABEL}")
_HEADER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_HEADER_VALUE = re.compile(r"[A-Za-z0-9._~:/+=@,-]{1,127}")
_PATH = re.compile(r"/|(?:/[A-Za-z0-9._~!&()*+,=:@-]+)+/?")
_KEY = re.compile(r"[A-Za-z0-9._+~:@-]+(?:/[A-Za-z0-9._+~:@-]+)*")
PATTERNS = {
    "service": _SERVICE.pattern,
    "instance": _INSTANCE.pattern,
    "route": _ROUTE.pattern,
    "node": _ROUTE.pattern,
    "fault": _ROUTE.pattern,
    "trace": "[0-9A-Fa-f]{4,32}",
    "other_trace": "[0-9A-Fa-f]{4,32}",
    "label": "[A-Za-z_][A-Za-z0-9_]*",
}
"""The grammars of names in paths, for documents."""
PATH_LIMIT = 256
KEY_LIMIT = 512


def _parse(raw: object, pattern: re.Pattern[str], *, field: str, grammar: str, limit: int = 255) -> str:
    if isinstance(raw, str) and len(raw) <= limit and pattern.fullmatch(raw):
        return raw
    shown = scrub(str(raw), limit=80)
    raise InvalidName(f"{field} {shown!r} is not {grammar}", hint=f"use {grammar}", field=field, value=shown)


def service_name(raw: object, *, field: str = "service") -> ServiceName:
    """Parse a service name.

    Raises:
        InvalidName: it is not an RFC 1123 label that starts with a letter.
    """
    return ServiceName(_parse(raw, _SERVICE, field=field, grammar="1-63 of a-z, 0-9 and '-', starting with a letter"))


def instance_id(raw: object, *, field: str = "instance") -> InstanceId:
    """Parse an instance id.

    Raises:
        InvalidName: it has other characters or is too long.
    """
    return InstanceId(_parse(raw, _INSTANCE, field=field, grammar="1-127 of letters, digits, '.', '_' and '-'"))


def route_name(raw: object, *, field: str = "route") -> RouteName:
    """Parse a route name.

    Raises:
        InvalidName: it has other characters or is too long.
    """
    return RouteName(_parse(raw, _ROUTE, field=field, grammar="1-63 of a-z, 0-9, '.', '_' and '-'"))


def node_name(raw: object, *, field: str = "node") -> NodeName:
    """Parse the name of a machine.

    Raises:
        InvalidName: it has other characters or is too long.
    """
    return NodeName(_parse(raw, _ROUTE, field=field, grammar="1-63 of a-z, 0-9, '.', '_' and '-'"))


def token(raw: object, *, field: str) -> Token:
    """Parse a version, zone or tag.

    Raises:
        InvalidName: it has other characters or is too long.
    """
    return Token(_parse(raw, _TOKEN, field=field, grammar="1-63 of letters, digits, '.', '_', '+' and '-'"))


def host_pattern(raw: object, *, field: str = "host") -> HostPattern:
    """Parse a host to match; upper case and one trailing dot are folded away.

    Raises:
        InvalidName: it is not a DNS name, or a star stands elsewhere than in front.
    """
    folded = raw.lower().removesuffix(".") if isinstance(raw, str) else raw
    return HostPattern(_parse(folded, _HOST, field=field, grammar="a DNS name, or '*.' and one", limit=253))


def header_name(raw: object, *, field: str = "header") -> HeaderName:
    """Parse a header name; upper case is folded away.

    Raises:
        InvalidName: it has other characters than letters, digits and '-'.
    """
    folded = raw.lower() if isinstance(raw, str) else raw
    return HeaderName(_parse(folded, _HEADER_NAME, field=field, grammar="1-63 of letters, digits and '-'"))


def header_value(raw: object, *, field: str = "header value") -> HeaderValue:
    """Parse a header value to match exactly.

    Raises:
        InvalidName: it has other characters, or is empty or too long.
    """
    return HeaderValue(
        _parse(raw, _HEADER_VALUE, field=field, grammar="1-127 of letters, digits and . _ ~ : / + = @ , -")
    )


def path_text(raw: object, *, field: str = "path") -> PathText:
    """Parse a path or path prefix. A trailing slash of a prefix is dropped: prefixes end on segment boundaries.

    Raises:
        InvalidName: it does not begin with '/', or has an empty, '.' or '..' segment or another character.
    """
    grammar = "a path of '/' and plain characters (letters, digits, . _ ~ ! & ( ) * + , = : @ -)"
    path = _parse(raw, _PATH, field=field, grammar=grammar, limit=PATH_LIMIT)
    if any(segment in {".", ".."} for segment in path.split("/")):
        raise InvalidName(f"{field} {path!r} has a '.' or '..' segment", hint=f"use {grammar}", field=field, value=path)
    return PathText(path if path == "/" else path.rstrip("/"))


def key(raw: object, *, field: str = "key") -> Key:
    """Parse a store key.

    Raises:
        InvalidName: empty, too long, an empty, '.' or '..' segment, or another character.
    """
    grammar = "segments of letters, digits and . _ + ~ : @ - joined by single '/'"
    text = _parse(raw, _KEY, field=field, grammar=grammar, limit=KEY_LIMIT)
    if any(segment in {".", ".."} for segment in text.split("/")):
        raise InvalidName(f"{field} {text!r} has a '.' or '..' segment", hint=f"use {grammar}", field=field, value=text)
    return Key(text)
