"""How long to wait before trying again: exponential with full jitter, so that herds disperse.

Full jitter is the variant that finished soonest with least load in "Exponential Backoff And Jitter", AWS
Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Delays of one retrying party, in seconds: uniform in (0, min(cap, base * 2^n)], at least `floor`."""

    base: float = 0.1
    cap: float = 10.0
    floor: float = 0.02
    rng: random.Random = field(default_factory=random.Random)
    _tries: int = 0

    def next(self) -> float:
        """The next delay; grows until `reset`."""
        ceiling = min(self.cap, self.base * 2 ** min(self._tries, 32))
        self._tries += 1
        return max(self.floor, self.rng.uniform(0, ceiling))

    def reset(self) -> None:
        """Forget the failures: the last try went well."""
        self._tries = 0
