"""How HAProxy splits a line into words (configuration manual, 2.2 "Quoting and escaping"), as far as tests need it."""

from __future__ import annotations


def split(text: str) -> list[str]:
    """The words of one line; everything that HAProxy would do beyond splitting fails the test."""
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(text):
        character = text[at]
        if character == " ":
            if word is not None:
                words.append("".join(word))
            word = None
        elif character == "'":
            end = text.index("'", at + 1)
            word = [*(word or []), text[at + 1 : end]]
            at = end
        elif character == "\\":
            word = [*(word or []), text[at + 1]]
            at += 1
        else:
            assert character not in '"$#', f"{character} outside of quotes"
            word = [*(word or []), character]
        at += 1
    if word is not None:
        words.append("".join(word))
    return words
