"""Celery's pools and gevent's servers: every task and request has its span, every line of it the trace.

They need packages that this project does not: `ATOLL_TEST_WORKERS` is a Python that has celery, gevent, gunicorn and flask.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.supervisor.bundle import Bundle
from tests.system.instrument.receiver import Receiver
from tests.system.instrument.stage import APPS, LIMIT, Start, environment

CONSUMER, PRODUCER = 5, 4
TASKS = 12
ours = all(importlib.util.find_spec(name) for name in ("celery", "gevent", "gunicorn", "flask"))
PYTHON = os.environ.get("ATOLL_TEST_WORKERS") or (sys.executable if ours else "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="ATOLL_TEST_WORKERS: a Python with celery, gevent, gunicorn and flask"),
]


@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "gevent"])
def test_every_task_has_a_span_below_who_sent_it_and_its_lines_are_linked(
    bundle: Bundle, receiver: Receiver, tmp_path: Path, pool: str
) -> None:
    given = environment(receiver.endpoint, bundle, 1, extra={"TASKS_FOLDER": str(tmp_path)})
    command = [PYTHON, "-m", "celery", "-A", "tasks", "worker", "--loglevel", "WARNING", "--pool", pool, "-c", "3"]
    worker = subprocess.Popen(
        command, cwd=APPS, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        sender = {**given, "OTEL_SERVICE_NAME": "sender"}
        subprocess.run([PYTHON, "tasks.py", str(TASKS)], cwd=APPS, env=sender, check=True, timeout=LIMIT)
        receiver.wait(lambda: len([span for span in receiver.spans if span.kind == CONSUMER]) >= TASKS, LIMIT)
        receiver.wait(lambda: len([line for line in receiver.lines if line.body.endswith("printed")]) >= TASKS, LIMIT)
    finally:
        worker.send_signal(signal.SIGTERM)
        try:
            said = worker.communicate(timeout=LIMIT)[0].decode()
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
            said = worker.communicate()[0].decode()
    runs = [span for span in receiver.spans if span.kind == CONSUMER]
    sent = {span.id: span.trace for span in receiver.spans if span.kind == PRODUCER}
    assert len(runs) == len(sent) == TASKS, said
    assert {span.parent: span.trace for span in runs} == sent
    for text in ("done", "printed"):
        linked = {line.body: line.trace for line in receiver.lines if line.body.endswith(text)}
        assert sorted(linked) == sorted(f"task {number} {text}" for number in range(TASKS))
        assert sorted(linked.values()) == sorted(sent.values())


@pytest.mark.parametrize("options", [("-w", "2"), ("-w", "2", "--preload"), ("--access-logfile", "-")])
def test_flask_under_gevents_worker(start: Start, options: tuple[str, ...]) -> None:
    gunicorn = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--log-level", "warning", "-k", "gevent")
    with start(PYTHON, *gunicorn, *options, "flasky:app") as app:
        traces = app.ask(40)
        app.whole(traces)
        app.lines(traces, r"^order \d+ taken$")
        app.lines(traces, r"^order \d+ printed$")
        assert not [line for line in app.err if "atoll" in line]
