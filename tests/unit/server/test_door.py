from __future__ import annotations

import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from atoll.errors import AtollError, Forbidden, InvalidValue, Unauthorized
from atoll.server import auth, problem
from atoll.server.app import ENDPOINTS
from atoll.server.control import Counts
from atoll.server.problem import Refusals
from atoll.testing import FakeClock

TOKEN = "t" * 43


def headers(**said: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in said.items()})


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:7070",
        "LOCALHOST:1",
        "127.0.0.1:7070",
        "127.9.9.9",
        "[::1]:7070",
        "localhost.",
        "box.lan:7070",
    ],
)
def test_our_own_names_are_taken(host: str) -> None:
    auth.check_host(headers(host=host), "box.lan")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7070",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost@evil.example",
        "evil.example#localhost",
        "10.0.0.5",
        "169.254.169.254",
        "[::1",
        "localhost:port",
        "",
        " ",
        "local\nhost",
    ],
)
def test_any_other_host_is_refused(host: str) -> None:
    with pytest.raises(Forbidden) as caught:
        auth.check_host(headers(host=host), "127.0.0.1")
    assert caught.value.detail.isprintable()


def test_no_host_and_two_hosts_are_refused() -> None:
    with pytest.raises(Forbidden):
        auth.check_host(headers(), "127.0.0.1")
    with pytest.raises(Forbidden):
        auth.check_host(Headers(raw=[(b"host", b"localhost"), (b"host", b"localhost")]), "127.0.0.1")


def test_on_the_wildcard_address_any_ip_is_ours_but_no_name() -> None:
    auth.check_host(headers(host="192.168.1.5:7070"), "0.0.0.0")
    with pytest.raises(Forbidden):
        auth.check_host(headers(host="evil.example"), "0.0.0.0")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://localhost:1", "file://", "http://[", "https://localhost.evil"]
)
def test_pages_of_other_origins_are_refused(origin: str) -> None:
    with pytest.raises(Forbidden):
        auth.check_host(headers(host="localhost:7070", origin=origin), "127.0.0.1")


def test_our_own_page_may_call() -> None:
    auth.check_host(headers(host="localhost:7070", origin="http://localhost:7070"), "127.0.0.1")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer " + "x" * 43},
        {"authorization": "Bearer " + TOKEN[:-1]},
        {"authorization": "Bearer " + TOKEN + "t"},
        {"authorization": "Basic " + TOKEN},
        {"authorization": TOKEN},
        {"x_atoll_token": "x"},
        {"x_atoll_token": "x", "authorization": "Bearer " + TOKEN},
        {"x_atoll_token": "ü" * 43},
    ],
)
def test_without_the_token_nobody_comes_in(said: dict[str, str]) -> None:
    with pytest.raises(Unauthorized) as caught:
        auth.check_token(headers(**said), TOKEN)
    assert TOKEN not in caught.value.detail


@pytest.mark.parametrize(
    "said", [{"authorization": f"Bearer {TOKEN}"}, {"authorization": f"bearer  {TOKEN} "}, {"x_atoll_token": TOKEN}]
)
def test_the_token_is_taken_in_either_header(said: dict[str, str]) -> None:
    auth.check_token(headers(**said), TOKEN)


def test_only_the_probes_are_open() -> None:
    assert {one.path for one in ENDPOINTS if one.open} == set(auth.OPEN)


def test_an_unknown_exception_tells_the_client_nothing() -> None:
    error = problem.as_error(RuntimeError("the secret path /etc/shadow"))
    document = error.problem()
    assert document["code"] == "internal"
    assert document["status"] == 500
    assert "secret" not in repr(document)
    assert type(error) is AtollError
    assert problem.as_error(HTTPException(400, "x" * 9999)).status == 400


def test_refusals_are_counted_each_and_logged_once_a_window(caplog: pytest.LogCaptureFixture) -> None:
    clock, counts = FakeClock(), Counts()
    refusals = Refusals(clock, counts)
    error = InvalidValue("no \x1b[31m", field="x")
    with caplog.at_level("WARNING", logger="atoll"):
        for _ in range(100):
            refusals.note(error, error, "PUT", "/a\nb")
        clock._move_to(clock.now() + 61)
        refusals.note(error, error, "PUT", "/a")
    assert counts.refusals == {"invalid-value": 101}
    assert len(caplog.messages) == 2
    assert all(message.isprintable() for message in caplog.messages)
    assert "count=100" in caplog.messages[1]
