"""A project that changes while it runs: plan says what would change, apply changes that and nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.platform.conftest import Maker, running
from tests.system.platform.load import Load
from tests.system.platform.stage import Platform, ask, closing, until

pytestmark = pytest.mark.timeout(90)
PROJECT = """
name: moving
services:
  web: {command: python service.py, replicas: 2, healthcheck: {http: /}}
  api: {command: python service.py, environment: {COLOUR: blue}}
  old: {command: python service.py}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
    - {name: api, match: {path_prefix: /api}, service: api}
    - {name: old, match: {path_prefix: /old}, service: old}
"""
CHANGED = """
name: moving
services:
  web: {command: python service.py, replicas: 2, healthcheck: {http: /}}
  api: {command: python service.py, environment: {COLOUR: green}}
  new: {command: python service.py}
gateway:
  routes:
    - {name: web, match: {path_prefix: /}, service: web}
    - {name: api, match: {path_prefix: /api}, rewrite: {path_prefix: /}, service: api}
    - {name: new, match: {path_prefix: /new}, service: new}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Platform]:
    with running(PROJECT) as platform:
        yield platform


@pytest.fixture
def moving(shared: Platform) -> Platform:
    """As its file says; `new` may have been there before."""
    shared.write(PROJECT)
    shared.done("POST", "/services/web/scale", {"replicas": 2})
    assert shared("apply", "--yes").code == 0
    until(lambda: set(shared.pids()) == {"web-1", "web-2", "api-1", "old-1"}, "they run")
    shared.until_ready("web", "api", "old")
    return shared


def test_when_up_says_ready_everybody_says_ready(platform: Maker) -> None:
    """`up -d --wait` came back while `ps` still showed what the node had reported a second before."""
    made = platform(
        "name: p\nservices:\n  one: {command: python service.py}\n"
        "  two: {command: python service.py, depends_on: [one]}\n"
        "  three: {command: python service.py, depends_on: [two]}\n"
    )
    told = made.up()
    assert {row["service"]: row["state"] for row in made("ps", "--json").json} == dict.fromkeys(
        ("one", "two", "three"), "passing"
    )
    for service in ("one", "two", "three"):
        assert f"{service} 1/1" in told.err, told.err
        assert ask(made.port_of(service), "/").status == 200


def test_apply_touches_only_what_changed(moving: Platform) -> None:
    made = moving
    assert made("plan").code == 0
    before = {name: made.pids(name) for name in ("web", "api", "old")}
    reloads = made.gateway()["reloads"]
    made.write(CHANGED)
    plan = made("plan", "--json")
    assert plan.code == 2
    steps = {(step["verb"], step["key"]) for step in plan.json["steps"]}
    assert steps == {
        ("change", "services/api"),
        ("create", "services/new"),
        ("delete", "services/old"),
        ("change", "routes/api"),
        ("create", "routes/new"),
        ("delete", "routes/old"),
    }
    assert {name: made.pids(name) for name in before} == before, "a plan changes nothing"
    shown = made("plan").out
    assert "blue" in shown
    assert "green" in shown

    with Load(made.gateway_port, "/x?ms=10") as load:
        load.more(100)
        assert made("apply").code == 2, "what deletes is asked about"
        assert made("apply", "--yes").code == 0
        until(lambda: not made.pids("old"), "what left the file is stopped")
        until(lambda: made.pids("api") not in ({}, before["api"]), "what changed is replaced")
        assert made("wait", "new", "api").code == 0
        load.more(200)
    assert load.failed == [], load.told
    assert made.pids("web") == before["web"], "what did not change was not touched"
    until(lambda: made.get("/api/x").status == 200, "api is routed")
    assert made.get("/api/x").json["path"] == "/x"
    assert made.get("/new").instance == "new-1"
    assert made.get("/old").instance.startswith("web-"), "its route is gone: the next shorter one takes it"
    assert made.api("GET", "/services/old").status == 404
    assert made("plan").code == 0
    assert made("apply").code == 0
    assert made.gateway()["reloads"] == reloads


def test_a_wrong_file_changes_nothing_of_what_runs(moving: Platform) -> None:
    made = moving
    before = made.pids()
    made.edit("service: api}", "service: apy}")
    for command in ("check", "plan", "apply"):
        told = made(command)
        assert told.code == 2 if command != "plan" else told.code in {1, 2}
        assert "did you mean `api`" in told.err, told.err
    assert made.pids() == before
    assert made.get("/api").status == 200


@pytest.mark.slow
def test_what_was_scaled_and_stopped_by_hand_survives_apply_and_a_new_start(platform: Maker) -> None:
    made = platform(PROJECT)
    made.up()
    assert made("scale", "web=3").code == 0
    assert made("stop", "old").code == 0
    until(lambda: len(made.pids("web")) == 3 and not made.pids("old"), "both are done")
    made.edit("blue", "red")
    assert made("apply").code == 0
    until(lambda: len(made.pids("web")) == 3 and made.pids("api"), "still three")
    assert not made.pids("old")
    made.edit("replicas: 2", "replicas: 1")
    assert made("apply").code == 0
    until(lambda: len(made.pids("web")) == 1, "the file's own number changed, so it counts")
    assert made("down").code == 0
    made.up()
    assert len(made.pids("web")) == 1


def test_a_backup_of_the_running_platform_is_the_same_platform_elsewhere(moving: Platform) -> None:
    made = moving
    assert made("scale", "web=3").code == 0
    made.done("PUT", "/services/outside", {"name": "outside", "sticky": True})
    until(lambda: len(made.pids("web")) == 3, "three run")
    with Load(made.gateway_port, "/x?ms=10") as load:
        load.more(50)
        assert made("backup", "facts.db").code == 0
        load.more(50)
    assert load.failed == [], load.told
    services = names_of(made)

    folder = Path(tempfile.mkdtemp(prefix="atoll-t-"))
    for name in ("service.py", "atoll.yaml", "facts.db"):
        shutil.copy(made.folder / name, folder)
    with closing(Platform(folder)) as other:
        assert other("restore", "facts.db", "--yes").code == 0
        other.up_without("outside")
        assert names_of(other) == services
        assert len(other.pids("web")) == 3, "what an operator said is a fact too"
        assert other.get("/api").instance == "api-1"
        assert not set(other.pids().values()) & set(made.pids().values())
        assert made.get("/api").instance == "api-1", "the first one goes on beside it"
    made.done("DELETE", "/services/outside")


def names_of(platform: Platform) -> dict[str, tuple[object, ...]]:
    """The services, as far as they do not depend on the folder."""
    found = platform.done("GET", "/services")["services"]
    return {
        one["service"]["name"]: (one["service"].get("mesh_index", 0), one["service"].get("sticky", False))
        for one in found
    }
