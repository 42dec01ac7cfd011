from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.telemetry.query.span import CLIENT, SERVER, Span
from atoll.telemetry.query.tree import Tree, make_tree
from tests.unit.telemetry.query.spans import span


def outline(tree: Tree) -> list[str]:
    return ["  " * depth + tree.spans[index].name for index, depth in tree.walk()]


def test_spans_stand_below_their_parents_in_the_order_of_their_starts() -> None:
    spans = [span("b", 5, 6, "root"), span("a", 1, 4, "root"), span("c", 2, 3, "a"), span("root", 0, 10)]
    for _ in range(5):
        random.shuffle(spans)
        assert outline(make_tree(spans)) == ["root", "  a", "    c", "  b"]


def test_a_parent_of_zeros_is_none() -> None:
    tree = make_tree([span("a", 0, 1, "0000000000000000")])
    assert (tree.roots, tree.orphans) == ([0], {})


def test_a_span_whose_parent_was_not_received_is_a_root_and_known_as_an_orphan() -> None:
    tree = make_tree([span("root", 0, 9), span("a", 1, 2, "gone"), span("b", 3, 4, "gone")])
    assert outline(tree) == ["root", "a", "b"]
    assert tree.orphans == {"gone": [1, 2]}


def test_a_span_that_came_twice_is_shown_once() -> None:
    one = span("root", 0, 9)
    tree = make_tree([one, span("a", 1, 2, "root"), one, one])
    assert outline(tree) == ["root", "  a"]
    assert tree.doubles == 2


def test_two_sides_of_a_call_that_share_an_id_are_one_inside_the_other() -> None:
    client = span("web", 0, 9, kind=CLIENT, id="x")
    server = span("orders", 1, 8, kind=SERVER, id="x")
    for spans in ([client, server], [server, client]):
        assert outline(make_tree([*spans, span("db", 2, 3, "x")])) == ["web", "  orders", "    db"]


@pytest.mark.parametrize(
    "parents",
    [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}, {"a": "b", "b": "a", "c": "a", "d": "c"}],
)
def test_a_circle_is_cut_at_its_first_span(parents: dict[str, str]) -> None:
    tree = make_tree([span(name, number, 9, parent) for number, (name, parent) in enumerate(parents.items())])
    assert sorted(line.strip() for line in outline(tree)) == sorted(parents)
    assert tree.roots == [0]


def test_a_trace_ten_thousand_deep_is_no_matter() -> None:
    spans = [span(f"s{number}", number, 20_000 - number, f"s{number - 1}") for number in range(10_000)]
    tree = make_tree(spans[::-1])
    assert [depth for _, depth in tree.walk()] == list(range(10_000))


NAMES = st.sampled_from("abcdef")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda name, id_, parent, begin, kind: span(name, begin, begin + 5, parent, id=id_, kind=kind),
            NAMES,
            NAMES,
            st.sampled_from(["", "a", "b", "c", "d", "e", "f", "gone"]),
            st.integers(0, 9),
            st.sampled_from([0, CLIENT, SERVER]),
        ),
        max_size=12,
    )
)
def test_whatever_came_every_distinct_span_is_in_the_tree_once(spans: Sequence[Span]) -> None:
    tree = make_tree(spans)
    assert sorted(index for index, _ in tree.walk()) == list(range(len(tree.spans)))
    assert len(tree.spans) + tree.doubles == len(spans)
