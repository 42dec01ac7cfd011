"""Public fakes and tools for tests of atoll and of systems that run on it. Nothing in atoll itself imports these."""

from __future__ import annotations

from atoll.testing.clock import FakeClock, settle
from atoll.testing.fault_proxy import FaultProxy
from atoll.testing.history import Call, History, Outcome, read_history
from atoll.testing.linearizable import linearizable

__all__ = ["Call", "FakeClock", "FaultProxy", "History", "Outcome", "linearizable", "read_history", "settle"]
