"""Who and where, from the environment: hostile text is refused where it is read, and a node's child is recognised."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.errors import AddressForbidden, InvalidName, InvalidValue, TokenUnsafe, Unauthorized
from atoll.model.service import Protocol
from atoll.sdk.place import NODE_MARK, Place, identity_of, place_of, read_token
from atoll.supervisor.processes import MARK

HOSTILE = ["a\nb", "a b", "%[x]", "${HOME}", "a;b", 'a"b', "a\0b", "\x1b[31m", "é", "-a", "../x", "a" * 64]
TOKEN = "t" * 43


def test_the_environment_names_the_control_plane() -> None:
    assert place_of({}) == Place("http://127.0.0.1:7070")
    said = {"ATOLL_URL": "http://[::1]:7171/", "ATOLL_TOKEN": f" {TOKEN}\n", "ATOLL_TOKEN_FILE": "/run/token"}
    assert place_of(said) == Place("http://[::1]:7171", TOKEN, Path("/run/token"))


def test_a_token_does_not_show() -> None:
    assert TOKEN not in repr(place_of({"ATOLL_TOKEN": TOKEN}))


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:7070",
        "ftp://127.0.0.1:1",
        "http://",
        "http://h:99999",
        "http://h:0",
        "http://h:x",
        "http://u:p@h:1",
        "http://h:1/api?x=1",
        "http://h:1/deep",
        "http://h:1#x",
        "http://[::1",
        "file:///etc/passwd",
        *(
            f"http://{text}"
            for text in HOSTILE
            if text not in {"-a", "a" * 64, "a;b", "${HOME}", "%[x]", 'a"b', "../x"}
        ),
    ],
)
def test_an_odd_url_is_refused_and_shown_harmlessly(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        place_of({"ATOLL_URL": url})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("token", ["two words", "a\0b", "é" * 40, "x" * 600, "a\nb"])
def test_an_odd_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        place_of({"ATOLL_TOKEN": token})
    assert token not in str(caught.value)


def test_without_a_service_there_is_nobody_to_register() -> None:
    assert identity_of({"PORT": "8000"}) is None


def test_the_environment_names_the_instance_and_arguments_win() -> None:
    environ = {"ATOLL_SERVICE": "orders", "ATOLL_INSTANCE": "o-7", "PORT": "8000", "SERVICE_VERSION": "v2"}
    found = identity_of(environ)
    assert found is not None
    assert (found.service, found.instance, found.said.port, found.said.version) == ("orders", "o-7", 8000, "v2")
    other = identity_of(environ, "billing", port=9, host="10.0.0.4", protocol="grpc", version="v3")
    assert other is not None
    assert (other.service, other.instance, other.said.port) == ("billing", "billing-10-0-0-4-9", 9)
    assert (other.said.protocol, other.said.version) == (Protocol.GRPC, "v3")


def test_the_same_place_has_the_same_id_after_a_restart() -> None:
    for _ in range(2):
        found = identity_of({}, "orders", port=8000)
        assert found is not None
        assert found.instance == "orders-8000"


def test_what_a_node_started_is_registered_by_that_node() -> None:
    child = {"ATOLL_SERVICE": "orders", "ATOLL_INSTANCE": "orders-1", "ATOLL_INSTANCE_MARK": "x", "PORT": "8000"}

    def by_node(environ: dict[str, str], *service: str, **said: str) -> bool:
        found = identity_of(environ, *service, port=8000, **said)  # type: ignore[arg-type]
        assert found is not None
        return found.by_node

    assert by_node(child)
    assert by_node(child, "orders")
    assert by_node(child, "orders", instance="orders-1")
    assert not by_node(child, "another"), "a program beside the child, with a name of its own"
    assert not by_node(child, instance="mine")
    assert not by_node({name: value for name, value in child.items() if name != "ATOLL_INSTANCE_MARK"})
    assert not by_node({name: value for name, value in child.items() if name != "ATOLL_INSTANCE"})


def test_the_mark_of_a_node_is_the_one_that_nodes_set() -> None:
    assert NODE_MARK == MARK


def test_a_worker_of_a_node_needs_no_port() -> None:
    found = identity_of({"ATOLL_SERVICE": "orders", "ATOLL_INSTANCE": "orders-1", "ATOLL_INSTANCE_MARK": "x"})
    assert found is not None
    assert found.by_node


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_refused_at_home(text: str) -> None:
    with pytest.raises(InvalidName):
        identity_of({}, text, port=1)
    with pytest.raises(InvalidName):
        identity_of({"ATOLL_SERVICE": text, "PORT": "1"})
    with pytest.raises(InvalidName):
        identity_of({}, "orders", port=1, version=text)
    if text != "a" * 64:
        with pytest.raises(InvalidName):
            identity_of({}, "orders", port=1, instance=text)


@pytest.mark.parametrize("port", ["", "0", "70000", "-1", "80 ", "8e3", "٣", "0x50", "1" * 5000])
def test_an_odd_port_is_refused(port: str) -> None:
    with pytest.raises((InvalidValue, AddressForbidden)):
        identity_of({"ATOLL_SERVICE": "orders", "PORT": port})


def test_forbidden_addresses_and_odd_values_are_refused_at_home() -> None:
    for said in ({"host": "169.254.169.254"}, {"host": "example.org"}, {"host": "0.0.0.0"}):
        with pytest.raises(AddressForbidden):
            identity_of({}, "orders", port=1, **said)  # type: ignore[arg-type]
    for odd in ({"ttl": float("nan")}, {"ttl": 1.0}, {"weight": 300}, {"protocol": "gopher"}):
        with pytest.raises(InvalidValue):
            identity_of({}, "orders", port=1, **odd)


def test_a_token_is_read_from_its_file_or_from_the_nearest_state_folder(tmp_path: Path) -> None:
    (tmp_path / ".atoll").mkdir()
    file = tmp_path / ".atoll" / "token"
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with pytest.raises(Unauthorized):
        read_token(Place(token_file=file))
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(Place(), deep) == TOKEN
    assert read_token(Place(token_file=file), deep) == TOKEN
    assert read_token(Place(token="mine"), deep) == "mine"


def test_a_token_that_others_can_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    with pytest.raises(TokenUnsafe):
        read_token(Place(token_file=file))
    file.chmod(0o600)
    for text in ("", "two words", "é" * 40, "x" * 5000, "a\0b"):
        file.write_text(text)
        with pytest.raises(TokenUnsafe):
            read_token(Place(token_file=file))
    with pytest.raises(TokenUnsafe):
        read_token(Place(token_file=tmp_path))
