"""Which sections nobody takes requests in, out of how many servers, and since when."""

from __future__ import annotations

import base64
import json

from atoll.gateway.config import Backend, Server
from atoll.gateway.counts import ServerStat
from atoll.gateway.emptied import Empty, emptied, empty_entries
from atoll.model.names import InstanceId, ServiceName


def backend(name: str, *servers: str, drained: bool = False) -> Backend:
    several = (Server(name=each, instance=InstanceId(each), host="h", port=1, drained=drained) for each in servers)
    return Backend(name=name, upstream=name, service=ServiceName(name), servers=tuple(several))


def stat(of: str, server: str, *, up: bool, since: int = 5) -> ServerStat:
    return ServerStat(backend=of, server=server, up=up, cause="", since=since, sessions=0, requests=0)


def test_a_section_is_empty_when_no_server_of_it_is_up() -> None:
    down = [stat("b", "1", up=False, since=9), stat("b", "2", up=False, since=4)]
    assert emptied({}, [backend("b", "1", "2")], down, 100.0) == {"b": Empty(2, 96.0)}
    assert emptied({}, [backend("b", "1", "2")], [down[0], stat("b", "2", up=True)], 100.0) == {}
    assert emptied({}, [backend("b", "1", "2")], [], 100.0) == {}


def test_one_whose_servers_are_all_drained_is_empty_too_and_one_being_deleted_is_no_server() -> None:
    assert emptied({}, [backend("b", "1", drained=True)], [stat("b", "1", up=True)], 100.0) == {"b": Empty(1, 100.0)}
    two = [stat("b", "1", up=False), stat("b", "old", up=True)]
    assert set(emptied({}, [backend("b", "1")], two, 100.0)) == {"b"}


def test_the_moment_stays_whatever_the_next_look_rounds_to() -> None:
    before = emptied({}, [backend("b", "1")], [stat("b", "1", up=False, since=3)], 100.2)
    assert emptied(before, [backend("b", "1")], [stat("b", "1", up=False, since=5)], 101.9) == before


def test_what_is_known_stands_in_the_map_as_members_of_the_answer() -> None:
    sections = {"b": Empty(3, 1_795_319_000.0), "gone": Empty(1, 1.0)}
    words = dict(empty_entries([backend("b", "1"), backend("c", "1"), backend("d")], sections))
    entries = {name: base64.b64decode(word).decode() for name, word in words.items()}
    assert json.loads("{" + entries.pop("b")[1:] + "}") == {"of": 3, "since": "2026-11-22T03:43:20Z"}
    assert entries == {"d": ',"of":0'}
