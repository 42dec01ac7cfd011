from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from atoll.errors import PortTaken
from atoll.gateway.config import GatewayConfig
from atoll.gateway.lastgood import ConfigFolder
from atoll.gateway.ports import bound, refuse_taken
from atoll.gateway.writer import ConfigWriter
from atoll.kit.listeners import Listener
from atoll.kit.logs import Log
from atoll.kit.tasks import owned
from atoll.testing import FakeClock, settle


def _files(text: str) -> dict[str, bytes]:
    return {"haproxy.cfg": text.encode(), "routes.map": b"/a b\n"}


def test_a_configuration_becomes_current_as_a_whole(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path / "gateway")
    assert folder.target(folder.current) is None
    first = folder.write(_files("one"))
    assert folder.target(folder.current) is None
    folder.promote(first)
    folder.started(first)
    folder.mark_good()
    second = folder.write(_files("two"))
    assert (folder.current / "haproxy.cfg").read_text() == "one"
    folder.promote(second)
    assert (folder.current / "haproxy.cfg").read_text() == "two"
    assert (folder.good / "haproxy.cfg").read_text() == "one"
    # what did not change is not written again
    assert (first / "routes.map").samefile(second / "routes.map")


def test_only_what_is_linked_is_kept(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path)
    for number in range(5):
        made = folder.write(_files(str(number)))
        folder.promote(made)
        if number == 1:
            folder.started(made)
            folder.mark_good()
    assert {path.name for path in tmp_path.iterdir()} == {"g00000002", "g00000004", "g00000005", "current", "good"}
    refused = folder.write(_files("bad"))
    folder.discard(refused)
    assert not refused.exists()
    folder.discard(folder.current.resolve())
    assert (folder.current / "haproxy.cfg").exists()


def test_the_files_of_an_earlier_process_are_found_and_its_numbers_go_on(tmp_path: Path) -> None:
    first = ConfigFolder(tmp_path)
    first.promote(first.write(_files("one")))
    second = ConfigFolder(tmp_path)
    assert second.target(second.current) == tmp_path / "g00000001"
    assert second.write(_files("two")).name == "g00000002"


async def test_many_changes_are_one_writing_and_the_newest_wins(tmp_path: Path) -> None:
    clock = FakeClock()
    folder = ConfigFolder(tmp_path)
    writer = ConfigWriter(folder, lambda config: _files(f"generation {config.generation}"), clock, Log("test"))
    async with owned("test") as tasks:
        tasks.start("files", writer.run())
        for generation in range(1, 50):
            writer.offer(GatewayConfig(generation=generation))
        await clock.advance(0.25)
        await writer.flush()
        assert writer.written == 1
        assert (folder.current / "haproxy.cfg").read_text() == "generation 49"
        assert writer.load(tmp_path / "g00000001") == GatewayConfig(generation=49)
        tasks.cancel()


async def test_what_haproxy_was_started_from_is_kept_until_it_is_on_disk_and_good(tmp_path: Path) -> None:
    folder = ConfigFolder(tmp_path)
    writer = ConfigWriter(folder, lambda config: _files(f"generation {config.generation}"), FakeClock(), Log("test"))
    started = await writer.stage(GatewayConfig(generation=1))
    folder.promote(started)
    writer.started(started)
    for generation in (2, 3, 4):
        folder.promote(await writer.stage(GatewayConfig(generation=generation)))
    assert folder.target(folder.good) is None
    await writer.flush()
    assert folder.target(folder.good) == started
    assert (folder.good / "haproxy.cfg").read_text() == "generation 1"


async def test_a_disk_that_refuses_is_tried_again(tmp_path: Path) -> None:
    clock = FakeClock()
    folder = ConfigFolder(tmp_path / "file" / "gateway")
    (tmp_path / "file").write_text("in the way")
    writer = ConfigWriter(folder, lambda _config: _files("x"), clock, Log("test"))
    writer.offer(GatewayConfig(generation=1))
    with pytest.raises(OSError, match="Not a directory"):
        await writer.flush()
    (tmp_path / "file").unlink()
    await writer.flush()
    assert writer.written == 1
    await settle()


def test_a_config_that_is_cut_short_is_none(tmp_path: Path) -> None:
    writer = ConfigWriter(ConfigFolder(tmp_path), lambda _config: _files("x"), FakeClock(), Log("test"))
    (tmp_path / "config.json").write_bytes(msgspec.json.encode(GatewayConfig(generation=9))[:-5])
    assert writer.load(tmp_path) is None
    assert writer.load(tmp_path / "none") is None


CONFIG = """
frontend a
  bind 127.0.0.1:8080
  bind [::1]:8443 ssl crt x
  bind *:80
  bind 127.0.0.1:15100-15102
peers p
  bind unix@/run/peer.sock
"""


def test_what_a_configuration_binds_is_read_from_it() -> None:
    assert bound(CONFIG) == [
        ("127.0.0.1", 8080),
        ("::1", 8443),
        ("*", 80),
        ("127.0.0.1", 15100),
        ("127.0.0.1", 15101),
        ("127.0.0.1", 15102),
    ]


@pytest.mark.parametrize(
    ("host", "port"), [("127.0.0.1", 8080), ("0.0.0.0", 8080), ("::", 8080), ("10.0.0.9", 80), ("127.0.0.1", 15101)]
)
def test_a_port_of_somebody_else_is_refused_by_name(host: str, port: int) -> None:
    present = [Listener("127.0.0.1", 9, 1, "x"), Listener(host, port, 4711, "nginx")]
    with pytest.raises(PortTaken, match=r"is taken by nginx \(pid 4711\)") as refused:
        refuse_taken(bound(CONFIG), ours=(), present=present)
    assert refused.value.fields["port"] == port
    assert "ATOLL_GATEWAY_PORT" in str(refused.value.hint)


def test_other_addresses_and_our_own_processes_are_no_conflict() -> None:
    present = [Listener("10.0.0.9", 8080, 1, "x"), Listener("127.0.0.1", 15101, 77, "haproxy")]
    refuse_taken(bound(CONFIG), ours={77}, present=present)


def test_a_listener_of_another_user_is_refused_without_a_name() -> None:
    with pytest.raises(PortTaken, match="taken by a process of another user") as refused:
        refuse_taken([("127.0.0.1", 80)], ours={77}, present=[Listener("0.0.0.0", 80, None, None)])
    assert "sudo ss" in str(refused.value.hint)
