"""Public fakes and tools for tests of atoll and of systems that run on it. Nothing in atoll itself imports these."""

from __future__ import annotations

from atoll.testing.clock import FakeClock, settle

__all__ = ["FakeClock", "settle"]
