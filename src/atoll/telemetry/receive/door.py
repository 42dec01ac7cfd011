"""Who may send telemetry: whoever shows the ingest token, or the root token. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Collection

from atoll.errors import Forbidden, Unauthorized
from atoll.kit.text import scrub

SCHEME = "bearer "


class Door:
    """Checks tokens in constant time, and origins of browsers. `origins`: pages that may send; `*`: any."""

    def __init__(self, tokens: Collection[str], origins: Collection[str] = ()) -> None:
        self._tokens = tuple(token.encode() for token in tokens if token)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins if origin)

    def check(self, authorization: str) -> None:
        """Refuse what does not show a token.

        Raises:
            Unauthorized: there is none, or it is none of ours.
        """
        shown = authorization[len(SCHEME) :].strip() if authorization[: len(SCHEME)].lower() == SCHEME else ""
        given = shown.encode("utf-8", "surrogatepass")
        if not sum(hmac.compare_digest(given, token) for token in self._tokens):
            raise Unauthorized(
                "the token is missing" if not shown else "the token is not this platform's",
                hint="send `authorization: Bearer …` with the content of <state>/ingest-token "
                "(OTEL_EXPORTER_OTLP_HEADERS)",
            )

    def origin(self, said: str) -> str:
        """The origin to allow in the answer; empty: the request is no browser's.

        Raises:
            Forbidden: a page of this origin may not send.
        """
        if not said:
            return ""
        if "*" in self._origins or said.lower() in self._origins:
            return said
        raise Forbidden(
            f"pages of {scrub(said, limit=120)!r} may not send telemetry", hint="allow it with ATOLL_TELEMETRY_CORS"
        )


def origins(setting: str) -> tuple[str, ...]:
    """The setting's list."""
    return tuple(word.strip() for word in setting.split(",") if word.strip())
