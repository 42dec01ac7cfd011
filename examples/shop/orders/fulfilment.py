"""How an order moves on by itself once it is paid. Pure: status and history follow from the outcome and the age."""

from __future__ import annotations

STEP = 0.2  # seconds between two stages; a real warehouse is slower
HAPPY = ("created", "paid", "packed", "shipped", "delivered")


def stages(outcome: str) -> tuple[str, ...]:
    """Every stage an order with this outcome goes through: all of them once paid, none after a failure."""
    return HAPPY if outcome == "paid" else ("created",) if outcome == "created" else ("created", outcome)


def status(outcome: str, age: float) -> str:
    """Where the order stands, age seconds after its outcome was known."""
    if outcome != "paid":
        return outcome
    return HAPPY[min(1 + max(0, int(age / STEP)), len(HAPPY) - 1)]
