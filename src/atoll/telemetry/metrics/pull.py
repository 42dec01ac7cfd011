"""The metrics that are fetched instead of sent: pages of services, and what nodes measure of instances."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from atoll.kit.clock import Clock
from atoll.model.report import NodeReport
from atoll.telemetry.metrics.fetch import Fetcher
from atoll.telemetry.metrics.intake import Intake
from atoll.telemetry.metrics.scrape import Scraper, scraping
from atoll.telemetry.metrics.target import Target
from atoll.telemetry.metrics.vitals import watching


class Platform(Protocol):
    """What is known of the platform; handed in by who builds the process."""

    def targets(self) -> Sequence[Target]:
        """Who may have metrics now."""

    async def nodes(self) -> Sequence[NodeReport]:
        """What nodes report.

        Raises:
            Unreachable: the control plane is away.
        """


@asynccontextmanager
async def pulling(intake: Intake, clock: Clock, platform: Platform) -> AsyncIterator[Scraper]:
    """Scrape and watch for the length of the block; its counts are of interest."""
    fetch = Fetcher()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(fetch.close)
        await stack.enter_async_context(watching(intake, platform.nodes, clock))
        yield await stack.enter_async_context(scraping(intake, fetch, clock, platform.targets))
