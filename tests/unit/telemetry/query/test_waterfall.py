from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.model.trace import SpanView, TraceView
from atoll.telemetry.query.span import CLIENT, CONSUMER, LONGEST, PRODUCER, SERVER, Event, Span
from atoll.telemetry.query.waterfall import Record, lay_out
from tests.unit.telemetry.query.spans import MS, NOON, span

MINUTE = 60_000


def view(*spans: Span, records: Sequence[Record] = ()) -> TraceView:
    return lay_out("ab" * 16, spans, records)


def by_name(found: TraceView) -> dict[str, SpanView]:
    return {one.name: one for one in found.spans}


def call(name: str, begin: float, end: float, parent: str, *, ahead: float = 0.0) -> list[Span]:
    """A call of a service: the client's side, and the server's with a clock that is ahead."""
    return [
        span(f"call-{name}", begin, end, parent, service=parent, kind=CLIENT),
        span(name, begin + 1 + ahead, end - 1 + ahead, f"call-{name}", kind=SERVER),
    ]


def test_a_trace_is_told_with_depths_bars_and_sums() -> None:
    found = view(span("root", 0, 100), span("a", 10, 40, "root", error=True), span("b", 50, 90, "root"))
    assert [(one.name, one.depth, one.at_ms, one.duration_ms) for one in found.spans] == [
        ("root", 0, 0.0, 100.0),
        ("a", 1, 10.0, 30.0),
        ("b", 1, 50.0, 40.0),
    ]
    assert (found.root, found.service, found.duration_ms, found.span_count, found.errors) == ("root", "root", 100, 3, 1)
    assert found.services == ("root", "a", "b")
    assert found.start == "2026-11-18T11:06:40.000000Z"


def test_own_time_is_what_no_child_covers_and_overlaps_count_once() -> None:
    found = by_name(
        view(span("root", 0, 100), span("a", 10, 40, "root"), span("b", 30, 60, "root"), span("c", 90, 150, "root"))
    )
    assert found["root"].self_ms == 40
    assert found["a"].self_ms == 30


def test_the_critical_path_goes_from_the_end_through_who_ended_last() -> None:
    found = by_name(
        view(
            span("root", 0, 100),
            span("fast", 10, 30, "root"),
            span("slow", 10, 60, "root"),
            span("inside", 20, 50, "slow"),
            span("late", 70, 95, "root"),
        )
    )
    assert {name: one.critical_ms for name, one in found.items()} == {
        "root": 10 + 10 + 5,
        "fast": 0,
        "slow": 10 + 10,
        "inside": 30,
        "late": 25,
    }


def test_a_child_that_goes_on_after_its_parent_counts_up_to_the_parents_end() -> None:
    found = by_name(view(span("root", 0, 100), span("job", 40, 500, "root", kind=CONSUMER)))
    assert (found["root"].critical_ms, found["job"].critical_ms) == (40, 60)
    assert view(span("root", 0, 100), span("job", 40, 500, "root")).duration_ms == 500


@pytest.mark.parametrize("ahead", [5 * MINUTE, -5 * MINUTE])
def test_a_service_with_a_clock_five_minutes_off_is_put_into_the_call_and_marked(ahead: float) -> None:
    found = by_name(
        view(
            span("gateway", 0, 100, source="gateway", kind=SERVER),
            span("web", 1, 99, "gateway", kind=SERVER),
            *call("orders", 10, 90, "web", ahead=ahead),
            span("query", 20 + ahead, 30 + ahead, "orders", service="orders"),
        )
    )
    assert (found["orders"].at_ms, found["query"].at_ms) == (11, 20)
    assert (found["orders"].shift_ms, found["query"].shift_ms) == (-ahead, -ahead)
    assert found["web"].shift_ms == found["call-orders"].shift_ms == 0


def test_every_call_of_a_clock_that_is_off_is_moved_by_the_same() -> None:
    """Otherwise two short calls of one service would each be centred in theirs, and lie about which was when."""
    found = by_name(
        view(
            span("web", 0, 200),
            *call("orders", 10, 50, "web", ahead=3 * MINUTE),
            span("call-2", 100, 180, "web", service="web", kind=CLIENT),
            span("second", 105 + 3 * MINUTE, 125 + 3 * MINUTE, "call-2", service="orders", kind=SERVER),
        )
    )
    assert found["second"].at_ms == 105


def test_a_job_may_begin_long_after_the_message_but_not_before_it() -> None:
    late = by_name(view(span("web", 0, 10, kind=PRODUCER), span("job", 4000, 5000, "web", kind=CONSUMER)))
    early = by_name(view(span("web", 0, 10, kind=PRODUCER), span("job", -4000, -3000, "web", kind=CONSUMER)))
    assert (late["job"].at_ms, late["job"].shift_ms) == (4000, 0)
    assert (early["job"].at_ms, early["job"].shift_ms) == (0, 4000)


def test_a_clock_that_is_off_by_less_than_five_milliseconds_is_moved_without_a_word() -> None:
    found = by_name(view(span("gateway", 0, 100, source="gateway"), span("web", -0.5, 99, "gateway", kind=SERVER)))
    assert (found["web"].at_ms, found["web"].shift_ms) == (0, 0)


