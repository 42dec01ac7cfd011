"""Two answers of the API: equal, or the first difference. Numbers may differ by rounding."""

from __future__ import annotations

import json
import math
from typing import Any

TOLERANCE = 1e-9
"""Relative: sums are added in another order here than there."""


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Empty when both say the same: the same status, kind of error, series and samples."""
    if ours["status"] != theirs["status"]:
        return f"{ours['status']} ({ours.get('error', '')}), not {theirs['status']} ({theirs.get('error', '')})"
    if theirs["status"] == "error":
        same = ours["errorType"] == theirs["errorType"]
        return "" if same else f"{ours['errorType']} ({ours['error']}), not {theirs['errorType']} ({theirs['error']})"
    left, right = ours["data"], theirs["data"]
    if left["resultType"] != right["resultType"]:
        return f"{left['resultType']}, not {right['resultType']}"
    if left["resultType"] in ("scalar", "string"):
        return _unlike(left["result"], right["result"])
    mine, other = _by_labels(left["result"]), _by_labels(right["result"])
    if mine.keys() != other.keys():
        return f"series {sorted(mine.keys() - other.keys())} too many, {sorted(other.keys() - mine.keys())} missing"
    for labels, entry in other.items():
        for field in ("value", "values", "histogram", "histograms"):
            said = _unlike(mine[labels].get(field), entry.get(field))
            if said:
                return f"{labels} {field}: {said}"
    return ""


def _by_labels(result: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {json.dumps(entry["metric"], sort_keys=True): entry for entry in result}


def _unlike(ours: Any, theirs: Any) -> str:
    if isinstance(theirs, list) and isinstance(ours, list):
        if len(ours) != len(theirs):
            return f"{len(ours)} items, not {len(theirs)}"
        return next((said for one, two in zip(ours, theirs, strict=True) if (said := _unlike(one, two))), "")
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return f"{sorted(ours)}, not {sorted(theirs)}"
        return next((said for key in theirs if (said := _unlike(ours[key], theirs[key]))), "")
    return "" if ours == theirs or _close(ours, theirs) else f"{ours!r}, not {theirs!r}"


def _close(ours: Any, theirs: Any) -> bool:
    try:
        one, two = float(ours), float(theirs)
    except (TypeError, ValueError):
        return False
    if math.isnan(one) or math.isnan(two):
        return math.isnan(one) and math.isnan(two)
    return math.isclose(one, two, rel_tol=TOLERANCE, abs_tol=1e-12)
