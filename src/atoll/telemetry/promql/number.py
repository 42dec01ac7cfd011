"""Numbers as Prometheus writes them: shortest digits that read back as the same number, NaN, +Inf, -Inf."""

from __future__ import annotations

import math
from decimal import Decimal

SMALL, LARGE = 1e-6, 1e21
"""Between these the API writes no exponent (as JavaScript does)."""


def plain(value: float) -> str:
    """Without an exponent, as in label values and expressions."""
    if not math.isfinite(value):
        return _special(value)
    text = repr(value)
    if "e" in text:
        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")


def literal(value: float) -> str:
    """As in an expression that is laid out: an exponent below 0.0001 and from a million on (as Go's %v)."""
    if not math.isfinite(value):
        return _special(value)
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return plain(value)
    return _scientific(value)


def api(value: float) -> str:
    """As in an answer of the API."""
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    if "e" not in text and "n" not in text:  # neither an exponent nor inf or nan: as Prometheus writes it
        return text
    if not math.isfinite(value):
        return _special(value)
    return f"{Decimal(text):f}" if SMALL <= abs(value) < LARGE else _scientific(value)


def _scientific(value: float) -> str:
    mantissa, _, exponent = f"{Decimal(repr(value)).normalize():e}".partition("e")
    sign, digits = exponent[0], exponent[1:]
    return f"{mantissa}e{sign}{digits:0>2}"


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
