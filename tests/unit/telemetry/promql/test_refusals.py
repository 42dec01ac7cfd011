"""What is refused, where the finger points, and that nothing hostile hangs or kills."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.errors import AtollError
from atoll.telemetry.promql import ast
from atoll.telemetry.promql.column import AGGREGATIONS as KNOWN_TO_COLUMN
from atoll.telemetry.promql.evaluate import Bounds
from atoll.telemetry.promql.format import pretty, text
from atoll.telemetry.promql.functions import FUNCTIONS
from atoll.telemetry.promql.parse import AGGREGATIONS, parse
from atoll.telemetry.promql.refusal import EvaluationError, ParseError
from atoll.telemetry.promql.regex import replacer
from atoll.telemetry.promql.value import Grid
from tests.unit.telemetry.promql.source import Memory, series

MEMORY = Memory(
    [series("m", [(at * 15.0, math.sin(at) * 9) for at in range(60)], a=str(a), b=str(a % 2)) for a in range(4)]
    + [series("b", [(at * 15.0, float(at * le)) for at in range(60)], le=str(le)) for le in (1, 2)]
)


@pytest.mark.parametrize(
    ("query", "place", "words"),
    [
        ("", (1, 1), "no expression"),
        ("  # only a comment", (1, 1), "no expression"),
        ("sum(", (1, 4), "unclosed left parenthesis"),
        ("up[5m", (1, 3), "unclosed left bracket"),
        ('up{a="b"', (1, 3), "unclosed left brace"),
        ("(up))", (1, 5), "unexpected ')'"),
        ("(up]", (1, 4), "unexpected ']'"),
        ("up +", (1, 5), "end of input"),
        ("up + * 2", (1, 6), "unexpected '*'"),
        ("up up", (1, 4), "unexpected 'up'"),
        ("sum by x (up)", (1, 8), "unknown function with name 'x'"),
        ("sum by (x,,y) (up)", (1, 11), "label's name"),
        ("up{a=b}", (1, 6), "a value in quotes"),
        ("up{a>'b'}", (1, 5), "one of = != =~ !~"),
        ("up{=~'b'}", (1, 4), "label's name"),
        ("up[x]", (1, 4), "a duration"),
        ("up offset", (1, 10), "a duration"),
        ("up @ x", (1, 6), "an instant"),
        ("up @ -5", (1, 6), "after 1970"),
        ("up @ 1e300", (1, 6), "before the year 10000"),
        ("'abc", (1, 1), "unterminated string"),
        ("up $ 2", (1, 4), "unexpected character"),
        ("sum(\n  rate(up)\n)", (2, 3), "expected type matrix"),
        ("1 + abs(1)", (1, 5), "expected type vector"),
        ("sum(a) + topk(a)", (1, 10), "wrong number of arguments"),
        ("histogram_trim(up)", (1, 1), "unknown function"),
        ("info(up)", (1, 1), "unknown function"),
        ("1 > 2", (1, 1), "BOOL"),
        ("sum(1 > 2)", (1, 5), "BOOL"),
        ('up{a=~"("}', (1, 1), "regex"),
        ("up + fill(0) up", (1, 6), "fill"),
        ("a{b='1' or c='2'}", (1, 9), "or"),
        ("max_over_time(time()[2m:1m])", (1, 15), "subquery is only allowed on vector"),
        ("2 * up[5m]", (1, 1), "scalar and instant vector"),
        ("{}", (1, 1), "at least one non-empty matcher"),
        ("a" * 70_000, (1, 65_537), "longer than"),
        ("(" * 65 + "1" + ")" * 65, (1, 65), "nested"),
        ("+".join("a" * 300), (1, 402), "operators"),
    ],
)
def test_a_refusal_points_at_the_place(query: str, place: tuple[int, int], words: str) -> None:
    with pytest.raises(ParseError) as refused:
        parse(query)
    assert words in refused.value.reason
    assert (refused.value.line, refused.value.column) == place
    assert str(refused.value).startswith(f"{place[0]}:{place[1]}: parse error: ")


@pytest.mark.parametrize(
    "query", ["+".join("a" * 200), "(" * 64 + "1" + ")" * 64, "-" * 200 + "a", "a and " * 199 + "a"]
)
def test_what_is_just_inside_the_bounds_is_evaluated(query: str) -> None:
    MEMORY.at(query, 600)


def test_a_pattern_that_would_run_for_ever_elsewhere_does_not() -> None:
    assert replacer("(a+)+b", "$1")("a" * 100_000) is None
    parse('m{a=~"(x+x+)+y"}')


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "(a)\\1", "a{1001}", "(?P<x>", "x" * 20_000, "(" * 2000])
def test_a_pattern_that_re2_does_not_take_is_refused(pattern: str) -> None:
    with pytest.raises(EvaluationError, match="invalid regular expression"):
        MEMORY.at(f"label_replace(m, 'x', '$1', 'a', '{pattern}')".replace("\\", "\\\\"), 600)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("label_replace(m, 'a b', '', '', '')", "invalid destination label name"),
        ("label_join(m, 'x', '', 'a b')", "invalid source label name"),
        ("count_values('a b', m)", "invalid label name"),
        ("topk(NaN, m)", "overflows int64"),
        ("topk(1e30, m)", "overflows int64"),
        ("holt_winters(m[5m], 0, 0.5)", "invalid smoothing factor"),
        ("holt_winters(m[5m], 0.5, 1)", "invalid trend factor"),
    ],
)
def test_a_bad_argument_is_refused_with_its_reason(query: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        MEMORY.at(query, 600)


def test_the_columns_know_every_aggregation() -> None:
    assert AGGREGATIONS <= KNOWN_TO_COLUMN


def test_every_function_of_prometheus_2_42_is_there() -> None:
    assert len(FUNCTIONS) >= 68


NAMES = st.sampled_from(["m", "b", "none", 'm{a="1"}', 'm{a=~"1|2"}', 'm{b!="0"}'])
NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "NaN", "Inf", "-Inf", "1e300", "3", "time()", "pi()"])
RANGES = st.sampled_from(["[1m]", "[15s]", "[10m:1m]", "[5m:]", "[1m] offset 2m", "[2m] @ 300", "[1m:7s] @ end()"])
LABELS = st.sampled_from(["a", "b", "a, b", "", "le", "x"])
OVER_TIME = [name for name in FUNCTIONS if name.endswith("_over_time") and name != "quantile_over_time"]
OF_RANGES = [*OVER_TIME, "rate", "increase", "delta", "irate", "idelta", "changes", "resets", "deriv"]
OF_VECTORS = [
    "abs",
    "ln",
    "sgn",
    "sort",
    "sort_desc",
    "timestamp",
    "hour",
    "year",
    "days_in_month",
    "absent",
    "acosh",
    "round",
]


def vectors(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    ops = ["+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "atan2", "> bool", "== bool"]
    matching = ["", " on (a)", " ignoring (b)", " on ()", " on (a) group_left", " ignoring (le) group_right (b)"]
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(OF_VECTORS), inner),
        st.builds(
            "{} by ({}) ({})".format, st.sampled_from(["sum", "avg", "max", "count", "stddev", "group"]), LABELS, inner
        ),
        st.builds("{} without ({}) ({})".format, st.sampled_from(["min", "stdvar", "sum"]), LABELS, inner),
        st.builds("{}({}, {})".format, st.sampled_from(["topk", "bottomk", "quantile", "limitk"]), NUMBERS, inner),
        st.builds("({}) {}{} ({})".format, inner, st.sampled_from(ops), st.sampled_from(matching), inner),
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or", "unless"]), inner),
        st.builds("({}) {} {}".format, inner, st.sampled_from(ops), NUMBERS),
        st.builds("-({})".format, inner),
        st.builds("{}(({})[5m:1m])".format, st.sampled_from(OF_RANGES), inner),
        st.builds("histogram_quantile({}, {})".format, NUMBERS, inner),
        st.builds('count_values("v", {})'.format, inner),
        st.builds('label_replace({}, "a", "$1", "b", "(.*)")'.format, inner),
        st.builds("clamp({}, {}, {})".format, inner, NUMBERS, NUMBERS),
    )


EXPRESSIONS = st.recursive(
    st.one_of(
        NAMES,
        st.builds("{}(m{})".format, st.sampled_from(OF_RANGES), RANGES),
        st.builds("quantile_over_time({}, m{})".format, NUMBERS, RANGES),
        st.builds("vector({})".format, NUMBERS),
    ),
    vectors,
    max_leaves=5,
)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_a_random_expression_has_an_answer_or_a_reason_and_reads_the_same_when_written_out(query: str) -> None:
    try:
        expr = parse(query)
        assert parse(text(expr)) == expr or "NaN" in query
        assert text(parse(pretty(expr))) == text(expr)
        MEMORY.value(query, Grid(0, 600_000, 100_000), Bounds(samples=100_000))
    except (ParseError, EvaluationError) as error:
        assert error.detail


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="ab{}()[]=~!\"'`\\@:,.+-*/%^<> 15mse\n\x00#", max_size=40)))
def test_any_text_is_parsed_or_refused_at_a_place_inside_of_it(query: str) -> None:
    try:
        expr = parse(query)
    except ParseError as refused:
        assert 0 <= refused.position <= len(query)
        return
    assert ast.kind_of(expr)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_pattern_and_template_have_an_answer_or_a_reason(pattern: str, template: str) -> None:
    def quoted(words: str) -> str:
        return '"' + words.encode("unicode_escape").decode().replace('"', '\\"') + '"'

    try:
        MEMORY.at(f'label_replace(m, "x", {quoted(template)}, "a", {quoted(pattern)})', 600)
    except AtollError as error:
        assert error.detail
