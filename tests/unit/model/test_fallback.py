from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.model.fallback import Fallback, LastGood, Other, errors_problems, fallback_problems
from atoll.model.names import HeaderName, ServiceName
from atoll.model.page import BODY_LIMIT, HEADERS_LIMIT, Page, page_problems
from atoll.model.policy import Policy, policy_problems
from atoll.model.service import Service
from atoll.model.snapshot import decode, encode

BEST = ServiceName("best")


def fields(said: Fallback) -> list[str]:
    return [".".join(path) for path, _ in fallback_problems(said)]


@pytest.mark.parametrize(
    ("page", "field"),
    [
        (Page(status=99), "status"),
        (Page(status=100), "status"),
        (Page(status=299), "status"),
        (Page(status=204, body="x"), "body"),
        (Page(body="x" * (BODY_LIMIT + 1)), "body"),
        (Page(body="é" * (BODY_LIMIT // 2 + 1)), "body"),
        (Page(body="a\0b"), "body"),
        (Page(body="\ud800"), "body"),
        (Page(content_type="text"), "content_type"),
        (Page(content_type="text/html\r\nx: y"), "content_type"),
        (Page(content_type="text/" + "x" * 200), "content_type"),
        (Page(headers={HeaderName(f"x-{at}"): "1" for at in range(HEADERS_LIMIT + 1)}), "headers"),
        *(
            (Page(headers={HeaderName(name): "1"}), f"headers.{name}")
            for name in ("content-length", "x-fallback", "x-atoll-page", "connection", "X-Upper", "a b", "x:y", "")
        ),
        *((Page(headers={HeaderName("x-a"): value}), "headers.x-a") for value in ("", " a", "a\r\nb: c", "ä", "\0")),
    ],
)
def test_an_absurd_page_is_named(page: Page, field: str) -> None:
    assert [".".join(path) for path, _ in page_problems(page)] == [field]


def test_any_text_can_be_a_page() -> None:
    for body in ("", '{"a": "%[src] ${HOME} \' \\ \n"}', "x" * BODY_LIMIT):
        assert not list(page_problems(Page(body=body, headers={HeaderName("cache-control"): "max-age=5, public"})))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Fallback(static=Page(), on=()), "on"),
        (Fallback(static=Page(), on=("often",)), "on"),
        (Fallback(static=Page(), on=("200",)), "on"),
        (Fallback(static=Page(), on=("5xx",)), "on"),
        (Fallback(static=Page(), on=("５０３",)), "on"),
        (Fallback(static=Page(), service=Other(service=BEST)), "service"),
        (Fallback(static=Page(status=0)), "static.status"),
        (Fallback(service=Other(service=BEST, timeout=0)), "service.timeout"),
        (Fallback(service=Other(service=BEST, timeout=float("nan"))), "service.timeout"),
        (Fallback(service=Other(service=BEST, timeout=3601)), "service.timeout"),
        *(
            (Fallback(service=Other(service=BEST, path=path)), "service.path")
            for path in ("x", "//", "/a/../b", "/.", "/a b", "/{0}", "/{6}", "/{x}", "/a?b?c", "/a|b", "/a^b", "/%[src]", "/" + "x" * 256)
        ),
        (Fallback(last_good=LastGood(max_age=0)), "last_good.max_age"),
        (Fallback(last_good=LastGood(max_age=float("inf"))), "last_good.max_age"),
    ],
)  # fmt: skip
def test_an_absurd_fallback_is_named(said: Fallback, field: str) -> None:
    assert fields(said) == [field]


@pytest.mark.parametrize("path", ["", "/", "/top", "/top/", "/top/{1}/a-{2}.json", "/top?like={5}&x=1"])
def test_a_path_may_name_segments(path: str) -> None:
    assert not fields(Fallback(service=Other(service=BEST, path=path, timeout=0.2), on=("503", "404", "timeout")))


def test_a_policy_names_what_is_absurd_within_it() -> None:
    absurd = Policy(fallback=Fallback(static=Page(status=1)), errors={"404": Page(status=404), "503": Page(status=500)})
    assert [path for path, _ in policy_problems(absurd)] == [
        ("fallback", "static", "status"), ("errors", "404"), ("errors", "503", "status"),
    ]  # fmt: skip


def test_errors_keep_their_status() -> None:
    assert not list(errors_problems({"503": Page(status=503, body="soon"), "502": Page(status=502)}))


@given(st.text(max_size=300))
def test_no_words_pass_that_could_mean_more_than_themselves_in_a_map(path: str) -> None:
    if not fields(Fallback(service=Other(service=BEST, path=path))):
        assert not set(path) & set("|^%#;\"'\\$ \t\r\n\0")
        assert path.isprintable()


def test_a_policy_with_everything_is_a_fact() -> None:
    fallback = Fallback(static=Page(headers={HeaderName("x-a"): "1"}), last_good=LastGood())
    said = Service(name=BEST, policy=Policy(fallback=fallback, errors={"503": Page(status=503)}))
    assert decode(encode(said), Service) == said
