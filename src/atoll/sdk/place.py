"""Where the control plane is and who this process is, from arguments and the environment. Pure, but for `read_token`.

| variable | meaning | default |
|---|---|---|
| `ATOLL_URL` | the control plane | `http://127.0.0.1:7070` |
| `ATOLL_TOKEN` | its token | |
| `ATOLL_TOKEN_FILE` | a file that holds it, readable by this user only | the nearest `.atoll/token` from the working folder up |
| `ATOLL_SERVICE`, `ATOLL_INSTANCE` | who this process is | id: service and port |
| `PORT` | where it answers | |
| `SERVICE_VERSION` | its version | none |

An argument wins over the environment. A process that a node started is registered by that node and must not register a
second time. It is recognised by ATOLL_INSTANCE together with ATOLL_INSTANCE_MARK, which only nodes set, unless the
program calls itself by another name or id than the node gave it: then it is somebody else's registration, and its own.
"""

from __future__ import annotations

import os
import stat
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from atoll.errors import InvalidValue, TokenUnsafe, Unauthorized
from atoll.kit.text import scrub
from atoll.model.names import InstanceId, ServiceName, instance_id, service_name
from atoll.model.registration import Registration, instance_of
from atoll.model.service import Protocol

URL_DEFAULT = "http://127.0.0.1:7070"
TOKEN_FILE = Path(".atoll/token")
TOKEN_LIMIT = 512
"""Characters of a token."""
NODE_MARK = "ATOLL_INSTANCE_MARK"
"""Set by a node for every process it starts."""


@dataclass(frozen=True)
class Place:
    """A control plane: its URL, and its token or where that is read from."""

    url: str = URL_DEFAULT
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    """None: the nearest `.atoll/token`."""


@dataclass(frozen=True)
class Identity:
    """What this process registers as."""

    service: ServiceName
    instance: InstanceId
    said: Registration
    by_node: bool = False
    """The node that started it registers it; it must not do so itself, and `said` is empty."""


class Said(TypedDict, total=False):
    """What a program may say of itself, in the words of `model.registration`; each of it may be left out."""

    port: int | None
    """Where it answers; None: PORT."""
    instance: str | None
    """Its id; None: ATOLL_INSTANCE, or service and port."""
    host: str
    protocol: Protocol | str
    version: str | None
    """None: SERVICE_VERSION."""
    zone: str | None
    weight: int
    tags: tuple[str, ...]
    metadata: Mapping[str, str] | None
    ttl: float | None


def place_of(environ: Mapping[str, str]) -> Place:
    """The control plane that the environment names.

    Raises:
        InvalidValue: ATOLL_URL is no http(s) URL of a host, or the token holds what no token can.
    """
    url = environ.get("ATOLL_URL", "") or URL_DEFAULT
    if not _usable(url):
        raise InvalidValue(
            f"ATOLL_URL {scrub(url, limit=120)!r} is not a URL such as {URL_DEFAULT}",
            hint="give http:// or https://, a host and a port, and nothing else",
            field="ATOLL_URL",
        )
    token = environ.get("ATOLL_TOKEN", "").strip()
    if token and not _is_token(token):
        raise InvalidValue(
            "ATOLL_TOKEN does not hold a token", hint="give the text of <state>/token", field="ATOLL_TOKEN"
        )
    file = environ.get("ATOLL_TOKEN_FILE", "")
    return Place(url.rstrip("/"), token, Path(file) if file else None)


def identity_of(
    environ: Mapping[str, str],
    service: str | None = None,
    *,
    port: int | None = None,
    instance: str | None = None,
    host: str = "127.0.0.1",
    protocol: Protocol | str = Protocol.HTTP,
    version: str | None = None,
    zone: str | None = None,
    weight: int = 100,
    tags: tuple[str, ...] = (),
    metadata: Mapping[str, str] | None = None,
    ttl: float | None = None,
) -> Identity | None:
    """Who this process is; None when neither an argument nor the environment names a service.

    Raises:
        InvalidName, InvalidValue, AddressForbidden: something the control plane would refuse, or no port is known.
    """
    given = service or environ.get("ATOLL_SERVICE", "")
    if not given:
        return None
    name = service_name(given)
    ours = environ.get("ATOLL_SERVICE", name) == name
    own = instance or (environ.get("ATOLL_INSTANCE", "") if ours else "")
    if ours and own and NODE_MARK in environ and own == environ.get("ATOLL_INSTANCE"):
        return Identity(name, instance_id(own), Registration(port=0), by_node=True)
    number = _port(environ) if port is None else port
    version = version or environ.get("SERVICE_VERSION") or None
    said = Registration(
        port=number,
        host=host,
        protocol=_protocol(protocol),
        version=version,
        zone=zone,
        weight=weight,
        tags=tuple(tags),
        metadata=dict(metadata or {}),
        ttl=ttl,
    )
    ident = instance_id(own or _place_name(name, host, number))
    instance_of(name, ident, said)  # refuses here what would be refused there
    return Identity(name, ident, said)


def read_token(place: Place, folder: Path | None = None) -> str:
    """The token of `place`, from its file if it has none itself. Blocking.

    Raises:
        Unauthorized: there is no token yet.
        TokenUnsafe: others can read the file, or it holds no token.
    """
    if place.token:
        return place.token
    here = folder or Path.cwd()
    files = [place.token_file] if place.token_file else [above / TOKEN_FILE for above in (here, *here.parents)]
    for path in files:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            about = os.fstat(descriptor)
            shown = scrub(str(path))
            if not stat.S_ISREG(about.st_mode) or stat.S_IMODE(about.st_mode) & 0o077:
                raise TokenUnsafe(f"{shown} can be read by others, or is no plain file", hint=f"chmod 600 {shown}")
            text = os.read(descriptor, TOKEN_LIMIT + 2).decode("latin-1").strip()
        finally:
            os.close(descriptor)
        if not _is_token(text):
            raise TokenUnsafe(
                f"{shown} does not hold a token", hint="it is made by the control plane at its first start"
            )
        return text
    raise Unauthorized(
        "no token for the control plane is to be found",
        hint="set ATOLL_TOKEN or ATOLL_TOKEN_FILE, or run below the folder in which `atoll up` runs",
    )


def _usable(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urllib.parse.urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = not (parts.query or parts.fragment or parts.username or parts.password) and parts.path in {"", "/"}
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and port_is_fine


def _is_token(text: str) -> bool:
    return 0 < len(text) <= TOKEN_LIMIT and text.isascii() and text.isprintable() and " " not in text


def _port(environ: Mapping[str, str]) -> int:
    text = environ.get("PORT", "")
    if text.isascii() and text.isdecimal() and len(text) <= 5:
        return int(text)
    said = "is not set" if not text else f"{scrub(text, limit=40)!r} is not a port"
    raise InvalidValue(f"PORT {said}", hint="say where the service answers: port=8000, or PORT=8000", field="port")


def _protocol(raw: Protocol | str) -> Protocol:
    try:
        return Protocol(raw)
    except ValueError:
        raise InvalidValue(
            f"protocol {scrub(str(raw), limit=40)!r} is unknown", hint="http, h2c, grpc or tcp", field="protocol"
        ) from None


def _place_name(service: str, host: str, port: int) -> str:
    """The same place has the same id after a restart: the instance is replaced, not removed and added."""
    if host in {"127.0.0.1", "localhost", "::1"}:
        return f"{service}-{port}"
    return f"{service}-{host.replace('.', '-').replace(':', '-')}-{port}"
