"""The same questions over the same samples out of the engine, and the control of the API with Prometheus' own client."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.routing import Router

from atoll.kit.clock import SystemClock
from atoll.telemetry.engine import Limits
from atoll.telemetry.metrics.rows import About, NewSeries, Rows
from atoll.telemetry.metrics.series import NAME, SeriesSamples
from atoll.telemetry.metrics.source import Source as Metrics
from atoll.telemetry.pool import EnginePool
from atoll.telemetry.promql.api import make_routes
from atoll.telemetry.promql.source import Source
from tests.contract.telemetry.promql.asking import answered, client
from tests.contract.telemetry.promql.compare import difference
from tests.contract.telemetry.promql.record import recorded
from tests.contract.telemetry.promql.samples import BEGIN, END, all_samples
from tests.contract.telemetry.promql.test_prometheus_says_the_same import KNOWN


async def store(pool: EnginePool, stored: list[SeriesSamples]) -> None:
    rows = Rows()
    for number, one in enumerate(stored, 1):
        labels = dict(one.labels)
        name = labels.pop(NAME)
        kind = "histogram" if one.histograms is not None else "gauge"
        rows.series.append(NewSeries(name, number, labels, About(name, kind, help=f"about {name}"), END))
        for at, (moment, value) in enumerate(zip(one.timestamps.tolist(), one.values.tolist(), strict=True)):
            histogram = None if one.histograms is None else one.histograms[at]
            if histogram is None:
                rows.sample(name, number, moment, value)
            else:
                rows.histogram(name, number, moment, histogram)
    for insert in rows.inserts():
        await pool.insert(insert)


@pytest.fixture
async def source(pool: EnginePool) -> Source:
    await store(pool, all_samples())
    return Metrics(pool, limits=Limits(rows=5_000_000))


async def test_the_answers_out_of_the_engine_are_those_of_prometheus(source: Source) -> None:
    differences = []
    async with client(source, SystemClock()) as asked:
        for question, said in recorded()[::9]:
            found = difference(await answered(asked, question.path, question.form), said)
            if found and question.query not in KNOWN:
                differences.append((question, found))
    assert not differences


async def test_labels_series_and_metadata_are_told(source: Source) -> None:
    async with client(source, SystemClock()) as asked:
        spans = {"start": str(BEGIN / 1000), "end": str(END / 1000)}
        names = await answered(asked, "/api/v1/labels", {"match[]": "up", **spans})
        assert names["data"] == ["__name__", "instance", "job"]
        values = (await asked.get("/prometheus/api/v1/label/job/values", params=spans)).json()
        assert values["data"] == ["api", "rpc", "web"]
        series = await answered(asked, "/api/v1/series", {"match[]": 'up{job="api"}', **spans})
        assert [one["instance"] for one in series["data"]] == ["api-0:8080", "api-1:8080"]
        about = (await asked.get("/prometheus/api/v1/metadata", params={"metric": "up"})).json()
        assert about["data"] == {"up": [{"type": "gauge", "help": "about up", "unit": ""}]}


HOSTILE = (
    *("' OR 1=1 --", "'; DROP TABLE samples; --", "\\", "{ids:Array(UInt64)}", "%(x)s", "${jndi}", "\x00", "/* */"),
    *("' UNION SELECT 1", "\x1b[31m", "\n;\nSELECT", "🦀" * 50),
)


async def test_no_text_in_a_matcher_changes_the_statement(source: Source, pool: EnginePool) -> None:
    async def stored() -> list[dict[str, object]]:
        return await pool.rows(
            "SELECT name, create_table_query, total_rows FROM system.tables WHERE database = currentDatabase() ORDER BY name"
        )

    before = await stored()
    async with client(source, SystemClock()) as asked:
        for text in HOSTILE:
            value = json.dumps(text, ensure_ascii=False)
            for op, count in (("=", 0), ("!=", 4)):
                form = {"query": f"up{{job{op}{value}}}", "time": str(END / 1000)}
                said = await answered(asked, "/api/v1/query", form)
                assert said["status"] == "success", said
                assert len(said["data"]["result"]) == count
            said = await answered(asked, "/api/v1/query", {"query": f"up{{job=~{value}}}", "time": str(END / 1000)})
            assert said["status"] == "success" or said["errorType"] == "bad_data"
            for path in ("/api/v1/series", "/api/v1/labels"):
                said = await answered(asked, path, {"match[]": f"up{{job={value}}}"})
                assert (said["status"], said["data"]) == ("success", [])
    assert await stored() == before


async def test_a_query_that_asks_for_everything_is_answered_or_refused_in_time(source: Source) -> None:
    bombs = (
        '{__name__=~".+"} * on () group_left {__name__=~".+"}',
        'sum by (a) (rate({__name__=~".+"}[30d]))',
        'max_over_time(rate({__name__=~".*e.*"}[30d:1s])[30d:1s])',
        'count_values("v", {__name__=~".+"})',
        "quantile_over_time(0.5, latency_seconds_bucket[30d])",
        'label_replace({__name__=~"(.*)(.*)(.*)(.*)e"}, "x", "$1", "le", "(.*)(.*)(.*)(.*)")',
    )
    async with client(source, SystemClock()) as asked:
        for query in bombs:
            form = {"query": query, "start": "1690000000", "end": "1701000000", "step": "1000", "timeout": "500ms"}
            async with asyncio.timeout(20):  # it would take minutes
                said = await answered(asked, "/api/v1/query_range", form)
            assert said["status"] == "success" or said["errorType"] in ("execution", "timeout"), (query, said)
        good = await answered(asked, "/api/v1/query", {"query": "sum(up)", "time": str(END / 1000)})
        assert good["data"]["result"][0]["value"][1] == "4"


@asynccontextmanager
async def listening(source: Source) -> AsyncIterator[str]:
    def ask(_: Request) -> tuple[Source, SystemClock]:
        return source, SystemClock()

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(Router(routes=list(make_routes(ask))), log_level="error", lifespan="off")
        )
        task = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/prometheus"
        finally:
            server.should_exit = True
            await task


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no `promtool` on this machine")
async def test_promtool_queries_us(source: Source) -> None:
    at = str(END / 1000)
    async with listening(source) as url:
        for arguments, expected in (
            (("instant", "--time", at, url, "sum(up)"), "{} => 4 @"),
            (
                ("range", "--start", str(BEGIN / 1000), "--end", at, "--step", "1m", url, 'up{instance="api-0:8080"}'),
                "1 @[",
            ),
            (("series", "--match", "up", "--start", str(BEGIN / 1000), "--end", at, url), 'job="web"'),
            (("labels", "--start", str(BEGIN / 1000), "--end", at, url, "job"), "rpc"),
        ):
            process = await asyncio.create_subprocess_exec(
                "promtool", "query", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
            )
            said, _ = await process.communicate()
            assert process.returncode == 0, said
            assert expected in said.decode(), arguments
