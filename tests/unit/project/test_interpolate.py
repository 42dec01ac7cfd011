from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.project.dotenv import read_dotenv
from atoll.project.finding import Code
from atoll.project.interpolate import LENGTH_LIMIT, expand

VALUES = {"A": "one", "EMPTY": "", "B": "$A", "lower_1": "low"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("x$A-y", "xone-y"),
        ("$lower_1", "low"),
        ("$A$A", "oneone"),
        ("$B", "$A"),  # values are not filled again
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$$$A", "$one"),
        ("$", "$"),
        ("a $ b", "a $ b"),
        ("$1", "$1"),
        ("${A:-x}", "one"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${NONE-x}", "x"),
        ("${NONE:-}", ""),
        ("${NONE:-${A}}", "one"),
        ("${NONE:-a${NONE2:-b}c}", "abc"),
        ("${NONE:-{}", "{"),
        ("${A:+x}", "x"),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${NONE+x}", ""),
        ("${A:?msg}", "one"),
        ("${EMPTY?msg}", ""),
        ("${NONE:-$$A}", "$A"),
        ("${NONE:-http://x:80/}", "http://x:80/"),
    ],
)
def test_variables_are_filled_as_compose_fills_them(text: str, filled: str) -> None:
    result = expand(text, VALUES)
    assert (result.text, result.problems, result.missing, result.unset) == (filled, [], [], [])


@pytest.mark.parametrize("text", ["${", "${A", "${}", "${1}", "${A.b}", "${A!x}", "${-x}", "${ A }", "${A:x}"])
def test_what_is_no_variable_is_said(text: str) -> None:
    assert expand(text, VALUES).problems


@pytest.mark.parametrize("text", ["${NONE:?}", "${EMPTY:?set it}", "${NONE?}", "x ${A} ${NONE:?because $A}"])
def test_a_required_variable_is_said(text: str) -> None:
    assert expand(text, VALUES).missing


def test_an_unset_variable_becomes_nothing_and_is_told() -> None:
    result = expand("a${NONE}b$NONE", VALUES)
    assert (result.text, result.unset) == ("ab", ["NONE", "NONE"])


@given(st.text())
def test_any_text_is_filled_or_refused_and_text_without_dollars_stays(text: str) -> None:
    result = expand(text, VALUES)
    if "$" not in text:
        assert result.text == text
    assert expand(text.replace("$", "$$"), VALUES).text == text


@given(st.text(alphabet="$A{}:-PORT x", max_size=30), st.sampled_from(["", "v", "a$b"]))
def test_a_command_filled_here_and_again_at_the_start_is_what_one_filling_gives(text: str, port: str) -> None:
    def own(name: str) -> str | None:
        return port if name == "PORT" else None

    once = expand(text, {**VALUES, "PORT": port})
    first = expand(text, VALUES, own=own)
    if first.problems or once.problems:
        assert bool(first.problems) == bool(once.problems)
        return
    assert expand(first.text, {"PORT": port}).text == once.text


def test_a_filling_that_grows_without_end_is_refused() -> None:
    assert expand("$A" * 100, {"A": "x" * (LENGTH_LIMIT // 50)}).problems
    assert expand("${NONE:-" * 500 + "}" * 500, {}).problems


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\nB = 2 \nexport C=3", {"A": "1", "B": "2", "C": "3"}),
        ("# c\n\n  A=x # why\nB=x#y", {"A": "x", "B": "x#y"}),
        ("A='$X #'\nB=\"two\\n\\\"q\\\" ${A}\"", {"A": "$X #", "B": 'two\n"q" $X #'}),
        ("A='two\nlines'\r\nB=\r\n", {"A": "two\nlines", "B": ""}),
        ("A=${X:-d}\nB=$A$$", {"A": "d", "B": "d$"}),
        ("SHELL_HAS\nSHELL_HAS_NOT\n", {"SHELL_HAS": "1"}),
        ("\ufeffA=1", {"A": "1"}),
        ("A=1\nA=2", {"A": "2"}),
        ('A="\\$X"', {"A": "$X"}),
    ],
)  # fmt: skip
def test_env_files_are_read_as_compose_reads_them(text: str, values: dict[str, str]) -> None:
    assert read_dotenv(text, ".env", {"SHELL_HAS": "1"}) == (values, [])


@pytest.mark.parametrize("text", ["= x", "1A=x", "A='open", 'A="x" y', "A B", "A=${", "A=\0", "A=${secret:x}"])
def test_a_line_of_an_env_file_that_is_none_is_told_with_its_place(text: str) -> None:
    _, findings = read_dotenv(f"OK=1\n{text}\n", "x.env", {})
    assert [(finding.code, finding.file, finding.line) for finding in findings] == [(Code.ENV_FILE, "x.env", 2)]


@given(st.text())
def test_no_env_file_breaks_the_reader(text: str) -> None:
    read_dotenv(text, ".env", {})
