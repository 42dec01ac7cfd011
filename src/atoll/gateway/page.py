"""Fixed answers as rules: of whichever page `txn.page` names, one for each, so a new page needs a reload.

HAProxy cannot say a status, a header's name or a line feed that it knows only from a map; so a page's words stand in the
file, byte by byte where they are not plain (`quote.escaped`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from atoll.gateway.quote import escaped, line, literal
from atoll.model import names
from atoll.model.page import Page

PAGE = "txn.page"
"""The key of the page that shall be given."""


def page_key(page: Page) -> str:
    """The name of a page: the same for the same answer."""
    return f"page:{hashlib.sha256(msgspec.json.encode(page, order='sorted')).hexdigest()[:24]}"


def giving(when: str, pages: Iterable[Page]) -> str:
    """The rules that give the page, `when` it is `http-request` or `http-response`."""
    return "".join(f"{_given(when, page)} if {{ var({PAGE}) -m str {page_key(page)} }}\n" for page in pages)


def _given(when: str, page: Page) -> str:
    words = [line(when, "return", "status", str(page.status))]
    if page.body:
        words += ["content-type", escaped(page.content_type), "string", escaped(page.body)]
    for name, value in sorted(page.headers.items()):
        words += ["hdr", names.header_name(name), escaped(literal(value))]
    return " ".join(words)
