from __future__ import annotations

import random

from tests.fault.checks.slope import slope

HOUR = 3600.0


def line(per_hour: float, *, noise: float = 0.0, seconds: int = 600, level: float = 50.0) -> list[tuple[float, float]]:
    rng = random.Random(1)
    return [(at, level + per_hour * at / HOUR + rng.uniform(-noise, noise)) for at in range(0, seconds, 5)]


def test_a_leak_grows_and_its_rate_is_found() -> None:
    found = slope({1: line(12.0, noise=0.1)})
    assert abs(found.per_hour - 12.0) < 0.5
    assert found.verdict(1.0) == "grows"


def test_noise_on_a_level_is_flat() -> None:
    assert slope({1: line(0.0, noise=0.02)}).verdict(1.0) == "flat"


def test_a_restart_is_no_growth_and_hides_none() -> None:
    levels = {1: line(0.0, level=40.0), 2: [(at + 600, number) for at, number in line(0.0, level=90.0)]}
    assert abs(slope(levels).per_hour) < 1e-6
    leaks = {1: line(30.0, level=90.0), 2: [(at + 600, number) for at, number in line(30.0, level=40.0)]}
    assert abs(slope(leaks).per_hour - 30.0) < 1e-6


def test_the_warm_up_is_left_out() -> None:
    warm = [(at, 100.0 * min(at, 60) / 60) for at in range(0, 600, 5)]
    assert slope({1: warm}).per_hour == 0.0


def test_too_little_says_nothing_and_much_noise_in_a_short_time_is_undecided() -> None:
    assert slope({1: line(0.0, seconds=60)}).verdict(1.0) == "undecided"
    assert slope({}).points == 0
    assert slope({1: [(at, 3.0 if at > 100 else 0.0) for at in range(60, 140, 5)]}, warm_up=0).verdict(900.0) != "grows"


def test_one_step_in_a_few_minutes_is_no_proof_of_growth() -> None:
    step = [(at, 41.05 if at < 150 else 41.18) for at in range(60, 240, 5)]
    assert slope({1: step}, warm_up=0, step=0.125).verdict(1.0) == "undecided"
    assert slope({1: line(1.5, seconds=8 * 3600)}, step=0.125).verdict(1.0) == "grows"
