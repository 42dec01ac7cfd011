"""Text from outside, made safe to show to a person: no control characters, no terminal codes, no endless lines."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LINE_LIMIT = 4096
"""Characters of one printed value; a longer one is cut and says so."""


def scrub(text: str, *, limit: int = LINE_LIMIT) -> str:
    """`text` with every control, format (bidi) and surrogate character shown as its escape, cut at `limit`."""
    cut = text if len(text) <= limit else text[:limit] + f"…({len(text) - limit} more)"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_shown(character) for character in cut)


def _shown(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be, for a did-you-mean; None when nothing is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
