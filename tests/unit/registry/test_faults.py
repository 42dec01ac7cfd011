from __future__ import annotations

from typing import Any

import msgspec
import pytest

from atoll.errors import Conflict, InvalidValue, LimitReached, NotFound
from atoll.model.fault import FAULTS_LIMIT, Fault, FaultName
from atoll.model.service import Service
from atoll.registry.faults import clear_faults, put_fault
from tests.unit.registry.stage import Stage, staged


def fault(stage: Stage, name: str = "f", **values: Any) -> Fault:
    now = stage.clock.wall()
    said = {"name": name, "service": "orders", "delay": 0.1, "since": now, "until": now + 60, "reason": "a test"}
    return msgspec.convert({**said, **values}, Fault)


async def orders(stage: Stage) -> None:
    await stage.catalog.put_service(msgspec.convert({"name": "orders"}, Service))


async def test_a_fault_of_the_same_name_and_place_is_replaced_one_of_another_place_is_refused() -> None:
    async with staged() as stage:
        await orders(stage)
        await put_fault(stage.registry, fault(stage))
        await put_fault(stage.registry, fault(stage, delay=0.5))
        assert [each.delay for each in stage.registry.facts.snapshot.faults.values()] == [0.5]
        with pytest.raises(Conflict):
            await put_fault(stage.registry, fault(stage, caller="orders"))


async def test_what_does_not_exist_cannot_be_struck() -> None:
    async with staged() as stage:
        places: tuple[dict[str, Any], ...] = ({}, {"service": None, "route": "shop"})
        for place in places:
            with pytest.raises(NotFound):
                await put_fault(stage.registry, fault(stage, **place))
        await orders(stage)
        with pytest.raises(NotFound):
            await put_fault(stage.registry, fault(stage, caller="web"))
        with pytest.raises(InvalidValue):
            await put_fault(stage.registry, fault(stage, percent=101))
        await stage.catalog.put_service(msgspec.convert({"name": "db", "protocol": "tcp"}, Service))
        with pytest.raises(InvalidValue):
            await put_fault(stage.registry, fault(stage, service="db"))
        with pytest.raises(NotFound):
            await clear_faults(stage.registry, [FaultName("f")])


async def test_there_are_only_so_many() -> None:
    async with staged() as stage:
        await orders(stage)
        for number in range(FAULTS_LIMIT):
            await put_fault(stage.registry, fault(stage, f"f{number}"))
        with pytest.raises(LimitReached):
            await put_fault(stage.registry, fault(stage, "one-more"))
        await clear_faults(stage.registry)
        assert not stage.registry.facts.snapshot.faults


async def test_a_fault_that_is_over_is_forgotten() -> None:
    async with staged() as stage:
        await orders(stage)
        await put_fault(stage.registry, fault(stage))
        await stage.clock.advance(55)
        assert stage.registry.facts.snapshot.faults
        await stage.clock.advance(10)
        assert not stage.registry.facts.snapshot.faults
