from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import PortTaken
from atoll.kit.listeners import Listener
from atoll.settings import Gateway, Settings
from atoll.wiring.mesh import Block, choose, moved, settled


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))


KNOBS = Gateway(mesh_port=15001, mesh_ports=15100, mesh_count=256)
USUAL = Block(15001, 15100, 256)


def test_the_usual_block_is_used_when_it_is_free() -> None:
    assert choose(KNOBS, None, {8080, 15000}, fixed=False) == USUAL


def test_one_taken_port_moves_the_whole_block_to_the_next() -> None:
    block = choose(KNOBS, None, {15355}, fixed=False)
    assert block.mesh_count == 256
    assert not set(block.ports()) & set(USUAL.ports())
    assert block.mesh_ports - block.mesh_port == USUAL.mesh_ports - USUAL.mesh_port


def test_a_block_once_chosen_is_kept_while_it_is_free() -> None:
    kept = choose(KNOBS, None, {15001}, fixed=False)
    assert choose(KNOBS, kept, set(), fixed=False) == kept
    assert choose(KNOBS, kept, {kept.mesh_port}, fixed=False) == USUAL


def test_ports_that_were_asked_for_are_not_moved() -> None:
    assert choose(KNOBS, None, {15001}, fixed=True) == USUAL


def test_a_machine_without_a_free_block_is_told_so() -> None:
    with pytest.raises(PortTaken):
        choose(KNOBS, None, range(1, 65536), fixed=False)


def test_the_choice_is_written_down_and_found_again(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "state", gateway=KNOBS)
    taken = [Listener("127.0.0.1", 15001, None, None)]
    first = settled(settings, taken, {})
    assert first.gateway.mesh_port != 15001
    assert settled(settings, [], {}).gateway == first.gateway
    assert settled(settings, [], {"ATOLL_GATEWAY_MESH_PORT": "15001"}).gateway.mesh_port == 15001


def test_a_choice_that_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, gateway=KNOBS)
    (tmp_path / "mesh.json").write_text("{half")
    assert settled(settings, [], {}).gateway == KNOBS


def test_only_a_mesh_port_that_nobody_asked_for_may_move(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path, gateway=KNOBS)
    assert moved(PortTaken("taken", port=15100), settings, {})
    assert not moved(PortTaken("taken", port=15100), settings, {"ATOLL_GATEWAY_MESH_PORTS": "15100"})
    assert not moved(PortTaken("taken", port=8080), settings, {})
    assert not moved(PortTaken("taken"), settings, {})
