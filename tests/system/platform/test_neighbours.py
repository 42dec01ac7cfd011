"""Several platforms on one machine know nothing of each other."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.system.platform.conftest import Maker
from tests.system.platform.load import Load
from tests.system.platform.stage import alive, ask, until

pytestmark = pytest.mark.timeout(90)


def project(name: str) -> str:
    return (
        f"name: {name}\nservices:\n  {name}: {{command: python service.py, replicas: 2}}\n"
        f"  shared: {{command: python service.py, environment: {{ATOLL_INSTANCE: {name}}}}}\n"
        f"gateway:\n  routes:\n    - {{match: {{path_prefix: /}}, service: {name}}}\n"
    )


def test_two_platforms_on_one_machine_do_not_touch_each_other(platform: Maker) -> None:
    left, right = platform(project("left")), platform(project("right"))
    with ThreadPoolExecutor() as pool:  # both at once look for a block of ports that nobody has
        for done in [pool.submit(each.up) for each in (left, right)]:
            done.result()
    assert left.mesh_port != right.mesh_port
    assert left.get("/").instance.startswith("left-")
    assert right.get("/").instance.startswith("right-")
    assert ask(left.port_of("shared"), "/").instance == "left", "the same name, each its own"
    assert ask(right.port_of("shared"), "/").instance == "right"
    assert ask(left.mesh_port, "/", headers={"Host": "right"}).status == 503
    (shared,) = right.pids("shared").values()
    assert "PYTHONMALLOC" in psutil.Process(right.node_pid).environ(), "the node gives memory back"
    assert not {"PYTHONMALLOC", "ATOLL_ALLOCATOR"} & psutil.Process(shared).environ().keys(), (
        "and no service hears of it"
    )
    assert left.api("GET", "/services", Authorization=f"Bearer {right.token}").status == 401

    with Load(right.gateway_port, "/x?ms=10") as load:
        load.more(100)
        os.kill(left.node_pid, signal.SIGKILL)
        left("down", "--force")
        until(lambda: not left.processes(), "the left one is gone altogether")
        load.more(300)
    assert load.failed == [], load.told
    assert alive(right.node_pid)
    assert len(right.pids()) == 3
    left.up()
    assert left.get("/").instance.startswith("left-")
