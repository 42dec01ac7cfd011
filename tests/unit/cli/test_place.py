"""Where the command line looks for the platform, and to whom it shows the token."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from atoll.cli.invocation import Invocation
from atoll.cli.numbers import age, moment, seconds, size
from atoll.cli.place import find
from atoll.errors import InvalidValue, Unreachable
from tests.unit.cli.fake_api import TOKEN, Cli, FakeApi


def invocation(folder: Path, **options: object) -> Invocation:
    made = Invocation({})
    made.folder = folder
    for name, value in options.items():
        setattr(made, name, value)
    return made


def test_the_nearest_running_platform_upward_is_meant(api: FakeApi, folder: Path) -> None:
    below = folder / "a/b"
    below.mkdir(parents=True)
    (folder / "a/.atoll").mkdir()  # never ran
    place = find(invocation(below))
    assert (place.socket, place.token) == (folder / ".atoll/run/api.sock", TOKEN)


def test_a_given_file_or_state_folder_is_meant_even_when_another_runs(
    api: FakeApi, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "atoll.yaml").touch()
    for options in ({"file": tmp_path / "atoll.yaml"}, {"state": tmp_path / "other"}):
        with pytest.raises(Unreachable) as caught:
            find(invocation(folder, **options))
        assert str(tmp_path) in caught.value.detail
    assert find(invocation(tmp_path, file=folder / "atoll.yaml")).socket == folder / ".atoll/run/api.sock"


def test_with_a_token_and_no_platform_in_sight_the_usual_url_is_meant(tmp_path: Path) -> None:
    place = find(invocation(tmp_path, token="t"))
    assert (str(place), place.token) == ("http://127.0.0.1:7070", "t")


def test_a_setting_that_is_no_number_is_told(cli: Cli, tmp_path: Path) -> None:
    cli.folder = tmp_path
    cli.environ.update({"ATOLL_API_PORT": "many", "ATOLL_TOKEN": "t"})
    result = cli("ps")
    assert (result.code, result.err) == (
        2,
        "error: ATOLL_API_PORT is not a whole number\n  hint: unset ATOLL_API_PORT, or give a number\n",
    )


def test_the_token_found_here_is_shown_to_this_machine_only(api: FakeApi, folder: Path) -> None:
    for url in ("http://127.0.0.1:7070", "http://localhost:7070", "http://[::1]:7070", "127.0.0.1:7070"):
        assert find(invocation(folder, url=url)).token == TOKEN
    for url in ("http://example.com", "http://127.0.0.1.example.com:7070", "https://10.0.0.1"):
        assert find(invocation(folder, url=url)).token == ""
    assert find(invocation(folder, url="http://example.com", token="given")).token == "given"


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://x", "http://h/path", "http://h:port", "http://h:99999", "http://[::"]
)
def test_what_is_no_url_is_refused(folder: Path, url: str) -> None:
    if not url:
        return
    with pytest.raises(InvalidValue):
        find(invocation(folder, url=url))


class Tcp(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ok = self.headers["Authorization"] == "Bearer over-tcp"
        body = b'{"revision":1,"facts":[]}' if ok and "facts" in self.path else b'{"nodes":[]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def tcp() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tcp) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(5)


def test_a_url_and_a_token_are_enough(cli: Cli, tcp: int) -> None:
    cli.environ.update({"ATOLL_URL": f"http://localhost:{tcp}", "ATOLL_TOKEN": "over-tcp"})
    assert cli("ps", "--json")[:2] == (0, "[]\n")


def test_a_url_where_nobody_listens_is_unreachable(cli: Cli) -> None:
    result = cli("ps", "--url", "http://127.0.0.1:1", "--token", "t")
    assert result.code == 1
    assert "no control plane answers at http://127.0.0.1:1" in result.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("1.5s", 1.5), ("500ms", 0.5), ("5m", 300), ("1h30m", 5400), ("2d", 172800)],
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    assert seconds(text, name="x") == expected


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "m", "1 h", "nan", "inf", "1e5", "٣", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        seconds(text, name="x")


def test_a_moment_is_a_time_ago_or_a_date() -> None:
    assert moment("1m", wall=100.0, name="x") == 40.0
    assert moment("2026-11-21T12:00:00+00:00", wall=0.0, name="x") == 1_795_262_400.0
    for text in ("soon", "2026-13-01", "99999-01-01"):
        with pytest.raises(InvalidValue):
            moment(text, wall=0.0, name="x")


def test_numbers_are_short_in_tables() -> None:
    assert [age(value) for value in (-3, 0, 59, 60, 7200, 200_000, float("inf"))] == [
        "0s",
        "0s",
        "59s",
        "1m",
        "2h",
        "2d",
        "?",
    ]
    assert [size(value) for value in (0, 2048, 5 << 20, 3 << 30)] == ["0B", "2k", "5M", "3.0G"]
