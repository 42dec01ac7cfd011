from __future__ import annotations

import pytest

from atoll.errors import LimitReached
from atoll.kit.clock import Instant
from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import NodeReport, ServerReport
from atoll.model.service import State
from atoll.registry.damping import Damper
from atoll.registry.health import Health, Standing, health
from atoll.registry.nodes import LIMIT, Nodes
from atoll.testing import FakeClock
from tests.unit.registry.stage import open_memory_at, staged

ORDERS, ONE = ServiceName("orders"), InstanceId("o-1")


def check(up: bool, cause: str = "L4CON: refused") -> ServerReport:
    return ServerReport(service=ORDERS, instance=ONE, up=up, cause=cause)


DRAIN = Health(State.DRAINING, "deploy")
TABLE = [
    (None, Standing.FRESH, [], State.PASSING, ""),
    (None, Standing.FRESH, [check(True)], State.PASSING, ""),
    (None, Standing.FRESH, [check(False)], State.FAILING, "check: L4CON: refused"),
    (None, Standing.FRESH, [check(False), check(True)], State.PASSING, ""),
    (None, Standing.LAPSED, [], State.SUSPECT, "lease lapsed"),
    (None, Standing.LAPSED, [check(False)], State.FAILING, "check: L4CON: refused"),
    (None, Standing.LAST, [], State.FAILING, "lease lapsed; kept because it is the last instance"),
    (None, Standing.LAST, [check(True)], State.SUSPECT, "lease lapsed; its check passes and it is the last instance"),
    (None, Standing.HELD, [], State.SUSPECT, "lease lapsed; expiry is on hold because many lapsed together"),
    (DRAIN, Standing.LAPSED, [check(False)], State.DRAINING, "deploy"),
    (None, Standing.FRESH, [check(False, "\x1b[31m\n" + "x" * 999)], State.FAILING, None),
]


@pytest.mark.parametrize(("word", "standing", "checks", "state", "cause"), TABLE)
def test_one_state_out_of_three_opinions(
    word: Health | None, standing: Standing, checks: list[ServerReport], state: State, cause: str | None
) -> None:
    found = health(word, standing, checks)
    assert found.state is state
    assert found.cause.isprintable()
    assert len(found.cause) < 260
    if cause is not None:
        assert found.cause == cause


async def test_a_failed_check_makes_an_instance_failing_and_a_passed_one_brings_it_back() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await stage.report(("orders", "o-1", False))
        assert stage.state("orders", "o-1") is State.FAILING
        await stage.pass_time(5, held)
        await stage.report(("orders", "o-1", True))
        assert stage.state("orders", "o-1") is State.PASSING
        records = await stage.history("orders")
        assert [record.verb for record in records] == ["registered", "failing", "passing"]
        assert records[1].cause == "check: L4CON: refused"


async def test_a_report_that_changes_nothing_writes_nothing_whatever_its_wording() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1")
        await stage.report(("orders", "o-1", False), cause="L7STS/503 after 3 ms")
        revision = stage.store.revision
        for number in range(20):
            await stage.report(("orders", "o-1", False), cause=f"L7STS/503 after {number} ms")
        assert stage.store.revision == revision


async def test_a_flapping_instance_is_written_at_most_once_in_ten_seconds() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        calm = await stage.register("orders", "o-2", 9002)
        before = len(await stage.history("orders"))
        for turn in range(600):
            await stage.clock.advance(0.1)
            if turn % 40 == 0:
                await stage.renew(held, calm)
            await stage.report(("orders", "o-1", turn % 2 == 1), ("orders", "o-2", True))
        written = len(await stage.history("orders")) - before
        assert written <= 8, "60 s of 10 changes a second"
        assert stage.state("orders", "o-2") is State.PASSING


async def test_a_node_that_is_silent_has_no_opinion_any_more() -> None:
    async with staged() as stage:
        held = await stage.register("orders", "o-1")
        await stage.pass_time(20, held)
        await stage.report(("orders", "o-1", False))
        assert stage.state("orders", "o-1") is State.FAILING
        await stage.pass_time(20, held)
        assert stage.state("orders", "o-1") is State.PASSING


async def test_after_a_restart_a_failing_instance_stays_so_until_the_node_had_time_to_report() -> None:
    clock = FakeClock()
    async with open_memory_at(clock) as store:
        async with staged(clock=clock, store=store) as before:
            held = await before.register("orders", "o-1")
            await before.report(("orders", "o-1", False))
        async with staged(clock=clock, store=store) as after:
            after.said = before.said
            await after.pass_time(5, held)
            assert after.state("orders", "o-1") is State.FAILING
            await after.pass_time(20, held)
            assert after.state("orders", "o-1") is State.PASSING


async def test_what_was_said_of_an_earlier_process_does_not_count_for_the_next_one() -> None:
    async with staged() as stage:
        await stage.register("orders", "o-1", 9001)
        await stage.report(("orders", "o-1", False))
        held = await stage.register("orders", "o-1", 9002)
        await stage.pass_time(3, held)
        assert stage.state("orders", "o-1") is State.PASSING


async def test_reports_about_strangers_are_ignored() -> None:
    async with staged() as stage:
        await stage.report(("ghost", "g-1", False))
        assert stage.store.revision == 0


def test_nodes_are_bounded() -> None:
    nodes = Nodes()
    for number in range(LIMIT):
        nodes.take(NodeReport(node=NodeName(f"n{number}")), Instant(0))
    with pytest.raises(LimitReached):
        nodes.take(NodeReport(node=NodeName("one-more")), Instant(0))
    nodes.take(NodeReport(node=NodeName("one-more")), Instant(4000))
    assert len(nodes.all(Instant(4000))) == 1


def test_the_first_change_is_told_at_once_the_second_after_a_breath_then_one_in_ten_seconds() -> None:
    damper, key = Damper(), (ORDERS, ONE)
    told = []
    for tenth in range(600):
        now = Instant(tenth / 10)
        if damper.allows(key, now):
            damper.changed(key, now)
            told.append(tenth / 10)
    assert told == [0.0, 2.0, 12.0, 22.0, 32.0, 42.0, 52.0]
    assert damper.allows(key, Instant(1000.0))
    assert not damper._changes
