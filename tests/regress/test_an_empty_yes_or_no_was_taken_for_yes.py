"""`?all=` meant yes, though the document of the API says that a yes or no is `true` or `false`. Found by Schemathesis."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from atoll.errors import InvalidValue
from atoll.server.exchange import flag


def asked(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query, "headers": []})


@pytest.mark.parametrize("query", [b"all=", b"all", b"all=maybe", b"all=%20"])
def test_what_is_neither_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidValue, match="not true or false") as refused:
        flag(asked(query), "all")
    assert refused.value.hint == "say true or false"


@pytest.mark.parametrize(
    ("query", "said"), [(b"", False), (b"all=false", False), (b"all=True", True), (b"all=1", True)]
)
def test_absent_is_no(query: bytes, said: bool) -> None:
    assert flag(asked(query), "all") is said
