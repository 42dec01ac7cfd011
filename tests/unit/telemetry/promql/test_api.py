"""Prometheus' HTTP API: forms, times, shapes of answers, kinds of errors, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from atoll.errors import LimitReached, Overloaded
from atoll.kit.tasks import owned
from atoll.telemetry.metrics.series import Matcher, SeriesSamples
from atoll.telemetry.promql.query import AT_A_TIME
from atoll.telemetry.promql.source import Source
from atoll.testing.clock import FakeClock
from tests.contract.telemetry.promql.asking import client
from tests.unit.telemetry.promql.source import Memory, series

V1 = "/prometheus/api/v1"
START = 1_700_000_000.0
POINTS = [(START + at * 15, float(at)) for at in range(41)]
STORED = [series("up", POINTS, job=job, instance=f"{job}-1") for job in ("api", "web")]
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def asked() -> AsyncIterator[httpx2.AsyncClient]:
    async with client(Memory(STORED), FakeClock(wall=START + 600)) as one:
        yield one


async def data(asked: httpx2.AsyncClient, path: str, **form: Any) -> Any:
    """The same by GET and by form."""
    got = await asked.get(V1 + path, params=form)
    posted = await asked.post(V1 + path, data=form)
    assert (got.status_code, got.json()) == (posted.status_code, posted.json()) == (200, got.json())
    assert got.headers["content-type"] == "application/json"
    assert got.json()["status"] == "success"
    return got.json()["data"]


async def refused(asked: httpx2.AsyncClient, path: str, **form: Any) -> tuple[int, str, str]:
    answer = await asked.get(V1 + path, params=form)
    said = answer.json()
    assert said["status"] == "error"
    assert said["detail"]
    return answer.status_code, said["errorType"], said["error"]


async def test_an_instant_query_is_of_now_or_of_the_time_that_was_given(asked: httpx2.AsyncClient) -> None:
    assert await data(asked, "/query", query='up{job="api"}') == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "up", "instance": "api-1", "job": "api"}, "value": [1700000600, "40"]}],
    }
    for time in ("1700000015.5", "2023-11-14T22:13:35.5Z", "2023-11-14T23:13:35.500+01:00"):
        found = await data(asked, "/query", query="sum(up)", time=time)
        assert found["result"] == [{"metric": {}, "value": [1700000015.5, "2"]}]


async def test_a_range_query_has_pairs_of_time_and_text(asked: httpx2.AsyncClient) -> None:
    form = {"query": "sum(up) / 0", "start": START, "end": START + 60, "step": "30s"}
    assert await data(asked, "/query_range", **form) == {
        "resultType": "matrix",
        "result": [{"metric": {}, "values": [[1700000000, "NaN"], [1700000030, "+Inf"], [1700000060, "+Inf"]]}],
    }


async def test_scalars_and_strings_are_values(asked: httpx2.AsyncClient) -> None:
    assert await data(asked, "/query", query="1e21 + 0", time=5) == {"resultType": "scalar", "result": [5, "1e+21"]}
    assert await data(asked, "/query", query="'é\"'", time=5) == {"resultType": "string", "result": [5, 'é"']}


async def test_what_is_known_of_series_is_told(asked: httpx2.AsyncClient) -> None:
    assert await data(asked, "/labels") == ["__name__", "instance", "job"]
    assert await data(asked, "/series", **{"match[]": ['up{job="web"}', "none"]}) == [
        {"__name__": "up", "instance": "web-1", "job": "web"}
    ]
    get = (await asked.get(V1 + "/label/job/values")).json()
    assert get["data"] == ["api", "web"]
    assert (await asked.get(V1 + "/metadata", params={"metric": "up"})).json()["data"] == {
        "up": [{"type": "gauge", "help": "whether it answered", "unit": ""}]
    }
    exemplars = await data(asked, "/query_exemplars", query='rate(up{job="api"}[1m])', start=START, end=START + 60)
    assert exemplars[0]["exemplars"] == [
        {"labels": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"}, "value": "0.25", "timestamp": 1700000000.123}
    ]


async def test_there_are_no_rules_and_no_alerts_and_the_build_says_what_it_speaks(asked: httpx2.AsyncClient) -> None:
    assert (await asked.get(V1 + "/rules")).json() == {"status": "success", "data": {"groups": []}}
    assert (await asked.get(V1 + "/alerts")).json() == {"status": "success", "data": {"alerts": []}}
    assert (await asked.get(V1 + "/status/buildinfo")).json()["data"]["version"] == "2.42.0"


async def test_an_expression_is_laid_out(asked: httpx2.AsyncClient) -> None:
    assert await data(asked, "/format_query", query="sum(rate(up[5m]))by(job)") == "sum by (job) (rate(up[5m]))"


async def test_a_limit_cuts_and_says_so(asked: httpx2.AsyncClient) -> None:
    for path, form in (("/query", {"query": "up"}), ("/labels", {}), ("/series", {"match[]": "up"})):
        said = (await asked.get(V1 + path, params={**form, "limit": 1})).json()
        found = said["data"]["result"] if path == "/query" else said["data"]
        assert (len(found), said["warnings"]) == (1, ["results truncated due to limit"])


async def test_the_lookback_can_be_shorter(asked: httpx2.AsyncClient) -> None:
    late = {"query": "up", "time": START + 660}
    assert len((await data(asked, "/query", **late))["result"]) == 2
    assert (await data(asked, "/query", **late, lookback_delta="30s"))["result"] == []


@pytest.mark.parametrize(
    ("path", "form", "words"),
    [
        ("/query", {"query": "sum("}, 'invalid parameter "query": 1:4: parse error: unclosed left parenthesis'),
        ("/query", {}, "no expression"),
        ("/query", {"query": "1", "time": "yesterday"}, 'invalid parameter "time": cannot parse "yesterday"'),
        ("/query", {"query": "1", "time": "2023-13-40T00:00:00Z"}, "valid timestamp"),
        ("/query", {"query": "1", "timeout": "soon"}, 'invalid parameter "timeout"'),
        ("/query", {"query": "1", "limit": "-1"}, 'invalid parameter "limit"'),
        ("/query", {"query": "1", "lookback_delta": "0"}, "must be positive"),
        ("/query_range", {"query": "1", "start": "0", "end": "1"}, 'invalid parameter "step"'),
        ("/query_range", {"query": "1", "start": "0", "end": "1", "step": "0"}, "zero or negative"),
        ("/query_range", {"query": "1", "start": "1", "end": "0", "step": "1"}, "must not be before"),
        ("/query_range", {"query": "1", "start": "0", "end": "11001", "step": "1"}, "11,000 points"),
        ("/query_range", {"query": "up[1m]", "start": "0", "end": "1", "step": "1"}, '"range vector" for range query'),
        ("/query_range", {"query": "'a'", "start": "0", "end": "1", "step": "1"}, '"string" for range query'),
        ("/series", {}, "no match[]"),
        ("/series", {"match[]": "rate(up[1m])"}, "expected a series selector"),
        ("/series", {"match[]": "up offset 5m"}, "without modifiers"),
        ("/labels", {"start": "5", "end": "1"}, "must not be before"),
        ("/label/a-b/values", {}, "invalid label name"),
    ],
)
async def test_what_cannot_be_read_is_bad_data(
    asked: httpx2.AsyncClient, path: str, form: dict[str, str], words: str
) -> None:
    status, kind, said = await refused(asked, path, **form)
    assert (status, kind) == (400, "bad_data")
    assert words in said


async def test_the_times_of_promtool_that_mean_always_are_read(asked: httpx2.AsyncClient) -> None:
    always = {"start": "-292273086-05-16T16:47:06Z", "end": "292277025-08-18T07:12:54.999999999Z"}
    assert len(await data(asked, "/series", **{"match[]": "up"}, **always)) == 2


async def test_what_has_no_answer_over_these_samples_is_an_execution_error(asked: httpx2.AsyncClient) -> None:
    status, kind, said = await refused(asked, "/query", query="up * on () up")
    assert (status, kind) == (422, "execution")
    assert "many-to-many matching not allowed" in said


async def test_a_query_that_takes_too_long_is_a_timeout(asked: httpx2.AsyncClient) -> None:
    assert (await refused(asked, "/query", query="up", timeout="0"))[:2] == (503, "timeout")


class Silent(Memory):
    """Does not answer, until it is told to."""

    def __init__(self) -> None:
        super().__init__(STORED)
        self.open = asyncio.Event()
        self.waiting = 0
        self.full = asyncio.Event()

    async def select(self, matchers: Any, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        self.waiting += 1
        if self.waiting == AT_A_TIME:
            self.full.set()
        await self.open.wait()
        return await super().select(matchers, start_ms, end_ms)


async def test_a_storage_that_does_not_answer_is_a_timeout_and_the_turn_is_given_back() -> None:
    silent = Silent()
    async with client(silent, FakeClock(wall=START + 600)) as asked:
        for _ in range(AT_A_TIME + 1):
            status, kind, said = await refused(asked, "/query", query="up", timeout="0.01")
            assert (status, kind) == (503, "timeout")
            assert "preparation" in said
        silent.open.set()
        assert len((await data(asked, "/query", query="up"))["result"]) == 2


async def test_more_queries_than_there_are_turns_wait_and_then_time_out() -> None:
    silent = Silent()
    async with client(silent, FakeClock(wall=START + 600)) as asked, owned("queries") as tasks:
        for number in range(AT_A_TIME):
            tasks.start(f"query-{number}", data(asked, "/query", query="up"))
        await silent.full.wait()
        assert "in the queue" in (await refused(asked, "/query", query="up", timeout="0.01"))[2]
        silent.open.set()


class Broken(Memory):
    def __init__(self, error: Exception) -> None:
        super().__init__([])
        self.error = error

    async def select(self, matchers: Any, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (LimitReached("more than 50000 series match"), (422, "execution", "more than 50000 series match")),
        (Overloaded("the engine is away"), (503, "unavailable", "the engine is away")),
        (RuntimeError("secret"), (500, "internal", "telemetry failed at this request")),
    ],
)
async def test_errors_of_the_storage_have_their_kinds_and_surprises_tell_nothing(
    error: Exception, said: tuple[int, str, str]
) -> None:
    async with client(Broken(error), FakeClock()) as asked:
        assert await refused(asked, "/query", query="up") == said


class Vast(Memory):
    """More samples than a query may read."""

    async def select(self, matchers: Any, start_ms: int, end_ms: int) -> list[SeriesSamples]:
        one = (await super().select(matchers, start_ms, end_ms))[0]
        return [one] * 200_000


async def test_a_query_that_would_read_too_much_is_refused() -> None:
    async with client(Vast(STORED), FakeClock(wall=START + 600)) as asked:
        status, kind, said = await refused(asked, "/query", query="rate(up[10m])")
    assert (status, kind) == (422, "execution")
    assert "too many samples" in said


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"{}", "application/json", 400),
        (b"query=%ff", FORM, 400),
        (b"query=\xff", FORM, 400),
        (b"query=" + b"1" * 300_000, FORM, 400),
        (b"&".join(b"a=1" for _ in range(2000)), FORM, 400),
        (b"query=1", f"{FORM}; charset=utf-8", 200),
    ],
)
async def test_a_body_that_is_no_form_is_bad_data(
    asked: httpx2.AsyncClient, body: bytes, media: str, status: int
) -> None:
    answer = await asked.post(V1 + "/query", content=body, headers={"content-type": media})
    assert answer.status_code == status


async def test_hostile_matchers_are_values_and_reach_the_storage_as_they_are() -> None:
    seen: list[Matcher] = []

    class Watching(Memory):
        async def select(self, matchers: Any, start_ms: int, end_ms: int) -> list[SeriesSamples]:
            seen.extend(matchers)
            return []

    source: Source = Watching([])
    hostile = "'; DROP TABLE samples; -- \\ {x:String} %[ ${ \x00 \x1b[31m \u202e"
    async with client(source, FakeClock()) as asked:
        quoted = hostile.replace("\\", "\\\\")
        answer = await asked.get(V1 + "/query", params={"query": f'up{{a="{quoted}"}}'})
    assert answer.json()["data"]["result"] == []
    assert seen[1].value == hostile
