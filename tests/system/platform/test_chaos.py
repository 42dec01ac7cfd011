"""A chaos run over a whole platform: what it finds, and that a timeout more is findings less."""

from __future__ import annotations

from typing import Any

import pytest

from tests.system.platform.conftest import Maker
from tests.system.platform.stage import Platform, alive

PROJECT = """
name: chaotic
services:
  web:
    command: python service.py
    replicas: 2
    healthcheck: {http: /healthz, interval: 500ms, timeout: 300ms}
    depends_on: [back]
    calls: {back: {timeout: 1s, fallback: {static: {body: {partial: true}}}}}
  back:
    circuit_breaker: true
    command: python service.py
    healthcheck: {http: /healthz, interval: 500ms, timeout: 300ms}
  silent:
    command: sleep 3600
    port: none
gateway:
  routes: [{name: web, match: {path_prefix: /}, service: web}]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_chaos_run_names_what_is_missing_and_a_timeout_less_costs_points(platform: Maker) -> None:
    made = platform(PROJECT)
    made.up()
    careful = run(made)
    failed = {(one["check"]["code"], one["check"]["about"]) for one in careful["findings"]}
    assert ("kill-unnoticed", "back") in failed, "one instance"
    assert ("kill-unnoticed", "web") not in failed, "two of them"
    assert ("timeout", "route:web") in failed
    assert ("timeout", "web>back") not in failed
    assert ("fallback", "route:web") in failed
    assert ("fallback", "web>back") not in failed
    assert ("breaker", "web>back") not in failed
    assert not {code for code, _ in failed} & {
        "kill-replaced",
        "right-again",
        "part-unnoticed",
        "part-back",
        "pause-left-out",
    }
    assert any(text.startswith("silent:") for text in careful["skipped"])
    assert {one["about"] for one in careful["checks"]} >= {
        "control-plane",
        "gateway",
        "web",
        "back",
        "web>back",
        "route:web",
    }

    made.edit("    calls: {back: {timeout: 1s, fallback: {static: {body: {partial: true}}}}}\n", "")
    assert made("apply", "--yes").code == 0
    assert made("wait", "--timeout", "30s").code == 0
    careless = run(made, "--min-score", "100", code=1)
    lost = [one for one in careless["findings"] if one["check"]["about"] == "web>back"]
    assert [one["check"]["code"] for one in lost] == ["timeout", "fallback"]
    assert "web → back has no timeout" in lost[0]["check"]["seen"]
    assert "timeout: 2s" in lost[0]["check"]["advice"]
    assert "fallback" in lost[1]["check"]["advice"]
    assert careful["score"] - careless["score"] == pytest.approx(sum(one["points"] for one in lost), abs=1)
    assert len(made("chaos", "list", "--json").json) == 2
    assert made("chaos", "show", "--json").json == careless
    assert made("fault", "list", "--json").json == [], "nothing stays broken"
    assert all(alive(pid) for pid in made.pids().values())


def run(platform: Platform, *more: str, code: int = 0) -> dict[str, Any]:
    done = platform("chaos", "run", "standard", "--yes", "--json", *more, timeout=140)
    assert done.code == code, done.err
    report: dict[str, Any] = done.json
    return report
