from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from atoll.errors import ProgramMissing
from atoll.gateway.binary import ask_openssl, find_binary
from atoll.gateway.process import alive, identity, members, reap, run_program, send, spawn
from atoll.kit.listeners import listeners


def _fake(folder: Path, version: str, openssl: str = "3.0.1") -> Path:
    """A program that answers `-v` and `-vv` as HAProxy does; with LD_LIBRARY_PATH, OpenSSL is what the file there says."""
    folder.mkdir(exist_ok=True)
    path = folder / "haproxy"
    path.write_text(
        f'#!/bin/sh\necho "HAProxy version {version}-abc 2026/01/01 - https://haproxy.org/"\n'
        f'found={openssl}\n[ -n "$LD_LIBRARY_PATH" ] && found=$(cat "$LD_LIBRARY_PATH/libssl.so.3")\n'
        '[ "$1" = -vv ] && echo "Running on OpenSSL version : OpenSSL $found 1 Jan 2026"\nexit 0\n'
    )
    path.chmod(0o755)
    return path


def test_the_haproxy_of_this_machine_says_what_it_is_and_what_it_runs_on() -> None:
    binary = find_binary()
    assert binary.version >= (2, 8, 0)
    assert binary.openssl is not None
    assert binary.own_openssl is not None
    assert binary.openssl >= binary.own_openssl
    # not taken from a file name: it says so itself when started that way
    assert ask_openssl(binary.path, binary.libraries) == binary.openssl
    assert ".".join(map(str, binary.openssl)) in binary.describe()


def test_the_newer_of_the_bundled_and_the_systems_runs(tmp_path: Path) -> None:
    newer = _fake(tmp_path / "new", "9.1.0")
    older = _fake(tmp_path / "old", "2.6.12")
    assert find_binary(search=str(newer.parent)).path == str(newer)
    assert find_binary(search=str(older.parent)).origin == "bundled"


def test_a_host_library_is_used_only_when_it_is_newer_and_of_the_same_major_version(tmp_path: Path) -> None:
    program = str(_fake(tmp_path / "bin", "2.8.30", "3.0.15"))
    found = {}
    for host in ("3.0.14", "3.0.15", "3.5.2", "4.0.0"):
        folder = tmp_path / host
        folder.mkdir()
        (folder / "libssl.so.3").write_text(host)
        found[host] = find_binary(program, folders=(tmp_path / "none", folder)).libraries
    assert found == {"3.0.14": "", "3.0.15": "", "3.5.2": str(tmp_path / "3.5.2"), "4.0.0": ""}


@pytest.mark.parametrize("setting", ["/nowhere/haproxy", "/bin/true", "/etc/passwd"])
def test_a_setting_that_is_no_haproxy_is_refused_with_a_hint(setting: str) -> None:
    with pytest.raises(ProgramMissing, match=setting) as refused:
        find_binary(setting)
    assert "ATOLL_GATEWAY_BINARY" in str(refused.value.hint)


def test_an_old_haproxy_is_refused_by_its_version(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"is HAProxy 2\.6\.12"):
        find_binary(str(_fake(tmp_path, "2.6.12")))


def test_a_program_that_hangs_is_left() -> None:
    with pytest.raises(ProgramMissing, match="did not end within"):
        run_program(["/bin/sleep", "5"], timeout=0.1)


def test_what_is_spawned_has_its_own_session_and_is_told_from_whoever_gets_its_pid() -> None:
    import signal

    output = os.open(os.devnull, os.O_WRONLY)
    process = spawn(["/bin/sh", "-c", "sleep 30 & wait"], environment={"PATH": os.defpath}, output=output)
    os.close(output)
    try:
        assert os.getsid(process.pid) == process.pid
        assert alive(process)
        older = type(process)(process.pid, process.start - 1, process.boot)
        assert not alive(older)
        assert members(older) == []
        assert not send(older, signal.SIGKILL)
        assert process in members(process)
    finally:
        for each in members(process):
            send(each, signal.SIGKILL)
    os.waitpid(process.pid, 0)
    assert not alive(process)
    assert reap(process.pid) is None
    assert identity(process.pid) is None


def test_who_listens_is_found_with_pid_and_program() -> None:
    with socket.socket() as mine:
        mine.bind(("127.0.0.1", 0))
        mine.listen()
        port = mine.getsockname()[1]
        (found,) = [listener for listener in listeners() if listener.port == port]
        assert (found.host, found.pid) == ("127.0.0.1", os.getpid())
        assert found.program
