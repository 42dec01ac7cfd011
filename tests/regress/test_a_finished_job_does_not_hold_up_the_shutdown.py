"""A job that had ended for good was told to stop like a running instance, waited for an end that had been, and
`shutdown` never returned."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.model.report import Phase
from tests.system.supervisor_stage import python, staged


@pytest.mark.parametrize("force", [False, True])
async def test_a_finished_job_does_not_hold_up_the_shutdown(tmp_path: Path, force: bool) -> None:
    async with staged(tmp_path) as stage:
        await stage.want(python("pass"))
        await stage.until(lambda: stage.phases() == {"job-1": Phase.EXITED})
        async with asyncio.timeout(20):
            await stage.supervisor.shutdown(force=force)
        assert stage.phases() == {}
