from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.telemetry.query.compare import compare
from atoll.telemetry.query.waterfall import lay_out
from tests.unit.telemetry.query.spans import span

FIRST = lay_out(
    "a" * 32,
    [
        span("web", 0, 100),
        span("query", 10, 20, "web", service="db", id="q1"),
        span("query", 20, 30, "web", service="db", id="q2"),
        span("cache", 40, 45, "web"),
    ],
)
SECOND = lay_out(
    "b" * 32,
    [
        span("web", 0, 180),
        span("query", 10, 90, "web", service="db", id="q1", error=True),
        span("audit", 100, 130, "web"),
    ],
)


def test_spans_of_one_service_and_name_stand_side_by_side_the_largest_change_first() -> None:
    found = compare(FIRST, SECOND)
    assert (found.first.id[0], found.second.id[0], found.change_ms) == ("a", "b", 80.0)
    assert (found.first.spans, found.second.errors) == (4, 1)
    assert [(row.service, row.change_ms, row.first is None, row.second is None) for row in found.spans] == [
        ("db", 60.0, False, False),
        ("audit", 30.0, True, False),
        ("web", -5.0, False, False),
        ("cache", -5.0, False, True),
    ]
    query = found.spans[0]
    assert query.first is not None
    assert query.second is not None
    assert (query.first.count, query.first.duration_ms, query.second.count, query.second.errors) == (2, 20.0, 1, 1)


def test_a_trace_has_changed_nothing_against_itself() -> None:
    found = compare(FIRST, FIRST)
    assert {row.change_ms for row in found.spans} == {0.0}
    assert found.change_ms == 0.0


lengths = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 50)), max_size=12)


@given(lengths, lengths)
def test_the_other_way_round_every_change_has_the_other_sign(
    one: list[tuple[str, int]], other: list[tuple[str, int]]
) -> None:
    first, second = (
        lay_out(
            mark * 32,
            [
                span("root", 0, 1000),
                *(span(name, 5, 5 + length, "root", id=f"{at}") for at, (name, length) in enumerate(each)),
            ],
        )
        for mark, each in (("a", one), ("b", other))
    )
    there = {(row.service, row.name): row.change_ms for row in compare(first, second).spans}
    back = {(row.service, row.name): -row.change_ms for row in compare(second, first).spans}
    assert there == back
