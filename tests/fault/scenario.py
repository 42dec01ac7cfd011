"""One run of one scenario: its seed, its scratch folder, its histories, its figures, and how much of it is wanted.

Short form (`make test`): few repetitions, a fixed seed. Long form (`make fault`, ATOLL_FAULT=long): the full numbers of
the catalogue, a new seed each time. ATOLL_FAULT_SEED=n repeats one.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

from atoll.testing.history import History

LONG = os.environ.get("ATOLL_FAULT") == "long"
SHORT_TIMEOUT = 120.0
"""Seconds of one scenario's short form, which takes some: it starts dozens of processes, on a machine that may be busy."""
LONG_TIMEOUT = 900.0
"""Seconds of one scenario's long form."""


def base_seed() -> int:
    """The seed of this session."""
    given = os.environ.get("ATOLL_FAULT_SEED")
    if given is not None:
        return int(given)
    return random.SystemRandom().randrange(1 << 32) if LONG else 20261121


@dataclass
class Scenario:
    """What a scenario gets; made by the fixture `scenario`."""

    name: str
    seed: int
    folder: Path
    long: bool = LONG
    share: float = 1.0
    """Part of the short form's repetitions that is enough: a scenario that shall fail needs fewer."""
    figures: dict[str, object] = field(default_factory=dict)
    _histories: list[History] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.seed}/{self.name}")
        (self.folder / "histories").mkdir(parents=True, exist_ok=True)

    def times(self, short: int, long: int) -> int:
        """How often, in the form that is run."""
        return long if self.long else max(1, round(short * self.share))

    def seconds(self, short: float, long: float) -> float:
        """How long, in the form that is run."""
        return long if self.long else short

    def in_time(self, took: float, limit: float, what: str = "") -> None:
        """Judge a time that is promised, in the long form; beside other work on a busy machine it says nothing."""
        assert took <= limit or not self.long, f"{took:.3f} instead of at most {limit:g} {what}"

    def history(self, name: str = "calls") -> History:
        """A history that is kept when the scenario fails."""
        history = History(self.folder / "histories" / f"{name}.jsonl")
        self._histories.append(history)
        return history

    def state(self, name: str = "state") -> Path:
        """A folder for the thing under test."""
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    def measured(self, **figures: object) -> None:
        """Figures that are printed at the end of the session and written to `.fault/results.jsonl`."""
        self.figures.update(figures)

    def close(self) -> None:
        """Let go of the histories' files."""
        for history in self._histories:
            history.close()
