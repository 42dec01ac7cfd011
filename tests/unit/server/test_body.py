from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from atoll.errors import AtollError, BadRequest, InvalidValue, RequestTimeout, TooLarge
from atoll.model.project import Project
from atoll.model.registration import Registration
from atoll.model.service import Service
from atoll.server import body

LIMIT = 1 << 20
DEEP = 10_000
BAD_FORM = {
    "deep arrays": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside a field": b'{"port":1,"metadata":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a key twice": b'{"port":1,"port":2}',
    "a key twice, further in": b'{"port":1,"metadata":{"a":"1","a":"2"}}',
    "NaN": b'{"port":1,"ttl":NaN}',
    "Infinity": b'{"port":1,"ttl":-Infinity}',
    "a BOM": b'\xef\xbb\xbf{"port":1}',
    "UTF-16": '{"port":1}'.encode("utf-16"),
    "trailing data": b'{"port":1}{"port":2}',
    "half": b'{"port":',
    "nothing": b"",
    "bad UTF-8": b'{"port":1,"version":"\xff\xfe"}',
    "a form": b"port=1",
    "a comment": b'{"port":1}//',
}
BAD_MEANING = {
    "1e400": b'{"port":1,"ttl":1e400}',
    "a string for a number": b'{"port":"80"}',
    "a huge number": b'{"port":' + b"9" * 400 + b"}",
    "a number that Python would not print": b'{"port":' + b"9" * 5000 + b"}",
    "null": b"null",
    "a list": b"[]",
    "a missing field": b"{}",
    "an unknown field": b'{"port":1,"prot":2}',
}


@pytest.mark.parametrize("content", BAD_FORM.values(), ids=BAD_FORM.keys())
def test_what_is_not_json_as_it_must_be_is_400_within_milliseconds(content: bytes) -> None:
    with pytest.raises((BadRequest, InvalidValue)) as caught:
        body.parse(content, Registration)
    assert min(_cost(content) for _ in range(3)) < 0.05  # a collection of garbage may fall into one
    assert caught.value.status in {400, 422}
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize("content", BAD_MEANING.values(), ids=BAD_MEANING.keys())
def test_json_of_the_wrong_shape_is_refused(content: bytes) -> None:
    with pytest.raises((InvalidValue, BadRequest)) as caught:
        body.parse(content, Registration)
    assert caught.value.status in {400, 422}


def test_the_corpus_costs_less_than_ten_milliseconds_each() -> None:
    worst = 0.0
    for content in (
        *BAD_FORM.values(),
        *BAD_MEANING.values(),
        b"[" * LIMIT,
        b"[]," * (LIMIT // 3),
        b'"' + b"x" * LIMIT,
    ):
        best = min(_cost(content) for _ in range(3))
        worst = max(worst, best)
    assert worst < 0.01


def _cost(content: bytes) -> float:
    begin = time.process_time()
    with pytest.raises(AtollError):
        body.parse(content, Registration)
    return time.process_time() - begin


def test_a_wrong_type_tells_its_field() -> None:
    with pytest.raises(InvalidValue) as caught:
        body.parse(b'{"name":"shop","services":[{"name":"a","check":{"interval":"x"}}]}', Project)
    assert caught.value.fields["field"] == "services[0].check.interval"


@pytest.mark.parametrize(
    ("content", "field", "hint"),
    [
        (b'{"name":"a","sticki":true}', "sticki", "sticky"),
        (b'{"name":"a","check":{"intervall":1}}', "check.intervall", "interval"),
        (b'{"name":"a","run":{"command":["x"],"replica":2}}', "run.replica", "replicas"),
    ],
)
def test_a_typo_in_a_field_is_not_lost_but_answered_with_what_was_meant(content: bytes, field: str, hint: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        body.parse(content, Service)
    assert caught.value.fields["field"] == field
    assert hint in str(caught.value.hint)


def test_free_keys_are_not_taken_for_fields() -> None:
    found = body.parse(b'{"name":"a","run":{"command":["x"],"environment":{"ANY":"thing"}}}', Service)
    assert found.run is not None
    assert found.run.environment == {"ANY": "thing"}


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    try:
        found = body.parse(content, Registration)
    except (BadRequest, InvalidValue):
        return
    assert isinstance(found, Registration)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)


@given(json_values)
def test_any_json_is_taken_as_a_service_or_refused(value: object) -> None:
    try:
        body.parse(msgspec.json.encode(value), Service)
    except (BadRequest, InvalidValue) as error:
        assert error.detail.isprintable()


def request(messages: AsyncIterator[Message], **headers: str) -> Request:
    async def receive() -> Message:
        return await anext(messages)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "PUT", "headers": raw, "path": "/"}, receive)


async def pieces(*sizes: int, hang: bool = False) -> AsyncIterator[Message]:
    for size in sizes:
        yield {"type": "http.request", "body": b" " * size, "more_body": True}
    if hang:
        await asyncio.Event().wait()
    yield {"type": "http.request", "body": b"", "more_body": False}


async def test_a_body_of_the_limit_is_taken_and_a_byte_more_is_413() -> None:
    assert len(await body.read(request(pieces(600, 400)), limit=1000)) == 1000
    with pytest.raises(TooLarge):
        await body.read(request(pieces(600, 401)), limit=1000)


async def test_a_body_that_says_it_is_too_large_is_refused_though_it_never_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body, "LINGER_SECONDS", 0.01)
    with pytest.raises(TooLarge):
        await body.read(request(pieces(100, hang=True), content_length="5000000"), limit=1000)


async def test_an_endless_body_is_refused_after_a_bounded_number_of_bytes() -> None:
    taken = 0

    async def endless() -> AsyncIterator[Message]:
        nonlocal taken
        while True:
            taken += 1 << 20
            yield {"type": "http.request", "body": b" " * (1 << 20), "more_body": True}

    with pytest.raises(TooLarge):
        await body.read(request(endless()), limit=1000)
    assert taken <= body.LINGER + (2 << 20)


async def test_a_body_that_does_not_come_is_408() -> None:
    with pytest.raises(RequestTimeout):
        await body.read(request(pieces(10, hang=True)), limit=1000, seconds=0.01)


async def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(BadRequest, match="compressed"):
        await body.read(request(pieces(10), content_encoding="gzip"), limit=1000)


async def test_a_client_that_hangs_up_in_the_middle_is_no_crash() -> None:
    async def hangs_up() -> AsyncIterator[Message]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        yield {"type": "http.disconnect"}

    with pytest.raises(BadRequest, match="hung up"):
        await body.read(request(hangs_up()), limit=1000)
