"""Schemathesis over the published OpenAPI document, against a real control plane on a real socket.

It runs as a program of its own (its pytest plugin would be imported into every session, and warns). Bounded and with a
fixed seed: a few cases an operation here, many in the long form (`ATOLL_FAULT=long`, a seed of the day).
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from atoll.errors import TelemetryUnavailable
from atoll.server.app import ENDPOINTS
from tests.system.api_stage import Plane, plane_at, settings_in

LONG = os.environ.get("ATOLL_FAULT") == "long"
SEED = os.environ.get("ATOLL_FAULT_SEED", "20261121")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
SEEDED = """
[parameters]
"path.service" = "orders"
"path.instance" = "orders-1"
"path.route" = "api"
"path.node" = "n1"
"""
"""So that operations reach what is there, and not only 404."""
FORWARDED = sorted({one.path for one in ENDPOINTS if TelemetryUnavailable in one.errors})
ELSEWHERE = "^(?:" + "|".join(re.escape(path) for path in FORWARDED) + ")$"
"""Paths that another process answers, which does not run here: they are 503, as they should be."""


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    async with plane_at(settings_in(tmp_path, ATOLL_API_LONG_POLL="0.05")) as found:
        await found.register("orders", "orders-1", 9001)
        route = {"name": "api", "match": {"path": "/api"}, "shares": [{"service": "orders"}]}
        assert (await found.ask("PUT", "/api/v1/routes/api", route)).status_code in {200, 201}
        yield found


async def fuzz(plane: Plane, folder: Path, *, phases: str, examples: int, config: str = "") -> str:
    """Run it to its end; what it printed."""
    file = folder / "schemathesis.toml"
    file.write_text(config)
    process = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", file, "run"),
        f"http://127.0.0.1:{plane.serving.port}/api/v1/openapi.json",
        *("--header", f"Authorization: Bearer {plane.token}"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples), "--seed", SEED),
        *("--exclude-path-regex", ELSEWHERE),
        *("--continue-on-failure", "--request-timeout", "20", "--no-color", "--warnings", "off"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = said.decode(errors="replace")
    assert process.returncode == 0, text[-6000:]
    return text


@pytest.mark.skipif(not SCHEMATHESIS.exists(), reason="schemathesis is not installed")
@pytest.mark.timeout(900 if LONG else 120)
@pytest.mark.parametrize(
    "config",
    [pytest.param("", id="any names", marks=pytest.mark.slow), pytest.param(SEEDED, id="names that exist")],
)
async def test_no_request_that_can_be_made_of_the_document_is_a_fault_or_answered_otherwise_than_it_says(
    plane: Plane, tmp_path: Path, config: str
) -> None:
    phases = "coverage,fuzzing" if LONG else "fuzzing"
    said = await fuzz(plane, tmp_path, phases=phases, examples=100 if LONG else 6, config=config)
    assert "Tested: " in said
    assert plane.serving.control.counts.refusals["internal"] == 0
    assert plane.serving.control.counts.requests > 100, "it was really asked"
