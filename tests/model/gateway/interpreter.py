"""What HAProxy's fixed rules make of the compiled map, in Python: the long way of `gateway.frontend`, step by step."""

from __future__ import annotations

from atoll.gateway.config import Entries
from atoll.gateway.maps import ANY, NOWHERE, REFUSED, HeaderNames, set_name
from atoll.gateway.match import Request


class Interpreter:
    """One loaded map and the header combinations that the file has rules for."""

    def __init__(self, entries: Entries, header_sets: tuple[HeaderNames, ...]) -> None:
        self.entries = dict(entries)
        assert len(self.entries) == len(entries), "a key twice"
        self.header_sets = header_sets

    def verdict(self, request: Request) -> list[str]:
        """The fields of the verdict that stays."""
        refused = False
        for host in (request.host, request.host.partition(".")[2] + ANY, ANY):
            at = self._at(f"{host}{request.path}/?", request)
            rank = int(at.partition("|")[0])
            if rank < REFUSED:
                return at.split("|")
            refused = refused or rank == REFUSED
        return [str(REFUSED if refused else NOWHERE)]

    def _at(self, key: str, request: Request) -> str:
        at = self._longest(key)
        if at is None:
            return f"{NOWHERE}|404"
        if not at.startswith("n"):
            return at
        node = at.partition("|")[0]
        here = f"{request.method}~{node}"
        if here not in self.entries:
            here = f"{ANY}~{node}"
        at = self.entries[here]
        for names in self.header_sets:
            if all(name in request.headers for name in names):
                values = "|".join(request.headers[name] for name in names)
                better = self.entries.get(f"{here}?{set_name(names)}?{values}")
                if better is not None and int(better.partition("|")[0]) < int(at.partition("|")[0]):
                    at = better
        return at

    def _longest(self, key: str) -> str | None:
        return next((self.entries[key[:end]] for end in range(len(key), 0, -1) if key[:end] in self.entries), None)
