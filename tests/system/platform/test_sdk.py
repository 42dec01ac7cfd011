"""An app that uses the SDK and is run by the platform itself: its node registers it, and nobody does it twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.system.platform.stage import Platform, closing, until

pytestmark = pytest.mark.timeout(90)
PROGRAM = Path(__file__).parents[2] / "fault" / "programs" / "joined_app.py"
PROJECT = """
name: attached
services:
  web: {command: python joined_app.py, replicas: 2, healthcheck: {http: /readyz}}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
"""


def test_what_a_node_runs_is_registered_by_the_node_alone_and_answers_its_checks() -> None:
    with closing(Platform.of(PROJECT)) as made:
        shutil.copy(PROGRAM, made.folder / PROGRAM.name)
        made.up()
        ready = json.loads(made.get("/readyz").body)
        assert (ready["status"], ready["registration"]) == ("ready", "none")
        listed = made.done("GET", "/services/web/instances")["instances"]
        assert {one["id"]: one["node"] for one in listed} == {"web-1": "local", "web-2": "local"}
        assert made("scale", "web=1").code == 0
        until(lambda: len(made.pids("web")) == 1, "one has gone", within=30)
        told = made.done("GET", "/services/web/history")["records"]
        for instance in ("web-1", "web-2"):
            verbs = [one["verb"] for one in told if one.get("instance") == instance]
            assert verbs.count("registered") == 1
            assert "replaced" not in verbs
