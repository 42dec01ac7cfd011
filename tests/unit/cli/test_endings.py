"""How a command line ends: interrupted, its reader gone, asked for a yes, the node claimed twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from atoll.cli import nodefile
from atoll.cli.detach import Detached
from atoll.cli.invocation import Invocation
from atoll.cli.nodefile import NodeClaim
from atoll.cli.stop import QUICK, Stop
from atoll.errors import AlreadyRunning
from atoll.settings import Settings
from tests.unit.cli.fake_api import Cli, FakeApi


def test_ctrl_c_is_exit_130_without_a_word(cli: Cli, shop: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pressed:
        def wait(self, _: float) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("atoll.cli.commands.ps.threading", SimpleNamespace(Event=Pressed))
    result = cli("ps", "--watch")
    assert (result.code, result.err) == (130, "\n")
    assert result.out.count("orders-1") == 1


def test_a_reader_that_has_enough_is_no_error(folder: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m atoll.cli.main --help | head -c 5; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "Usage", "")


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("yes\n", 0), ("n\n", 130), ("\n", 130), ("", 130)])
def test_on_a_terminal_destruction_is_asked_for(
    cli: Cli, api: FakeApi, folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr(Invocation, "interactive", True)
    (folder / "atoll.yaml").write_text("services:\n  orders: sleep 60\n")
    step = {"verb": "delete", "key": "services/old", "fields": []}
    for verb in ("plan", "apply"):
        api.answers["POST", f"/api/v1/project/{verb}"] = (200, {"revision": 7, "steps": [step]})
    result = cli("apply", stdin=answer)
    assert result.code == code
    assert "delete services/old? [y/N]" in result.err
    assert len(api.sent("POST")) == (2 if code == 0 else 1)


def test_one_node_per_state_folder(folder: Path) -> None:
    settings = Settings(state=folder / "state")
    claim = NodeClaim(settings)
    claim.take()
    found = nodefile.read(settings)
    assert found is not None
    assert found.pid == os.getpid()
    with pytest.raises(AlreadyRunning) as caught:
        NodeClaim(settings).take()
    assert f"pid {os.getpid()}" in caught.value.detail
    claim.failed("orders", "exit 1")
    claim.part("gateway", "http://x")
    claim.ready(2.5)
    found = nodefile.read(settings)
    assert found is not None
    assert (found.ready, found.failed, found.parts) == (2.5, {}, {"gateway": "http://x"})
    claim.release()
    assert nodefile.read(settings) is None
    NodeClaim(settings).take()


def test_state_folders_are_for_their_user_only(folder: Path) -> None:
    settings = Settings(state=folder / "new/state")
    NodeClaim(settings).take()
    for path in (folder / "new", settings.state, settings.run, settings.logs):
        assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": -5, "started": 0}', b'{"pid":1,"started":1}']
)
def test_a_node_file_that_proves_nothing_is_no_node(folder: Path, content: bytes) -> None:
    (folder / ".atoll/run/node.json").write_bytes(content)
    assert nodefile.read(Settings(state=folder / ".atoll")) is None


async def test_the_first_signal_asks_and_a_later_one_forces() -> None:
    stop = Stop()
    stop.heard(signal.SIGTERM, 10.0)
    assert (stop.asked.is_set(), stop.forced.is_set(), stop.interrupted) == (True, False, False)
    stop.heard(signal.SIGINT, 10.0 + QUICK / 2)
    assert (stop.forced.is_set(), stop.interrupted) == (False, True)
    stop.heard(signal.SIGINT, 10.0 + 2 * QUICK)
    assert stop.forced.is_set()


async def test_signals_of_the_process_reach_stop_only_inside_the_block() -> None:
    stop = Stop()
    before = signal.getsignal(signal.SIGTERM)
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stop.asked.wait(), 5)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_detached_process_has_its_own_session_and_its_words_are_kept(folder: Path) -> None:
    log = folder / "logs/node.log"
    log.parent.mkdir()
    log.write_text("of an earlier run\n")
    child = Detached(["ps", "--nope\x1b[31m"], log, dict(os.environ))
    assert os.getsid(child.pid) == child.pid or child.ended()
    deadline = time.monotonic() + 10
    while not child.ended():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.exit_code == 2
    assert not psutil.pid_exists(child.pid)
    said = child.said()
    assert said[0].startswith("error: ")
    assert "\x1b" not in "".join(said)
    assert "earlier" not in "".join(said)
    assert log.read_text().startswith("of an earlier run\n")
