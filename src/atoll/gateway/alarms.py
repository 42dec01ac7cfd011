"""What went wrong with the gateway that somebody should look at: counted, kept, and told without a flood."""

from __future__ import annotations

from atoll.errors import AtollError
from atoll.kit.clock import Clock, Instant
from atoll.kit.logs import Log

TOLD_AGAIN = 60.0
"""Seconds after which an alarm that goes on is told again."""


class Alarms:
    """The failures of one gateway; the last one stands until it is called off or another one comes."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self.count = 0
        self.cause = ""
        """The last one's, as a sentence."""
        self.hint = ""
        """What to do about it."""
        self._clock = clock
        self._log = log
        self._told: tuple[str, str] = ("", "")
        """What was last told: event and cause."""
        self._told_at = Instant(0.0)

    def sound(self, event: str, error: Exception) -> None:
        """Count and keep a failure; the same one again is told once a minute."""
        self.count += 1
        self.cause = str(error)
        self.hint = (isinstance(error, AtollError) and error.hint) or ""
        told, now = (event, self.cause), self._clock.now()
        if told == self._told and now - self._told_at < TOLD_AGAIN:
            return
        self._told, self._told_at = told, now
        hint = {"hint": self.hint} if self.hint else {}
        self._log.error(event, cause=error, **hint)

    def end(self, event: str) -> None:
        """What was told last is over, if it was this."""
        if self._told[0] == event:
            self._told = ("", "")
            self.cause = self.hint = ""
