"""What cannot work is refused before anything starts, everything wrong at once, and nothing is left running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.system.platform.conftest import Maker
from tests.system.platform.stage import ATOLL, Platform, until

pytestmark = pytest.mark.timeout(60)
FINE = "name: fine\nservices:\n  web: {command: python service.py}\n"
WRONG = """
name: wrong
services:
  web: {command: python service.py, replica: 2}
  ghost: {command: no-such-program-anywhere --now}
  plain: {command: ./service.txt}
  script: {command: ./script.py}
  hen: {command: python service.py, depends_on: [egg]}
  egg: {command: python service.py, depends_on: [hen]}
  lost: {command: python service.py, depends_on: [webb], working_dir: nowhere}
  many: {command: "python service.py && echo done"}
gateway:
  routes:
    - {name: one, match: {path_prefix: /x}, service: web}
    - {name: two, match: {path_prefix: /x}, service: web}
    - {name: three, match: {path_prefix: /y}, service: wbe}
    - {name: "fo\\nur", match: {path_prefix: "/z;%[src]"}, service: web}
"""
CODES = {
    "AT101": "unknown key replica",
    "AT102": "unknown services webb and wbe",
    "AT104": "a name and a path with hostile bytes",
    "AT108": "hen and egg wait for each other",
    "AT109": "two routes with the same match",
    "AT114": "words of a shell",
    "AT201": "a program that is not there",
    "AT202": "a file that cannot be executed",
    "AT203": "an interpreter that is not there",
    "AT204": "a folder that is not there",
}


def nothing_runs(platform: Platform) -> None:
    assert platform.processes() == []
    assert platform.strays() == []
    assert not (platform.state / "state.db").exists()


def test_everything_wrong_is_told_at_once_and_nothing_is_started(platform: Maker) -> None:
    made = platform(WRONG)
    (made.folder / "service.txt").write_text("not a program")
    script = made.folder / "script.py"
    script.write_text("#!/no/such/python\n")
    script.chmod(0o755)

    told = made("up", "-d", "--wait", "--json")
    assert told.code == 2
    assert told.out == ""
    findings = __import__("json").loads(told.err)["errors"]
    assert {one["code"] for one in findings} == set(CODES), findings
    assert all(one["line"] > 0 for one in findings)
    assert any("replicas" in (one.get("suggestion") or "") for one in findings)
    nothing_runs(made)

    words = made("up")
    assert words.code == 2
    assert "did you mean `replicas`" in words.err
    assert "hen" in words.err
    assert "egg" in words.err
    assert all(byte >= " " or byte == "\n" for byte in words.err), "no control character reaches the terminal"
    nothing_runs(made)


def test_a_program_that_is_missing_is_named(platform: Maker) -> None:
    made = platform("name: p\nservices:\n  web: {command: no-such-program-anywhere}\n")
    told = made("up", "-d")
    assert told.code == 2
    assert "no-such-program-anywhere" in told.err
    nothing_runs(made)


@pytest.mark.parametrize("whose", ["gateway", "api"])
def test_a_port_of_the_platform_that_is_taken_is_told_with_its_holder(platform: Maker, whose: str) -> None:
    made = platform(FINE)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", made.gateway_port if whose == "gateway" else made.api_port))
        holder.listen()
        told = made("up", "-d", "--wait")
        assert told.code in {1, 2}
        assert f"pid {os.getpid()}" in told.err, told.err
        assert str(holder.getsockname()[1]) in told.err
        assert "hint:" in told.err
        assert made.processes() == []
    if whose == "gateway":
        made.up()


def test_a_fixed_port_of_a_service_that_is_taken_is_told_with_its_holder(platform: Maker) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        made = platform(f"name: p\nservices:\n  web: {{command: python service.py, port: {port}}}\n")
        told = made("up", "-d", "--wait")
        assert told.code in {1, 2}, told.err
        assert f"pid {os.getpid()}" in told.err, told.err
        assert made.processes() == []


def test_a_second_platform_in_the_same_folder_is_refused_and_the_first_lives(platform: Maker) -> None:
    made = platform(FINE)
    made.up()
    pids = made.pids()
    second = made("up")
    assert second.code == 1
    assert f"pid {made.node_pid}" in second.err
    server = subprocess.run(
        [*ATOLL, "--state", str(made.state), "server"],
        env={**made.environ, "ATOLL_API_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert server.returncode == 1
    assert "already-running" in server.stderr or "runs already" in server.stderr or "another" in server.stderr
    assert made.pids() == pids
    assert made.get("/").status == 200


def test_text_with_control_characters_is_shown_escaped_wherever_it_comes_from(platform: Maker) -> None:
    """A service's own output and cause may hold anything; a terminal gets none of it raw."""
    made = platform(
        "name: rude\nservices:\n"
        f"  web: {{command: {sys.executable} service.py}}\n"
        "  rude: {command: [python, -c, \"import sys; sys.stdout.buffer.write(b'\\\\x1b[31mred\\\\x07\\\\x00 \\\\xff\\\\r\\\\n');"
        ' sys.exit(3)"], port: none}\n',
        ATOLL_SUPERVISOR_INTENSITY="2",
        ATOLL_SUPERVISOR_RESTART_BASE="0.05",
    )
    assert made("up", "-d").code == 0
    until(lambda: made.children("rude").get("rude-1", {}).get("exit_code") == 3, "it ended")
    for shown in (made("ps").out, made("ps", "--json").out, made("logs", "rude").out, made.node_log()):
        assert "red" in shown
        assert not [byte for byte in shown if byte < " " and byte != "\n"], shown
