"""The command line against a real platform: up, look, change, call, back up, run, kill, down."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.system.cli_shell import Shell, project

SERVICE = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['ATOLL_INSTANCE']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
print("listening", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
PROJECT = """
name: tiny
services:
  hello:
    command: {python} service.py
  worker:
    command: {python} -c "import time; print('tick', flush=True); time.sleep(600)"
    port: none
gateway:
  routes:
    - {{name: hello, match: {{path_prefix: /}}, service: hello}}
"""


@pytest.fixture
def shell() -> Iterator[Shell]:
    with project(PROJECT.format(python=sys.executable), service=SERVICE) as made:
        yield made


@pytest.mark.timeout(120)
def test_a_day_with_the_platform(shell: Shell) -> None:
    assert shell("check").code == 0
    assert shell("ps").code == 1

    started = shell("up", "-d", "--wait", "--json")
    assert started.code == 0, started.err
    assert started.json["ready"]
    assert started.json["parts"]["gateway"].endswith(shell.environ["ATOLL_GATEWAY_PORT"])

    again = shell("up", "-d")
    assert again.code == 1
    assert "runs already" in again.err
    assert f"pid {shell.node_pid}" in again.err

    rows = {row["instance"]: row for row in shell("ps", "--json").json}
    assert rows["hello-1"]["state"] == "passing"
    assert rows["worker-1"]["state"] == "running"
    assert rows["hello-1"]["process"]["pid"]

    assert shell("call", "hello", "/list?a=1")[:2] == (0, "hello-1 /list?a=1")
    assert [route["name"] for route in shell("routes", "--json").json] == ["hello"]
    assert "listening" in shell("logs", "hello").out
    assert shell("plan").code == 0
    assert shell("health").code == 0
    assert shell("doctor", "--json").json["healthy"]

    assert shell("scale", "hello=3").code == 0
    assert shell("wait", "hello", "--timeout", "15s").code == 0
    assert shell("wait", "hello", "--json").json["hello"]["passing"] == 3
    assert shell("plan").code == 0, "what was scaled by hand is no difference"
    assert shell("service", "drain", "hello", "hello-1").code == 0
    answers = {shell("call", "hello", "/").out.split()[0] for _ in range(4)}
    assert "hello-1" not in answers
    assert shell("service", "undrain", "hello", "hello-1").code == 0
    verbs = [record["verb"] for record in shell("service", "history", "hello", "--json").json["records"]]
    assert verbs[0] == "registered"
    assert "draining" in verbs

    assert shell("stop", "worker").code == 0
    shell("wait", "worker")
    text = (shell.folder / "atoll.yaml").read_text().replace("path_prefix: /}", "path_prefix: /api}")
    (shell.folder / "atoll.yaml").write_text(text)
    assert shell("plan").code == 2
    assert "~ route hello" in shell("apply").out
    assert shell("plan").code == 0

    assert shell("backup", "facts.db").code == 0
    refused = shell("restore", "facts.db", "--yes")
    assert refused.code == 1
    assert "stop it first" in refused.err

    stopped = shell("down", "--json")
    assert stopped.code == 0, stopped.err
    assert stopped.json["stopped"]
    assert shell.ours() == []
    assert shell("ps").code == 1

    restored = shell("restore", "facts.db", "--yes", "--json")
    assert restored.code == 0, restored.err
    assert Path(restored.json["kept"]).exists()


@pytest.mark.timeout(90)
def test_a_command_joins_the_running_platform_and_leaves_no_trace(shell: Shell) -> None:
    assert shell("run", "guest", "--", "true").code == 1
    assert shell("up", "-d").code == 0
    guest = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli.main", "run", "guest", "--http", "/", "--", sys.executable, "service.py"],
        cwd=shell.folder,
        env=shell.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 30
    while shell("wait", "guest", "--timeout", "1s").code != 0:
        assert time.monotonic() < deadline
    assert shell("call", "guest", "/x").out.startswith("guest-run-")
    guest.send_signal(signal.SIGINT)
    out, err = guest.communicate(timeout=15)
    assert guest.returncode == 130, err
    assert "| listening" in out
    assert "is registered at 127.0.0.1:" in err
    assert [row["instance"] for row in shell("ps", "guest", "--json").json] == [""]

    failed = shell("run", "guest", "--", "sh", "-c", "echo so sorry; exit 7")
    assert failed.code == 1
    assert "so sorry" in failed.out
    assert "exit 7" in failed.err


@pytest.mark.timeout(90)
def test_down_ends_what_a_killed_node_left_running(shell: Shell) -> None:
    assert shell("up", "-d", "--wait").code == 0
    pid = shell.node_pid
    os.kill(pid, signal.SIGKILL)
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)
    assert shell("call", "hello", "/").code == 0, "services, gateway and control plane go on"
    findings = shell("doctor", "--json").json["findings"]
    assert any(one["check"] == "processes" and one["verdict"] == "warning" for one in findings)
    assert shell("down", "--json").json["stopped"]
    deadline = time.monotonic() + 20
    while shell.ours() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shell.ours() == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "limits", [("3s", "20s"), pytest.param(("45s",), marks=pytest.mark.slow)], ids=["time is up", "given up"]
)
def test_wait_tells_why_a_service_does_not_come_up(shell: Shell, limits: tuple[str, ...]) -> None:
    text = (shell.folder / "atoll.yaml").read_text()
    (shell.folder / "atoll.yaml").write_text(text.replace("service.py", "-c 'raise SystemExit(9)'", 1))
    for limit in limits:  # on a machine that is slow, so much time may be up before the service was started
        result = shell("up", "-d", "--wait", "--timeout", limit, timeout=60)
        assert result.code == 3
        assert shell("down").code == 0
        if "exit 9" in result.err:
            break
    assert "hello" in result.err
    assert "exit 9" in result.err


@pytest.mark.timeout(60)
def test_a_port_that_is_taken_is_told_with_its_holder(shell: Shell) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", int(shell.environ["ATOLL_GATEWAY_PORT"])))
        holder.listen()
        result = shell("up", "-d")
        assert result.code == 1
        assert f"pid {os.getpid()}" in result.err
        assert "hint:" in result.err
        ports = [one for one in shell("doctor", "--json").json["findings"] if one["check"] == "ports"]
        assert any(f"pid {os.getpid()}" in one["detail"] and one["verdict"] == "broken" for one in ports)
    assert shell.ours() == []


@pytest.mark.timeout(60)
def test_on_a_terminal_one_ctrl_c_stops_everything(shell: Shell) -> None:
    try:
        pid, terminal = pty.fork()
    except OSError as missing:
        pytest.skip(f"there are no terminals here: {missing}")
    if pid == 0:
        os.chdir(shell.folder)
        os.execve(sys.executable, [sys.executable, "-m", "atoll.cli.main", "up"], {**shell.environ, "TERM": "xterm"})
    shown = b""
    pressed = False
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65536):
            shown += piece
            if not pressed and b"ready in" in shown and b"try:" in shown:
                os.write(terminal, b"\x03")
                pressed = True
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"\xe2\x9c\x93 gateway" in shown
    assert b"hello-1" in shown
    assert b"stopping (Ctrl-C again to kill)" in shown
    assert shell.ours() == []
