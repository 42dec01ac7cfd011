"""SIGTERM in the first moments of `atoll up` ended it by the signal itself, as if it had crashed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

import psutil
import pytest

from tests.system.platform.stage import ATOLL, Platform, closing, until

PROJECT = "name: early\nservices:\n  web: {command: python service.py}\n"
AT_AN_IMPORT = """
import os, sys
class Told:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Told())
"""
"""A `sitecustomize` that sends its process a signal when it is about to import a module."""


def ended(platform: Platform, environ: Mapping[str, str], *, blocked: signal.Signals | None = None) -> int:
    """The exit code of `atoll up`; with `blocked`, it is sent this signal before Python itself has begun."""
    node = os.posix_spawn(
        ATOLL[0],
        [*ATOLL, "-C", str(platform.folder), "up"],
        {**platform.environ, **environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, str(platform.folder / "out"), os.O_WRONLY | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[blocked] if blocked else [],
    )
    if blocked:
        os.kill(node, blocked)
    return os.waitstatus_to_exitcode(os.waitpid(node, 0)[1])


CODES = pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 130)])


@CODES
def test_a_stop_before_the_begin_is_a_stop(number: signal.Signals, code: int) -> None:
    platform = Platform.of(PROJECT)
    with closing(platform):
        assert ended(platform, {}, blocked=number) == code
        assert (platform.folder / "out").read_bytes() == b""
        assert not platform.state.exists(), "it had begun"


@CODES
@pytest.mark.parametrize("module", ["click", "uvloop", "atoll.wiring.platform"])
def test_a_stop_while_modules_are_imported_is_a_stop(module: str, number: signal.Signals, code: int) -> None:
    platform = Platform.of(PROJECT)
    hook = platform.folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(AT_AN_IMPORT.format(module=module, number=int(number)))
    path = os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])
    with closing(platform):
        assert ended(platform, {"PYTHONPATH": path}) == code
        assert b"Traceback" not in (platform.folder / "out").read_bytes()
        assert platform.processes() == []


def test_a_node_in_the_background_can_be_stopped_from_its_first_moment() -> None:
    """Its parent blocks what it cannot take yet."""
    platform = Platform.of(PROJECT)
    with closing(platform):
        up = subprocess.Popen([*ATOLL, "up", "-d"], cwd=platform.folder, env=platform.environ, stderr=subprocess.PIPE)

        def child() -> int:
            try:
                return next((one.pid for one in psutil.Process(up.pid).children()), 0)
            except psutil.Error:
                return 0

        node = until(child, "the node is there", every=0.001)
        os.kill(node, signal.SIGTERM)
        _, said = up.communicate(timeout=20)
        assert up.returncode != 0
        assert b"signal" not in said.lower(), said
        until(lambda: not platform.processes(), "nothing is left")
