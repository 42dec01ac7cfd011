"""`atoll up` with a project that the control plane refused ended and left HAProxy and telemetry behind."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tests.system.platform.stage import Platform, closing

ONE = """
name: {name}
services:
  orders: {{command: python service.py}}
"""


@pytest.mark.timeout(60)
def test_a_project_that_is_refused_leaves_nothing_running() -> None:
    with closing(Platform.of(ONE.format(name="first"))) as platform:
        platform.up()
        platform.down()
        (Path(platform.folder) / "atoll.yaml").write_text(ONE.format(name="second"))
        done = platform("up", "-d")
        assert done.code == 1, done
        assert "service `orders` belongs to project `first`" in done.err
        state = str(platform.state)
        words = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        assert [each for each in words if any(state in word for word in each)] == []
