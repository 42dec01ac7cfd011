r"""The one way by which a word reaches haproxy.cfg. Nothing a user wrote is put there by other means.

HAProxy splits a line at white space and reads quotes, backslashes, `$NAME`, `#` and, in some places, `%[…]`. Between
single quotes all of that is plain text, so every word that is not obviously harmless goes between them. Control
characters have no place in any word and are refused, which leaves no way to end the line.
"""

from __future__ import annotations

import re

from atoll.errors import InvalidValue
from atoll.kit.text import scrub

_HARMLESS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:;=+/<>(){}[]-_!?%")
"""Characters that mean themselves between double quotes."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@,+=*<>-]+")


def quote(word: str) -> str:
    """`word` so that HAProxy reads exactly it, as one argument.

    Raises:
        InvalidValue: it holds a control character or a surrogate.
    """
    refuse_control(word)
    if _PLAIN.fullmatch(word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def escaped(text: str) -> str:
    r"""Any text but one with a NUL so that HAProxy reads exactly its bytes, as one argument: what is not plain as `\xHH`.

    Raises:
        InvalidValue: it holds a NUL or a surrogate.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise InvalidValue("a text for HAProxy is not valid Unicode") from None
    if b"\0" in raw:
        raise InvalidValue("a text for HAProxy holds a NUL")
    return '"' + "".join(chr(byte) if chr(byte) in _HARMLESS else f"\\x{byte:02x}" for byte in raw) + '"'


def line(*words: str) -> str:
    """One line of a section: every word quoted, indented."""
    return "  " + " ".join(quote(word) for word in words)


def section(*words: str) -> str:
    """A section's first line."""
    return " ".join(quote(word) for word in words)


def literal(text: str) -> str:
    """`text` for a place that HAProxy reads as a log-format string: `%` means itself. Still needs `quote`."""
    return text.replace("%", "%%")


def entry(key: str, value: str) -> str:
    """One line of a map file.

    Raises:
        InvalidValue: white space or a control character in either, an empty one, or a key that reads as a comment.
    """
    for part in (key, value):
        refuse_control(part)
        if not part or any(character.isspace() for character in part):
            raise InvalidValue(f"map entry {scrub(part, limit=80)!r} is empty or holds white space")
    if key.startswith("#"):
        raise InvalidValue(f"map key {scrub(key, limit=80)!r} would be read as a comment")
    return f"{key} {value}"


def refuse_control(text: str) -> None:
    """Refuse what could end a line or hide in one.

    Raises:
        InvalidValue: a control character or a surrogate.
    """
    if not text.isprintable() and any(_control(character) for character in text):
        raise InvalidValue(
            f"{scrub(text, limit=80)!r} holds control characters",
            hint="names, paths and addresses are printable text",
        )


def _control(character: str) -> bool:
    point = ord(character)
    return point < 0x20 or 0x7F <= point < 0xA0 or 0xD800 <= point < 0xE000 or point in {0x2028, 0x2029}
