"""The errors of this service: raised anywhere, answered as RFC 9457 problem+json."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """A request that ends here: HTTP status, a stable code, a title for people."""

    def __init__(self, status: int, code: str, title: str, **more: Any) -> None:
        super().__init__(title)
        self.status, self.code = status, code
        self.body = {"type": "about:blank", "title": title, "status": status, "code": code, **more}


def unavailable(service: str, why: object) -> Problem:
    """A service we need cannot be reached, or took too long: trying again makes sense."""
    return Problem(503, f"{service}_unavailable", f"{service} cannot be reached, try again soon", detail=str(why))


def broken(service: str, why: object) -> Problem:
    """A service we need answered, but not with what it promised."""
    return Problem(502, f"{service}_failed", f"{service} answered with an error", detail=str(why))
