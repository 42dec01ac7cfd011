"""The runtime socket against a peer that behaves badly (faults.md D6, D8, E10)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import GatewayRefused
from atoll.gateway import command
from atoll.gateway.apply import Applier, StalePlan
from atoll.gateway.config import Server, Traits
from atoll.gateway.plan import AddServer, Plan, RemoveServer, SetWeight, SwapMap
from atoll.gateway.retire import Retirement
from atoll.gateway.runtime import Runtime, Unanswered
from atoll.kit.clock import SystemClock
from atoll.kit.logs import Log
from atoll.model.names import InstanceId
from atoll.testing.haproxy import FakeHaproxy, Mood, split

HOSTILE = ["a\nb", "a;b", "a b", 'a"b', "a'b", "a\\b", "a\0b", "a\rb", "<<", "a\tb", "ä", "", "a\x1b[31m", "#a"]


@pytest.fixture
async def fake(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FakeHaproxy]:
    async with FakeHaproxy(Path(tmp_path_factory.mktemp("s")) / "s") as peer:
        yield peer


def _runtime(fake: FakeHaproxy) -> Runtime:
    return Runtime(fake.path, SystemClock())


def _applier(runtime: Runtime) -> Applier:
    log = Log("test")
    return Applier(runtime, Retirement(runtime, SystemClock(), log, limit=10), log)


@pytest.mark.parametrize("mood", [Mood.GARBAGE, Mood.HALF, Mood.CLOSE, Mood.ENDLESS])
async def test_an_answer_that_is_none_leaves_the_state_unknown(fake: FakeHaproxy, mood: Mood) -> None:
    fake.mood = mood
    with pytest.raises(Unanswered):
        await _runtime(fake).do(command.weigh("b", "s", 1), command.ready("b", "s"))


async def test_a_peer_that_says_nothing_is_left_after_a_second(fake: FakeHaproxy) -> None:
    fake.mood = Mood.HANG
    began = time.monotonic()
    with pytest.raises(Unanswered, match="did not answer within 1 s"):
        await _runtime(fake).ask("show info")
    assert time.monotonic() - began > 0.9


async def test_a_socket_that_is_not_there_is_unanswered(tmp_path: Path) -> None:
    with pytest.raises(Unanswered, match="No such file"):
        await Runtime(tmp_path / "none", SystemClock()).ask("show info")


async def test_commands_that_belong_together_go_over_one_connection(fake: FakeHaproxy) -> None:
    await _runtime(fake).do(*(command.weigh("b", f"s{number}", 1) for number in range(50)))
    assert fake.connections == 1
    assert fake.commands == [f"set server b/s{number} weight 1" for number in range(50)]


async def test_a_long_batch_is_cut_at_the_line_limit_and_keeps_its_order(fake: FakeHaproxy) -> None:
    sent = [command.weigh("b" * 100, f"s{number}", 1) for number in range(400)]
    await _runtime(fake).do(*sent)
    assert fake.connections > 1
    assert fake.commands == [each.line for each in sent]


async def test_an_objection_names_the_command_and_what_haproxy_said(fake: FakeHaproxy) -> None:
    fake.answer = lambda line: "No such server." if "s2" in line else ""
    with pytest.raises(GatewayRefused, match=r"'set server b/s2 weight 1': No such server\."):
        await _runtime(fake).do(*(command.weigh("b", f"s{number}", 1) for number in range(4)))


async def test_an_older_plan_is_never_applied_over_a_newer_one(fake: FakeHaproxy) -> None:
    applier = _applier(_runtime(fake))
    await applier.apply(Plan(generation=5, revision=9, operations=(SetWeight("b", "s", 5),)))
    before = list(fake.commands)
    with pytest.raises(StalePlan):
        await applier.apply(Plan(generation=4, revision=8, operations=(SetWeight("b", "s", 4),)))
    assert fake.commands == before
    assert applier.generation == 5


async def test_a_plan_that_is_no_longer_the_newest_when_its_turn_comes_is_not_begun(fake: FakeHaproxy) -> None:
    applier = _applier(_runtime(fake))
    with pytest.raises(StalePlan):
        await applier.apply(Plan(generation=1, revision=1, operations=(SetWeight("b", "s", 1),)), still=lambda: False)
    assert fake.commands == []


async def test_a_plan_is_done_in_its_order(fake: FakeHaproxy) -> None:
    answers = {"add server": "New server registered.", "prepare map": "New version created: 3"}
    fake.answer = lambda line: answers.get(" ".join(line.split()[:2]), "")
    server = Server(name="i:1", instance=InstanceId("i"), host="127.0.0.1", port=80)
    operations = (
        AddServer("b", Traits(), server),
        SwapMap("routes", (("/a", "1"), ("/b", "2"))),
        SetWeight("b", "o", 0),
        RemoveServer("b", "x"),
    )
    runtime = _runtime(fake)
    await _applier(runtime).apply(Plan(generation=1, revision=1, operations=operations))
    assert [line.split(" weight")[0] for line in fake.commands] == [
        "add server b/i:1 127.0.0.1:80",
        "set server b/i:1 state ready",
        "prepare map routes.map",
        "add map @3 routes.map",
        "commit map @3 routes.map",
        "set server b/o",
        "set server b/x state maint",
    ]
    assert fake.payloads == [["/a 1", "/b 2"]]


async def test_a_map_that_cannot_be_filled_is_not_committed(fake: FakeHaproxy) -> None:
    answers = {"prepare": "New version created: 3", "add": "out of memory"}
    fake.answer = lambda line: answers.get(line.split()[0], "")
    with pytest.raises(GatewayRefused, match="out of memory"):
        await _applier(_runtime(fake)).apply(
            Plan(generation=1, revision=1, operations=(SwapMap("routes", (("a", "b"),)),))
        )
    assert [line.split()[0] for line in fake.commands] == ["prepare", "add", "clear"]


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_hostile_word_is_refused_before_anything_is_sent(fake: FakeHaproxy, text: str) -> None:
    server = Server(name=text, instance=InstanceId("i"), host="127.0.0.1", port=80)
    address = Server(name="i", instance=InstanceId("i"), host=text, port=80)
    plans = (
        AddServer("b", Traits(), server),
        AddServer("b", Traits(), address),
        AddServer(text, Traits(), msg(server)),
        SetWeight("b", text, 1),
        RemoveServer(text, "s"),
    )
    applier = _applier(_runtime(fake))
    for operation in plans:
        with pytest.raises(GatewayRefused, match="cannot stand in a runtime command"):
            await applier.apply(Plan(generation=1, revision=1, operations=(operation,)))
    assert fake.commands == []


def msg(server: Server) -> Server:
    """The same server with a harmless name."""
    return Server(name="i", instance=server.instance, host=server.host, port=server.port)


@given(st.text(max_size=30), st.text(max_size=30))
def test_whatever_is_asked_for_is_one_command_of_that_many_words_or_refused(backend: str, name: str) -> None:
    made = []
    for make in (command.maintenance, command.ready, command.delete_server, command.shut_sessions):
        try:
            made.append(make(backend, name))
        except GatewayRefused:
            continue
    for each in made:
        assert split(each.line) == [each.line]
        assert each.line.isascii()
        assert each.line.isprintable()
        assert each.line.split(" ") == each.line.split()
        assert f" {backend}/{name}" in each.line


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=5))
def test_map_entries_arrive_as_they_are_or_are_refused(entries: list[tuple[str, str]]) -> None:
    try:
        commands = list(command.fill_map("routes.map", 1, entries))
    except GatewayRefused:
        return
    lines = [line for each in commands for line in each.payload]
    assert [tuple(line.split(" ")) for line in lines] == entries
    assert all(line.isascii() and line.isprintable() for line in lines)


async def test_every_payload_fits_haproxys_buffer(fake: FakeHaproxy) -> None:
    fake.answer = lambda line: "New version created: 1" if line.startswith("prepare") else ""
    entries = tuple((f"/{number:04}{'x' * 150}/", "y" * 100) for number in range(300))
    await _applier(_runtime(fake)).apply(Plan(generation=1, revision=1, operations=(SwapMap("routes", entries),)))
    assert [line for payload in fake.payloads for line in payload] == [f"{key} {value}" for key, value in entries]
    assert max(len("\n".join(payload)) for payload in fake.payloads) <= 14_000
