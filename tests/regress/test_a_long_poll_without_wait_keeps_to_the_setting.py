"""Schemathesis found it: `ATOLL_API_LONG_POLL` bounded a `wait` that was given, and not the default of 30 s."""

from __future__ import annotations

from starlette.requests import Request

from atoll.server.exchange import seconds


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_the_default_is_bounded_as_what_is_given() -> None:
    assert seconds(asked(""), "wait", 30.0, most=0.1) == 0.1
    assert seconds(asked("wait=99"), "wait", 30.0, most=0.1) == 0.1
    assert seconds(asked("wait=0.05"), "wait", 30.0, most=0.1) == 0.05
