"""Who the node talks to: the console that shows what it does, and the wish to stop. The CLI provides both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Stop(Protocol):
    """The operator's wish to end; the CLI's signals set it."""

    @property
    def asked(self) -> Event:
        """Gracefully: drain, stop signal, grace."""

    @property
    def forced(self) -> Event:
        """At once."""


class Event(Protocol):
    """The part of asyncio.Event that waiting for it takes."""

    def is_set(self) -> bool:
        """Whether it has happened."""

    async def wait(self) -> object:
        """Until it has."""


class Console(Protocol):
    """Where the node tells what it does. Methods return at once and never raise; all text may come from outside."""

    def part_begins(self, name: str) -> None:
        """A part of the platform is being started."""

    def part_ready(self, name: str, seconds: float, where: str = "") -> None:
        """It runs."""

    def part_failed(self, name: str, cause: str) -> None:
        """It does not; the error is raised as well."""

    def services(self, progress: Mapping[str, tuple[int, int]]) -> None:
        """Of every service: how many instances pass, how many are wanted."""

    def service_failed(self, service: str, cause: str, last_lines: Sequence[str] = ()) -> None:
        """A service does not come up; once per episode."""

    def line(self, service: str, instance: str, text: str) -> None:
        """One line of a service's output."""

    def note(self, text: str) -> None:
        """Something good to know."""

    def warning(self, text: str, hint: str = "") -> None:
        """Something is not as it should be."""

    def ready(self, seconds: float, urls: Sequence[tuple[str, str]], curl: str = "") -> None:
        """Everything that was asked for passes."""

    def stopping(self, left: Mapping[str, int]) -> None:
        """Instances that still run, by service; empty: all are gone."""
