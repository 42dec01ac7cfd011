"""While HAProxy was being started again nobody listened on its ports, and another platform that started then took them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from atoll.gateway.process import Identity, identity
from atoll.settings import Settings
from atoll.wiring.mesh import settled

NODE = """
import sys
from pathlib import Path
from atoll.settings import Settings
from atoll.wiring.mesh import settled
print(settled(Settings(state=Path(sys.argv[1])), [], {}).gateway.mesh_port, flush=True)
sys.stdin.read()
"""
"""A platform whose HAProxy does not listen just now."""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    return tmp_path / "runtime" / "atoll" / "mesh"


@contextmanager
def node(state: Path) -> Iterator[int]:
    """Another node's process; gives its mesh port."""
    with subprocess.Popen(
        [sys.executable, "-c", NODE, str(state)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def ports(state: Path) -> set[int]:
    """The ports that a node which starts now on `state` chooses; nobody listens anywhere."""
    gateway = settled(Settings(state=state), [], {}).gateway
    return {gateway.mesh_port, *range(gateway.mesh_ports, gateway.mesh_ports + gateway.mesh_count)}


def test_a_block_is_its_platforms_for_as_long_as_its_node_lives(tmp_path: Path, runtime: Path) -> None:
    with node(tmp_path / "first") as first:
        second = ports(tmp_path / "second")
        assert first not in second
    third = ports(tmp_path / "third")  # the first one is dead, the second is this very process
    assert first in third
    assert not third & second
    assert len(list(runtime.iterdir())) == 2, "the note of the dead is gone"


def test_a_platform_finds_its_own_block_again(tmp_path: Path) -> None:
    with node(tmp_path / "first"):
        assert ports(tmp_path / "second") == ports(tmp_path / "second")


def test_a_block_is_its_platforms_for_as_long_as_its_haproxy_lives(tmp_path: Path) -> None:
    state = tmp_path / "first"
    with subprocess.Popen(["sleep", "60"]) as proxy:
        folder = state / "run" / "haproxy"
        folder.mkdir(parents=True)
        (folder / "master.pid").write_bytes(msgspec.json.encode(_identity(proxy.pid)))
        with node(state) as first:
            pass
        assert first not in ports(tmp_path / "second")
        proxy.kill()
        proxy.wait()
        assert first in ports(tmp_path / "third")


def test_a_note_that_cannot_be_read_is_left_alone_and_hinders_nobody(tmp_path: Path, runtime: Path) -> None:
    runtime.mkdir(parents=True)
    (runtime / "newer.json").write_text('{"half')
    assert ports(tmp_path / "first")
    assert (runtime / "newer.json").exists()


def _identity(pid: int) -> Identity:
    found = identity(pid)
    assert found is not None
    return found
