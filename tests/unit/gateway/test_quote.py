from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.errors import InvalidValue
from atoll.gateway.quote import entry, line, literal, quote
from tests.unit.gateway.words import split

CONTROL = ["\n", "\r", "\0", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"]


@given(st.lists(st.text(), min_size=1))
def test_whatever_is_written_is_read_back_as_it_was_or_refused(words: list[str]) -> None:
    try:
        written = line(*words)
    except InvalidValue:
        assert any(not word.isprintable() for word in words)
    else:
        assert "\n" not in written
        assert split(written) == words


@pytest.mark.parametrize(
    "word",
    [
        "",
        " ",
        "a b",
        "'",
        '"',
        "\\",
        "%[src]",
        "${HOME}",
        "$HOME",
        "#",
        ";",
        "a'b'c",
        "''",
        "\\n",
        "{ }",
        "é",
        "\u202e",
    ],
)
def test_hostile_words_stay_one_word(word: str) -> None:
    assert split(f"  http-request {quote(word)} end") == ["http-request", word, "end"]


@pytest.mark.parametrize("character", CONTROL)
def test_control_characters_are_refused_everywhere(character: str) -> None:
    for place in (quote, lambda text: entry(text, "v"), lambda text: entry("k", text)):
        with pytest.raises(InvalidValue):
            place(f"a{character}b")


def test_plain_words_are_left_readable() -> None:
    assert line("bind", "127.0.0.1:8080") == "  bind 127.0.0.1:8080"


def test_a_percent_sign_in_a_log_format_means_itself() -> None:
    assert literal("100% %[src]") == "100%% %%[src]"


@pytest.mark.parametrize(
    ("key", "value"), [("", "v"), ("k", ""), ("a b", "v"), ("k", "a b"), ("#k", "v"), ("k\u00a0", "v")]
)
def test_a_map_entry_that_would_be_read_otherwise_is_refused(key: str, value: str) -> None:
    with pytest.raises(InvalidValue):
        entry(key, value)
