"""Every function that an expression may call, by name; one module for each family."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.telemetry.promql.context import Function
from atoll.telemetry.promql.functions import (
    dates,
    elementwise,
    histograms,
    labels,
    over_time,
    presence,
    rates,
    trends,
)

FUNCTIONS: Mapping[str, Function] = {
    **rates.TABLE,
    **over_time.TABLE,
    **trends.TABLE,
    **elementwise.TABLE,
    **dates.TABLE,
    **labels.TABLE,
    **presence.TABLE,
    **histograms.TABLE,
}
