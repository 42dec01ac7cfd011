"""What goes first when telemetry takes too much room."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.settings import Telemetry
from atoll.telemetry.ages import Drop, Part, ages, boundary, limit, to_drop, ttl

TODAY = date(2026, 11, 21)
DAYS = {"spans": 5.0, "logs": 10.0, "samples": 30.0}
GB = 1 << 30


def part(table: str, back: int, size: int, block: int = 1) -> Part:
    return Part(table, TODAY - timedelta(days=back), f"{table}_{back}_{block}", block, size)


def test_nothing_goes_while_there_is_room() -> None:
    assert to_drop([part("spans", 4, 500), part("logs", 0, 500)], 1000, DAYS, TODAY) == []


def test_the_day_nearest_to_its_own_end_goes_first() -> None:
    parts = [part("spans", 4, 300), part("logs", 6, 300), part("samples", 20, 300), part("logs", 0, 300)]
    drops = to_drop(parts, 800, DAYS, TODAY)
    assert drops == [Drop("spans", TODAY - timedelta(days=4), 300), Drop("samples", TODAY - timedelta(days=20), 300)]
    assert drops[0].statement() == "ALTER TABLE spans DROP PARTITION ID '20261117'"


def test_parts_of_a_day_go_together() -> None:
    parts = [part("logs", 3, 100, 1), part("logs", 3, 150, 2), part("logs", 0, 100)]
    assert to_drop(parts, 300, DAYS, TODAY) == [Drop("logs", TODAY - timedelta(days=3), 250)]


def test_today_alone_gives_its_oldest_parts_and_never_its_newest() -> None:
    parts = [part("logs", 0, 400, 7), part("logs", 0, 400, 2), part("spans", 0, 100, 1)]
    drops = to_drop(parts, 600, DAYS, TODAY)
    assert drops == [Drop("logs", TODAY, 400, "logs_0_2")]
    assert drops[0].statement() == "ALTER TABLE logs DROP PART 'logs_0_2'"
    assert to_drop([part("logs", 0, 10**9, 7)], 10, DAYS, TODAY) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(DAYS)), st.integers(0, 12), st.integers(1, 1000), st.integers(1, 5)),
        unique_by=lambda made: (made[0], made[1], made[3]),
        max_size=30,
    ),
    st.integers(0, 20_000),
)
def test_what_is_left_fits_or_is_only_the_newest_of_today(made: list[tuple[str, int, int, int]], most: int) -> None:
    parts = [part(table, back, size, block) for table, back, size, block in made]
    drops = to_drop(parts, most, DAYS, TODAY)
    whole = {(drop.table, drop.day) for drop in drops if drop.part is None}
    single = {drop.part for drop in drops if drop.part}
    left = [item for item in parts if (item.table, item.day) not in whole and item.name not in single]
    assert sum(drop.bytes for drop in drops) + sum(item.bytes for item in left) == sum(item.bytes for item in parts)
    newest_only = all(item.day == TODAY for item in left) and len({item.table for item in left}) == len(left)
    assert sum(item.bytes for item in left) <= most or newest_only


@pytest.mark.parametrize(
    ("used", "free", "total", "most"),
    [
        (5 * GB, 100 * GB, 200 * GB, 20 * GB),
        (5 * GB, 2 * GB, 200 * GB, 6 * GB),
        (5 * GB, 0, 200 * GB, 4 * GB),
        (0, 0, 100, 0),
    ],
)  # fmt: skip
def test_a_disk_that_is_almost_full_lowers_the_limit(used: int, free: int, total: int, most: int) -> None:
    assert limit(20 * GB, used, free, total) == most


def test_spans_end_with_whole_days() -> None:
    now = datetime(2026, 11, 21, 13, 5, tzinfo=UTC).timestamp()
    assert boundary(now, 3) == datetime(2026, 11, 18, tzinfo=UTC)
    assert boundary(now, 0.5) == datetime(2026, 11, 21, tzinfo=UTC)


def test_kept_traces_never_end_before_the_others() -> None:
    days = {age.table: age.days for age in ages(Telemetry(traces_days=20, kept_days=1))}
    assert days["kept_spans"] >= days["spans"] > 20
    assert [ttl(age) for age in ages(Telemetry(logs_days=0.5)) if age.table == "logs"] == [
        "toDateTime(Timestamp) + toIntervalSecond(43200)"
    ]
