"""What the user sees when the control plane is down, slow, half an answer or nonsense (J6), and when we have a bug."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from tests.unit.cli.fake_api import Cli, FakeApi

READS = [("ps",), ("service", "ls"), ("service", "show", "orders"), ("service", "history", "orders")]
WRITES = [("scale", "orders=2"), ("stop", "orders"), ("service", "drain", "orders", "o-1")]
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

BROKEN = {
    "nothing": (b"", "hung up without an answer"),
    "half a status line": (b"HTTP/1.", "does not speak HTTP"),
    "half the headers": (OK + b"Content-Le", "broke off"),
    "half a body": (OK + b'Content-Length: 500\r\n\r\n{"revision": 7, "fac', "broke off in the middle"),
    "half a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n40\r\nabc", "broke off in the middle"),
    "not JSON": (OK + b"Content-Length: 5\r\n\r\nhello", "did not answer as the control plane"),
    "other JSON": (OK + b"Content-Length: 5\r\n\r\n[1,2]", "did not answer as the control plane"),
    "deep JSON": (OK + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000, "did not answer as the control plane"),
    "not HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
    "endless header": (OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "broken answer"),
    "a web page": (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html></html>",
        "not atoll answered with status 502",
    ),
    "a redirect": (
        b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n",
        "not atoll answered with status 302",
    ),
}


@pytest.mark.parametrize("line", READS + WRITES, ids=" ".join)
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_one_error_with_a_hint_and_exit_1(
    cli: Cli, api: FakeApi, kind: str, line: tuple[str, ...]
) -> None:
    api.raw, said = BROKEN[kind]
    result = cli(*line)
    assert (result.code, result.out) == (1, "")
    assert said in result.err
    _is_error_with_hint(result.err)


@pytest.mark.parametrize("line", READS + WRITES, ids=" ".join)
def test_without_a_platform_the_hint_is_to_start_one(cli: Cli, line: tuple[str, ...]) -> None:
    result = cli(*line)
    assert (result.code, result.out) == (1, "")
    assert "no platform runs in" in result.err
    assert "atoll up" in result.err
    _is_error_with_hint(result.err)


def test_a_socket_left_over_by_a_dead_control_plane_is_told(cli: Cli, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / ".atoll/run/api.sock"))
    result = cli("ps")
    assert result.code == 1
    assert "no control plane answers at" in result.err
    _is_error_with_hint(result.err)


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_slow_control_plane_is_given_up_at_the_deadline(cli: Cli, api: FakeApi, kind: str) -> None:
    setattr(api, kind, True)
    cli.environ["ATOLL_TIMEOUT"] = "200ms"
    began = time.monotonic()
    result = cli("ps")
    assert time.monotonic() - began < 20
    assert (result.code, result.out) == (1, "")
    assert "did not answer within 0.2 s" in result.err
    _is_error_with_hint(result.err)


def test_a_problem_is_told_with_its_hint_and_the_exit_code_of_its_kind(cli: Cli, api: FakeApi) -> None:
    for code, status, expected in (
        ("lease-conflict", 409, 1),
        ("invalid-value", 422, 2),
        ("not-ready", 503, 3),
        ("new-in-2030", 418, 1),
    ):
        api.answers["GET", "/api/v1/facts"] = (
            status,
            {"code": code, "title": "T", "detail": "the detail", "hint": "the hint", "status": status, "self": "x"},
        )
        result = cli("ps")
        assert result.code == expected
        assert result.err.startswith("error: the detail")
        assert result.err.endswith("  hint: the hint\n")


def test_with_json_an_error_is_a_problem_document_on_stderr(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", "/api/v1/facts"] = (422, {"code": "invalid-value", "detail": "no", "status": 422, "field": "x"})
    result = cli("ps", "--json")
    assert (result.code, result.out) == (2, "")
    problem = json.loads(result.err)
    assert problem["code"] == "invalid-value"
    assert problem["field"] == "x"


def test_a_wrong_token_is_told(cli: Cli, api: FakeApi, folder: Path) -> None:
    (folder / ".atoll/token").write_text("other")
    result = cli("ps")
    assert result.code == 1
    assert result.err.startswith("error: no token")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("pss",), "error: unknown command `pss`; did you mean `ps`?"),
        (("service", "shwo", "x"), "error: unknown command `shwo`; did you mean `show`?"),
        (("ps", "--nope"), "error: no such option '--nope'"),
        (("scale",), "error: missing argument"),
        (("ps", "Not A Name"), "error: service 'Not A Name' is not 1-63"),
        (("service", "history", "orders", "--at", "yesterday"), "error: --at: 'yesterday' is neither"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_hint(cli: Cli, api: FakeApi, line: tuple[str, ...], said: str) -> None:
    result = cli(*line)
    assert (result.code, result.out) == (2, "")
    assert result.err.lower().startswith(said.lower())
    assert "  hint: " in result.err


def test_wrong_usage_with_json_is_a_problem_document(cli: Cli) -> None:
    result = cli("ps", "--json", "--nope")
    assert result.code == 2
    assert json.loads(result.err)["code"] == "bad-request"


def test_a_bug_is_one_line_and_a_file_and_never_a_traceback(
    cli: Cli, shop: FakeApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a\x1b[31mb\nc")

    monkeypatch.setattr("atoll.cli.facts.Snapshot.load", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = cli("ps")
    assert result.code == 1
    assert result.err.startswith("error: this is a bug in atoll: ZeroDivisionError")
    assert "Traceback" not in result.err
    assert "\x1b" not in result.err
    (details,) = tmp_path.glob("atoll-bug-*.txt")
    assert str(details) in result.err
    assert "Traceback" in details.read_text()
    assert "Traceback" in cli("ps", "-v").err


def _is_error_with_hint(err: str) -> None:
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert lines[-1].startswith("  hint: ")
    assert "Traceback" not in err
