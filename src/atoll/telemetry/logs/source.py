"""Where captured lines come from: handed in by wiring (`supervisor.backlog`), for telemetry does not know supervisors.

A source gives whole lines, instance by instance, and with them the place behind them. It forgets nothing: what was
given and not kept is given again to whoever starts from the older place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Place = tuple[int, str, int]
"""Inode, first bytes as hex, offset: opaque here, but for the offset."""


class Piece(Protocol):
    """Lines of one instance, as lists side by side."""

    @property
    def service(self) -> str:
        """The service's name."""

    @property
    def instance(self) -> str:
        """The instance's id."""

    @property
    def place(self) -> Place:
        """Behind the last line."""

    @property
    def walls(self) -> list[float]:
        """Seconds since 1970 at which the keeper read each line."""

    @property
    def kinds(self) -> list[str]:
        """`|` a line, `+` one that was cut, `=` a note of the keeper's."""

    @property
    def texts(self) -> list[str]:
        """The lines."""

    @property
    def starts(self) -> list[int]:
        """Offset of each line in the file of `place`."""

    @property
    def lost(self) -> int:
        """Lines before these that are gone."""

    @property
    def gap(self) -> bool:
        """Whether lines before these are gone without a number."""


class Source(Protocol):
    """Lines that nobody has taken yet. Its calls block."""

    def poll(self) -> Sequence[Piece]:
        """One round, bounded; empty when everything was taken."""

    def close(self) -> None:
        """Let go of its files."""


Open = Callable[[Mapping[str, Place]], Source]
"""Opens a source that goes on at the places of its instances (`service/instance`)."""
