"""Every request has one server span and every line of it the trace, whatever serves it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.instrument.receiver import CLIENT, Receiver
from tests.system.instrument.stage import APPS, TOKEN, Start, uv, virtual_environment

UVICORN = ("-m", "uvicorn", "fast:app", "--port", "{port}")
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning")


def test_fastapi_has_one_server_span_a_request_and_every_line_is_linked(start: Start, clean: str) -> None:
    with start(clean, *UVICORN) as app:
        traces = app.ask(40)
        spans = app.whole(traces)
        app.lines(traces, r"^order \d+ taken$")
        app.lines(traces, r"^order \d+ printed$")
        app.lines(traces, r"GET /orders/\d+ ")
        assert app.get("/broken")[0] == 500
    assert {span.name for span in spans} == {"GET /orders/{number}"}
    assert {span.attributes["http.route"] for span in spans} == {"/orders/{number}"}
    assert {span.attributes["http.response.status_code"] for span in spans} == {200}
    resource = spans[0].resource
    assert resource["service.name"] == "app"
    assert resource["service.instance.id"] == "app-1"
    assert resource["service.namespace"] == "test"
    assert all(head["authorization"] == f"Bearer {TOKEN}" for head in app.receiver.headers)
    assert not any("healthz" in str(span) for span in app.receiver.spans)
    assert not any("healthy" in line.body or "healthz" in line.body for line in app.receiver.lines)
    broken = next(span for span in app.receiver.servers() if "broken" in span.name)
    assert broken.status == 2
    assert any("out of paper" in str(line) and line.trace == broken.trace for line in app.receiver.lines)


def test_what_the_app_prints_looks_as_it_does_without_us(start: Start, clean: str) -> None:
    with start(clean, *UVICORN) as app:
        traces = app.ask(3)
        app.whole(traces)
        taken = app.lines(traces, r"^order \d+ taken$")
    assert sorted(line for line in app.out if line.startswith("order")) == [f"order {n} printed\n" for n in range(3)]
    assert sorted(line for line in app.err if "taken" in line) == [f"INFO:shop:order {n} taken\n" for n in range(3)]
    assert not [line for line in app.err if "atoll" in line]
    assert sorted(line.attributes["log.record.original"] for line in taken) == [
        f"INFO:shop:order {n} taken" for n in range(3)
    ]
    assert sorted(line.attributes["order"] for line in taken) == [0, 1, 2]
    assert {line.severity for line in taken} == {9}


@pytest.mark.parametrize(
    "command",
    [
        (*UVICORN, "--workers", "3", "--log-level", "warning"),
        (*UVICORN, "--reload", "--log-level", "warning"),
        (*GUNICORN, "-k", "uvicorn.workers.UvicornWorker", "-w", "2", "fast:app"),
        pytest.param((*GUNICORN, "-k", "asgi", "-w", "2", "fast:app"), marks=pytest.mark.slow),
    ],
    ids=["workers", "reload", "gunicorn-uvicorn", "gunicorn-asgi"],
)
def test_fastapi_in_other_processes_than_the_first(start: Start, clean: str, command: tuple[str, ...]) -> None:
    with start(clean, "-W", "ignore", *command) as app:
        traces = app.ask(40)
        app.whole(traces)
        app.lines(traces, r"^order \d+ taken$")


@pytest.mark.parametrize(
    "options",
    [
        ("-w", "2"),
        ("-k", "gthread", "--threads", "4", "--access-logfile", "-"),
        pytest.param(("-w", "2", "--preload"), marks=pytest.mark.slow),
    ],
    ids=["sync", "gthread", "preload"],
)
def test_flask_under_gunicorn(start: Start, clean: str, options: tuple[str, ...]) -> None:
    with start(clean, *GUNICORN, *options, "flasky:app") as app:
        traces = app.ask(40)
        spans = app.whole(traces)
        app.lines(traces, r"^order \d+ taken$")
        app.lines(traces, r"^order \d+ printed$")  # after Flask's own part of the request
        if "--access-logfile" in options:
            app.lines(traces, r"GET /orders/\d+ ")
    assert {span.attributes["http.route"] for span in spans} == {"/orders/<int:number>"}


def test_flasks_own_server(start: Start, clean: str) -> None:
    with start(clean, "flasky.py") as app:
        traces = app.ask(10)
        app.whole(traces)
        app.lines(traces, r"^order \d+ printed$")
        app.lines(traces, r"GET /orders/\d+ ")


@pytest.mark.parametrize(
    "command",
    [("-m", "uvicorn", "raw:asgi", "--port", "{port}", "--log-level", "warning"), (*GUNICORN, "raw:wsgi")],
    ids=["asgi", "wsgi"],
)
def test_an_app_of_no_framework_has_spans_too(start: Start, clean: str, command: tuple[str, ...]) -> None:
    with start(clean, *command) as app:
        traces = app.ask(10)
        spans = app.whole(traces)
        app.lines(traces, r"^asked for /orders/\d+$")
    assert {span.attributes["http.response.status_code"] for span in spans} == {200}


def test_pythons_own_server_and_its_calls_are_one_tree(start: Start, clean: str) -> None:
    with start(clean, "plain.py") as app:
        traces = app.ask(10)

        def there() -> bool:
            return len([span for span in app.receiver.spans if span.trace in traces]) >= 30

        app.receiver.wait(there)
        app.lines(traces, r"^order .* printed$")
    for trace in traces:
        spans = [span for span in app.receiver.spans if span.trace == trace]
        outer = next(span for span in spans if span.parent == f"{0xDEF:016x}")
        call = next(span for span in spans if span.kind == CLIENT)
        inner = next(span for span in spans if span.parent == call.id)
        assert (len(spans), call.parent, inner.attributes["url.path"]) == (3, outer.id, "/inner")


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_other_versions_of_python(start: Start, tmp_path: Path, version: str) -> None:
    found = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python3"))
    if there := shutil.which(f"python{version}"):
        found.append(Path(there))
    if not found or found[0].resolve() == Path(sys.executable).resolve():
        pytest.skip(f"no Python {version} here")
    python = str(virtual_environment(tmp_path / "venv", ("flask", "gunicorn"), str(found[0])))
    with start(python, *GUNICORN, "flasky:app") as app:
        traces = app.ask(10)
        app.whole(traces)
        app.lines(traces, r"^order \d+ taken$")
        assert not [line for line in app.err if "atoll" in line]


def test_under_uv_run(start: Start, clean: str) -> None:
    program = uv()
    if program is None:
        pytest.skip("no uv here")
    with start(program, "run", "--no-project", "--offline", "--python", clean, "python", *UVICORN) as app:
        app.whole(app.ask(5))


def test_forked_children_send_what_is_theirs(start: Start, clean: str, receiver: Receiver) -> None:
    with start(clean, "plain.py") as app:
        given = Path(f"/proc/{app.process.pid}/environ").read_bytes().decode().split("\0")
        environ = dict(pair.split("=", 1) for pair in given if pair)
        environ["OTEL_SERVICE_NAME"] = "forking"
        subprocess.run([clean, APPS / "forking.py", str(app.port)], env=environ, check=True, timeout=10)
        mine = [span for span in receiver.spans if span.resource["service.name"] == "forking"]
        receiver.wait(lambda: len(receiver.lines) >= 6)
    mine = [span for span in receiver.spans if span.resource["service.name"] == "forking"]
    assert len(mine) == 7
    assert len({span.resource["process.pid"] for span in mine}) == 7
    assert sorted(line.body for line in receiver.lines if line.scope == "work") == [f"task {n}" for n in range(6)]
