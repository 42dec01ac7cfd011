"""Who may come in: Host and Origin must be ours, and the token must be shown, even on localhost.

A browser can be made to call 127.0.0.1 by any page it shows (DNS rebinding, CSRF), and any user of a shared machine can
reach a loopback port. So every request but the probes needs the token, and no foreign Host or Origin gets an answer.
"""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from atoll.errors import Forbidden, Unauthorized
from atoll.kit.text import scrub

OPEN = frozenset({"/livez", "/readyz"})
"""Paths that answer without a token: they say nothing but that the process lives."""
SCHEME = "bearer "


def check_host(headers: Headers, configured: str) -> None:
    """Refuse a request that was sent to another name, or by a page of another origin.

    Raises:
        Forbidden: it was.
    """
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not _ours(hosts[0], configured):
        shown = scrub(", ".join(hosts), limit=120)
        raise Forbidden(
            f"Host {shown!r} is not this control plane",
            hint="call it as 127.0.0.1 or localhost, or by the configured ATOLL_API_HOST",
        )
    for origin in headers.getlist("origin"):
        if origin.lower() not in {f"http://{hosts[0].lower()}", f"https://{hosts[0].lower()}"}:
            raise Forbidden(
                f"Origin {scrub(origin, limit=120)!r} is not this control plane's", hint="other sites may not call it"
            )


def check_token(headers: Headers, token: str) -> None:
    """Refuse a request that does not show the token, in constant time.

    Raises:
        Unauthorized: no token, or another one.
    """
    shown = headers.get("x-atoll-token", "")
    authorization = headers.get("authorization", "")
    if not shown and authorization[: len(SCHEME)].lower() == SCHEME:
        shown = authorization[len(SCHEME) :].strip()
    if not hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), token.encode()):
        raise Unauthorized(
            "the token is missing" if not shown else "the token is not the one of this control plane",
            hint="send `Authorization: Bearer …` with the content of <state>/token",
        )


def _ours(host: str, configured: str) -> bool:
    if not host.isascii() or not host.isprintable() or " " in host:
        return False
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if name is None or parts.username is not None or parts.path or parts.query or parts.fragment:
        return False
    name = name.removesuffix(".")
    if name in {"localhost", configured.lower()}:
        return True
    try:
        address = ipaddress.ip_address(name)
        return address.is_loopback or ipaddress.ip_address(configured).is_unspecified  # rebinding needs a name
    except ValueError:
        return False
