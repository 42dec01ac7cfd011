"""Where the platform is: its state folder, its control plane's socket or URL, its token.

Order: `--url` (ATOLL_URL); `--state` (ATOLL_STATE); the folder of `-f FILE`; the nearest folder upward in which a
platform runs. With a token but no platform in sight, the control plane's usual URL.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from atoll.cli.invocation import Invocation
from atoll.errors import InvalidValue, Unreachable
from atoll.kit.text import scrub
from atoll.settings import Settings
from atoll.settings import load as load_settings

STATE_FOLDER = ".atoll"
"""Beside the project file."""
TOKEN_BYTES = 4096
"""A token file is read up to here; ours are far shorter."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A control plane to talk to: over `socket` if there is one, else at `host`:`port`."""

    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    token: str = ""
    settings: Settings | None = None
    """Of the state folder it was found by; None when only a URL is known."""

    def __str__(self) -> str:
        if self.socket is not None:
            return str(self.socket)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def find(invocation: Invocation) -> Place:
    """The platform that the user means.

    Raises:
        Unreachable: none is to be seen from here.
        InvalidValue: the URL cannot be read.
    """
    settings = settings_here(invocation)
    if invocation.url:
        return _at_url(invocation.url, invocation.token, settings)
    if settings is not None and settings.socket.exists():
        return Place(socket=settings.socket, token=invocation.token or token_of(settings), settings=settings)
    if invocation.token:
        usual = load_settings(invocation.base / STATE_FOLDER, invocation.environ).api
        return Place(host=usual.host, port=usual.port, token=invocation.token)
    where = settings.state.parent if settings is not None else invocation.base
    raise Unreachable(
        f"no platform runs in {scrub(str(where))}" + ("" if settings is not None else " or above"),
        hint="start it with `atoll up`, or say which one with --url and --token, -C DIR or -f FILE",
    )


def settings_here(invocation: Invocation) -> Settings | None:
    """The settings of the state folder that is meant; it need not exist when it was named. None: none was found."""
    named = invocation.state or (Path(text) if (text := invocation.environ.get("ATOLL_STATE")) else None)
    if named is not None:
        return load_settings(invocation.base / named, invocation.environ)
    if invocation.given_file is not None:
        return load_settings(state_of(invocation.given_file), invocation.environ)
    nearest: Settings | None = None
    base = invocation.base.absolute()
    for folder in (base, *base.parents):
        if (folder / STATE_FOLDER).is_dir():
            settings = load_settings(folder / STATE_FOLDER, invocation.environ)
            if settings.socket.exists():
                return settings
            nearest = nearest or settings
    return nearest


def state_of(project_file: Path) -> Path:
    """The state folder of the project in `project_file`."""
    return project_file.absolute().parent / STATE_FOLDER


def token_of(settings: Settings) -> str:
    """The root token of a state folder; empty when there is none.

    Raises:
        Unreachable: it is there and cannot be read.
    """
    try:
        with settings.token_file.open("rb") as file:
            return file.read(TOKEN_BYTES).decode("ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"the token in {scrub(str(settings.token_file))} cannot be read: {scrub(str(error), limit=200)}",
            hint="run this as the user who started the platform, or give --token",
        ) from None


def _at_url(url: str, token: str | None, settings: Settings | None) -> Place:
    try:
        parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urllib.parse.urlsplit("")
    if not host or parts.scheme not in {"http", "https"} or parts.path not in {"", "/"} or not host.isprintable():
        raise InvalidValue(
            f"{scrub(url, limit=200)!r} is not the URL of a control plane",
            hint="give one such as http://127.0.0.1:7070",
        )
    tls = parts.scheme == "https"
    if token is None and settings is not None and _is_loopback(host):
        token = token_of(settings)
    return Place(host=host, port=port or (443 if tls else 80), tls=tls, token=token or "", settings=settings)


def _is_loopback(host: str) -> bool:
    """Only this machine may be sent the token of the state folder found here."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
