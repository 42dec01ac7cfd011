from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atoll.kit.text import scrub
from atoll.project.finding import SOURCE_LIMIT, Code, Finding


def found(source: str, column: int, length: int = 1) -> Finding:
    return Finding(
        code=Code.UNKNOWN_KEY, message="m", file="f.yaml", line=7, column=column, length=length, source=source
    )


def test_a_finding_reads_as_the_documented_form() -> None:
    finding = Finding(
        code=Code.UNKNOWN_REFERENCE,
        message="unknown service `paymnts` in depends_on",
        file="atoll.yaml",
        line=17,
        column=7,
        length=7,
        source="      paymnts: {condition: healthy}",
        suggestion="payments",
        hint="services are: catalog, payments",
    )
    assert finding.render().splitlines() == [
        "error: unknown service `paymnts` in depends_on",
        "  --> atoll.yaml:17:7",
        "   |",
        "17 |       paymnts: {condition: healthy}",
        "   |       ^^^^^^^ did you mean `payments`?",
        "  hint: services are: catalog, payments",
        "  docs: docs/atoll-yaml.md#at102",
    ]


def test_a_finding_without_a_file_is_message_and_hint() -> None:
    finding = Finding(code=Code.CYCLE, message="m", hint="h", suggestion="s")
    assert finding.render(kind="warning").splitlines() == [
        "warning: m",
        "  did you mean `s`?",
        "  hint: h",
        "  docs: docs/atoll-yaml.md#at108",
    ]


def test_the_caret_stands_under_its_word_behind_escaped_characters() -> None:
    shown = found("\tx\x1b: bad", 6, 3).render().splitlines()
    assert shown[3] == "7 | \\tx\\x1b: bad"
    assert shown[4].index("^") == shown[3].index("bad")
    assert shown[4].count("^") == 3


@given(st.text(max_size=600), st.integers(1, 700), st.integers(1, 50))
def test_no_source_line_breaks_the_caret_or_the_width(source: str, column: int, length: int) -> None:
    lines = found(source, column, length).render().split("\n")
    assert all(scrub(line, limit=len(line)) == line for line in lines)
    assert all(len(line) <= SOURCE_LIMIT * 12 for line in lines)


def test_a_long_line_is_cut_around_its_place() -> None:
    shown = found("x" * 1000 + "bad" + "y" * 1000, 1001, 3).render().splitlines()
    at = shown[4].index("^")
    assert shown[3][at : at + 3] == "bad"
    assert len(shown[3]) <= SOURCE_LIMIT + 4
