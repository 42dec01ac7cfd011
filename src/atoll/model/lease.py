"""The time-limited right to stay registered: pure arithmetic on the monotonic clock."""

from __future__ import annotations

import msgspec

from atoll.errors import InvalidValue

TTL_FLOOR = 2.0
"""Seconds. Shorter leases would be lost to scheduling noise of a busy machine."""
TTL_CEILING = 3600.0
TTL_DEFAULT = 15.0
RENEWALS_PER_TTL = 3
"""A holder renews every TTL/3, so two renewals may be lost."""


class Lease(msgspec.Struct, frozen=True):
    """Held until `renewed + ttl` (monotonic seconds of the control plane's process) plus any stall credit."""

    token: str
    ttl: float
    renewed: float

    def deadline(self, credit: float = 0.0) -> float:
        """The instant before which it cannot expire; `credit` is time in which the control plane could not listen."""
        return self.renewed + self.ttl + credit


def ttl(raw: float) -> float:
    """Check a requested TTL, in seconds.

    Raises:
        InvalidValue: not a finite number between TTL_FLOOR and TTL_CEILING.
    """
    if not TTL_FLOOR <= raw <= TTL_CEILING:  # NaN compares false and is refused as well
        raise InvalidValue(
            f"ttl {raw} is outside {TTL_FLOOR:g}-{TTL_CEILING:g} seconds",
            hint=f"{TTL_DEFAULT:g} suits most",
            field="ttl",
        )
    return float(raw)