@pytest.mark.parametrize("early", [0.3, 8.0, 60.0])
def test_a_span_of_the_mesh_that_begins_early_marks_no_clock_and_moves_alone(early: float) -> None:
    """HAProxy reads its clock before it takes a connection that came meanwhile."""
    found = by_name(
        view(
            span("gateway", 0, 200, source="gateway", kind=SERVER),
            span("web", 1, 199, "gateway", kind=SERVER),
            span("call", 61, 161, "web", service="web", kind=CLIENT),
            span("mesh", 61 - early, 121, "call", source="mesh", kind=SERVER),
            span("orders", 62, 120, "mesh", kind=SERVER),
            span("again", 162, 190, "web", service="web", kind=CLIENT),
            span("mesh-2", 163, 189, "again", service="mesh", source="mesh", kind=SERVER),
        )
    )
    assert {one.shift_ms for one in found.values()} == {0}
    assert [found[name].at_ms for name in ("mesh", "orders", "mesh-2")] == [61, 62, 163]


def test_a_proxy_on_a_machine_whose_clock_is_off_is_moved_and_marked() -> None:
    found = by_name(
        view(
            span("web", 0, 100),
            span("call", 10, 50, "web", service="web", kind=CLIENT),
            span("mesh", 12 - 4000, 48 - 4000, "call", source="mesh", kind=SERVER),
        )
    )
    assert (found["mesh"].at_ms, found["mesh"].shift_ms) == (12, 4000)


def test_a_parent_that_was_not_received_stands_above_its_children_as_missing() -> None:
    found = view(span("root", 0, 100), span("a", 10, 20, "gone"), span("b", 30, 45, "gone"), span("c", 31, 32, "b"))
    assert [(one.name, one.depth, one.missing) for one in found.spans] == [
        ("root", 0, False),
        ("", 0, True),
        ("a", 1, False),
        ("b", 1, False),
        ("c", 2, False),
    ]
    placeholder = found.spans[1]
    assert (placeholder.id, placeholder.at_ms, placeholder.duration_ms) == ("gone", 10, 35)
    assert found.span_count == 4


def test_a_trace_that_began_outside_has_no_missing_line_above_everything() -> None:
    found = view(span("gateway", 0, 10, "browser"), span("web", 1, 9, "gateway"))
    assert [one.name for one in found.spans] == ["gateway", "web"]
    assert found.root == "gateway"


def test_log_records_come_by_corrected_time_with_their_span() -> None:
    ahead = 5 * MINUTE
    spans = [span("web", 0, 100, instance="web-1"), *call("orders", 10, 90, "web", ahead=ahead)]
    found = view(
        *spans,
        records=[
            Record(at=NOON + int((30 + ahead) * MS), service="orders", span="orders", text="charged", level="info"),
            Record(at=NOON + 95 * MS, service="web", instance="web-1", text="done"),
            Record(at=NOON + int((40 + ahead) * MS), service="orders", span="unknown", text="by its clock"),
        ],
    )
    assert [(one.text, one.at_ms) for one in found.logs] == [("charged", 30), ("by its clock", 40), ("done", 95)]


def test_events_links_and_resources_are_told_and_a_resource_once() -> None:
    found = view(
        span("root", 0, 9, resource={"host.name": "box"}, events=(Event(at=NOON + 3 * MS, name="retry"),)),
        span("a", 1, 2, "root", resource={"host.name": "box"}, links=(("t" * 32, "s" * 16),)),
    )
    assert found.resources == ({"host.name": "box"},)
    assert [one.resource for one in found.spans] == [0, 0]
    assert (found.spans[0].events[0].at_ms, found.spans[0].events[0].name) == (3, "retry")
    assert found.spans[1].links[0].trace == "t" * 32


def test_spans_that_are_not_shown_are_counted() -> None:
    found = lay_out("ab" * 16, [span("root", 0, 9)], count=12_000)
    assert (found.span_count, found.cut, len(found.spans)) == (12_000, 11_999, 1)


def test_an_impossible_duration_is_no_bar_across_the_screen() -> None:
    liar = Span(id="liar", name="liar", service="liar", parent="root", start=NOON + MS, duration=LONGEST + 1)
    found = view(span("root", 0, 9), liar)
    assert (found.duration_ms, by_name(found)["liar"].duration_ms) == (9, 0)


TIMES = st.integers(-400_000, 400_000)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(TIMES, st.integers(0, 500), st.integers(-1, 8), st.sampled_from("abc"), st.integers(0, 5)),
        min_size=1,
        max_size=10,
    )
)
def test_no_bar_is_ever_negative_and_no_time_is_spent_twice(rows: list[tuple[int, int, int, str, int]]) -> None:
    found = view(
        *(
            span(f"s{number}", begin, begin + length, f"s{above}" if above >= 0 else "", service=service, kind=kind)
            for number, (begin, length, above, service, kind) in enumerate(rows)
        )
    )
    for one in found.spans:
        assert one.at_ms >= 0
        assert 0 <= one.self_ms <= one.duration_ms
        assert one.at_ms + one.duration_ms <= found.duration_ms + 0.001
    on_path = [one for one in found.spans if one.critical_ms > 0]
    assert all(one.critical_ms >= 0 for one in found.spans)
    if on_path:
        assert sum(one.critical_ms for one in on_path) == pytest.approx(
            next(one.duration_ms for one in found.spans if one.name == found.root and one.critical_ms >= 0), abs=0.01
        )
