"""Our answers beside those of Debian's Prometheus 2.42 over the same samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.testing.clock import FakeClock
from tests.contract.telemetry.promql import prometheus
from tests.contract.telemetry.promql.asking import answered, client
from tests.contract.telemetry.promql.compare import difference
from tests.contract.telemetry.promql.queries import BOTH, INSTANT_ONLY, REFUSED, Question, questions
from tests.contract.telemetry.promql.record import recorded
from tests.contract.telemetry.promql.samples import all_samples
from tests.unit.telemetry.promql.source import Memory

KNOWN = {
    "temperature atan2 2": "2.42 forgets to take the metric's name away; Prometheus 3 does",
    "predict_linear(memory_bytes[10m] @ 1700001810, 60)": "2.42 loses the nailed range after its first steps",
    "histogram_quantile(0, rpc_seconds)": "2.42 divides by an empty bucket; Prometheus 3 passes over it",
}
"""Where we do not follow, and why."""
needs_prometheus = pytest.mark.skipif(
    prometheus.PROMETHEUS is None, reason="no `prometheus` on this machine (Debian: apt-get install prometheus)"
)


@pytest.fixture(scope="module")
def memory() -> Memory:
    return Memory(all_samples())


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with prometheus.running(tmp_path_factory.mktemp("prometheus")) as url:
        prometheus.write(url, all_samples())
        yield url


def test_the_comparison_is_of_more_than_200_queries() -> None:
    assert len({*BOTH, *INSTANT_ONLY, *REFUSED}) >= 300
    assert len(questions()) >= 1000


def test_the_recorded_answers_are_to_the_questions_of_today() -> None:
    assert [question for question, _ in recorded()] == questions()


async def test_at_least_99_of_100_answers_are_those_that_prometheus_gave(memory: Memory) -> None:
    differences: list[tuple[Question, str]] = []
    answers = recorded()
    async with client(memory, FakeClock()) as asked:
        for question, said in answers:
            found = difference(await answered(asked, question.path, question.form), said)
            if found:
                differences.append((question, found))
    assert {question.query for question, _ in differences} <= set(KNOWN), differences
    assert len(differences) <= len(answers) / 100


@needs_prometheus
async def test_a_prometheus_that_runs_now_gives_the_same_answers_as_we_do(memory: Memory, oracle: str) -> None:
    sample = questions()[::7]
    async with client(memory, FakeClock()) as asked:
        for question in sample:
            said = prometheus.ask(oracle, question.path, question.form)
            found = difference(await answered(asked, question.path, question.form), said)
            assert not found or question.query in KNOWN, (question, found)


@needs_prometheus
@pytest.mark.parametrize(
    "query",
    [
        "sum by (job) (rate(up[5m] offset 3m)) > bool 2",
        "a * on (x, y) group_left (z) b",
        "-(a + b) / 2",
        'topk(5, {__name__=~"a.*", b!="c"})',
        "max_over_time(rate(a[5m])[1h:30s] @ end() offset -1d2h)",
        (
            "sum(rate(http_requests_total{job='api', code=~'5..'}[5m])) by (instance) / ignoring (code) group_left () "
            "sum(rate(http_requests_total{job='api'}[5m])) by (instance)"
        ),
        "histogram_quantile(0.99, sum by (le, some_very_long_label_name, another_very_long_label_name) (rate(latency_bucket[5m])))",
        "a @ 1700000000.5 or vector(1e-9)",
        'label_replace(up, "a", "$1", "b", "(.*)\\\\d\\"\\n")',
        "count without (a) (b) unless on () c atan2 d",
        "2 ^ 3 ^ 2 % 5",
        "(((up)))",
        "x[1y2w3d4h5m6s7ms]",
        "a + on () b",
        "vector(1000000) + 123456789 + 99999.5 + 0.0001 + 0.00001 + 1e300 + Inf - NaN",
    ],
)
async def test_an_expression_is_laid_out_as_prometheus_does(memory: Memory, oracle: str, query: str) -> None:
    async with client(memory, FakeClock()) as asked:
        ours = await answered(asked, "/api/v1/format_query", {"query": query})
    assert ours == prometheus.ask(oracle, "/api/v1/format_query", {"query": query})


@needs_prometheus
@pytest.mark.parametrize("path", ["/api/v1/labels", "/api/v1/series"])
async def test_labels_and_series_are_those_of_prometheus(memory: Memory, oracle: str, path: str) -> None:
    form = {"match[]": 'up{job="api"}'}
    async with client(memory, FakeClock()) as asked:
        ours = await answered(asked, path, form)
    assert ours == prometheus.ask(oracle, path, form)


def test_a_folder_of_this_test_is_where_the_answers_are() -> None:
    assert Path(__file__).with_name("golden.json.gz").stat().st_size < 400_000
