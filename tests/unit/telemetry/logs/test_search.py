from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams

from atoll.errors import InvalidValue
from atoll.telemetry.logs.rows import escaped, mapped
from atoll.telemetry.logs.search import Search, conditions, next_cursor, page_statement, read_search

HOSTILE = "'; DROP TABLE logs; -- \\ \" ` {x:String} %s \n\t é ${y} /* */"


def test_no_value_becomes_text_of_the_statement() -> None:
    given = QueryParams(
        [
            *(("service", HOSTILE), ("instance", HOSTILE), ("grep", HOSTILE), ("words", HOSTILE), ("run", HOSTILE)),
            *(("level", "warn"), ("trace", "a" * 32), ("source", "otlp"), ("limit", "7"), ("cursor", "5.3")),
        ]
    )
    search = read_search(given)
    sql, values = page_statement(search)
    plain, _ = page_statement(
        Search(
            services=("x",),
            instances=("x",),
            grep="x",
            words="x",
            run="x",
            least=1,
            trace="x",
            sources=("x",),
            after=(1, 1),
        )
    )
    assert sql == plain
    assert "DROP" not in sql
    assert (values["services"], values["grep"], values["skip"], values["limit"]) == ([HOSTILE], HOSTILE, 3, 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", "loud"),
        ("trace", "zz"),
        ("trace", "a" * 31),
        ("source", "syslog"),
        ("limit", "0"),
        ("limit", "5001"),
        ("limit", "1e3"),
        ("order", "random"),
        ("cursor", "1;2"),
        ("cursor", "9223372036854775807.1"),
        ("since", "soon"),
        ("since", "-1"),
        ("words", "!!!"),
        ("grep", "x" * 1025),
        ("grep", "\0"),
        ("service", "\0"),
        ("surprise", "1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        read_search(QueryParams([(name, value)]))
    assert refused.value.fields["field"] == name


def test_since_must_be_before_until_and_lists_are_bounded() -> None:
    with pytest.raises(InvalidValue, match="not before until"):
        read_search(QueryParams([("since", "20"), ("until", "10")]))
    with pytest.raises(InvalidValue, match="more than 64 times"):
        read_search(QueryParams([("service", "x")] * 65))


def test_a_cursor_counts_the_records_of_its_last_moment() -> None:
    search = Search()
    assert next_cursor(search, [9, 8, 7, 7]) == "7.2"
    assert next_cursor(Search(after=(7, 2)), [7, 7]) == "7.4"
    assert next_cursor(Search(after=(7, 2)), [7, 6]) == "6.1"


def test_a_filter_that_was_not_given_is_no_condition() -> None:
    where, values = conditions(Search())
    assert set(values) == {"since", "until"}
    assert where.count("AND") == 1


def test_what_would_end_a_value_of_tsv_is_escaped() -> None:
    assert escaped("plain é words") == "plain é words"
    assert escaped("a\tb\nc\\d'e\0f\rg") == "a\\tb\\nc\\\\d\\'e\\0f\\rg"
    assert mapped({"k'": "v\n"}) == "{'k\\'':'v\\n'}"
    assert mapped(None) == mapped({}) == "{}"
