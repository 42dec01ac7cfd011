from __future__ import annotations

import re
from pathlib import Path

import atoll.gateway.plan
import atoll.gateway.reconcile
from atoll.gateway.config import GatewayConfig
from atoll.gateway.plan import Reload, make_plan
from atoll.gateway.reasons import KINDS, OTHER, kind_of


def kind(running: GatewayConfig, wanted: GatewayConfig) -> str:
    plan = make_plan(running, wanted)
    assert isinstance(plan, Reload)
    return kind_of(plan.reasons)


def test_what_the_plan_says_is_counted_by_its_kind() -> None:
    empty = GatewayConfig()
    assert kind(empty, GatewayConfig(tcp_ports=((7000, "tcp"),))) == "listener"
    assert kind(empty, GatewayConfig(header_sets=(("x-user",),))) == "header-rule"
    assert kind_of(["backend be_a for orders is not in the running file", "tcp listeners change: 1"]) == "new-backend"
    assert kind_of(["backend be_a changes check"]) == "changed-backend"


def test_every_sentence_that_asks_for_a_reload_has_a_kind() -> None:
    """The sentences stand in the sources; each must start as one of the patterns does."""
    sources = [Path(module.__file__ or "").read_text() for module in (atoll.gateway.plan, atoll.gateway.reconcile)]
    sources.append((Path(atoll.gateway.plan.__file__ or "").with_name("driver.py")).read_text())
    said = [
        *re.findall(r'reasons\.append\(f?"([^"]+)"', sources[0]),
        *re.findall(r'reasons \+= \[f"([^"]+)"', sources[0]),
        *re.findall(r'self\._forced = \(f"([^"]+)"', sources[1]),
        *re.findall(r'_count_reload\(\("([^"]+)"', sources[1]),
        *re.findall(r'force_reload\("([^"]+)"', sources[2]),
    ]
    assert len(said) == len(KINDS)
    found = {kind_of([re.sub(r"\{[^}]*\}", "1", sentence)]) for sentence in said}
    assert found == set(KINDS)


def test_what_is_unknown_is_other() -> None:
    assert kind_of([]) == OTHER
    assert kind_of(["somebody said so"]) == OTHER
