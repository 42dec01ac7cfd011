"""What is laid beside an app never gets in its way: its packages win, its output stays, our faults are ours."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.supervisor.bundle import Bundle
from tests.system.instrument.receiver import Receiver
from tests.system.instrument.stage import APPS, Start, environment, free_port


def run(python: str, given: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, *words], env=given, cwd=APPS, capture_output=True, text=True, timeout=20, check=False
    )


@pytest.fixture
def pinned(tmp_path: Path) -> dict[str, str]:
    """Packages of the app's own, of versions that OpenTelemetry would not have chosen; and a beginning of its own."""
    for name in ("requests", "wrapt", "protobuf"):
        (tmp_path / f"{name}.py").write_text("__version__ = '0.1'\n")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.began = 'yes'\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_the_apps_own_packages_and_beginnings_win(bundle: Bundle, clean: str, pinned: dict[str, str]) -> None:
    given = environment("http://127.0.0.1:1", bundle, 1, extra=pinned)
    done = run(clean, given, "own.py")
    assert json.loads(done.stdout) == {"requests": "0.1", "wrapt": "0.1", "began": "yes"}, done.stderr
    assert done.returncode == 0
    assert all(line.startswith("atoll: requests is not instrumented") for line in done.stderr.splitlines())


def test_an_old_wrapt_costs_the_spans_not_the_app(bundle: Bundle, clean: str, pinned: dict[str, str]) -> None:
    given = environment("http://127.0.0.1:1", bundle, 1, extra=pinned)
    done = run(clean, given, "-c", "import urllib.request, logging; logging.warning('still here'); print('ran')")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    ours = [line for line in done.stderr.splitlines() if line.startswith("atoll:")]
    assert len(ours) <= 1
    assert "WARNING:root:still here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("harm", ["gone", "half", "hostile"])
def test_a_bundle_that_is_broken_is_noted_once_and_the_app_runs(
    bundle: Bundle, clean: str, tmp_path: Path, harm: str
) -> None:
    copy = Bundle(tmp_path / "bundle")
    shutil.copytree(bundle.folder, copy.folder)
    if harm == "gone":
        shutil.rmtree(copy.lib)
    elif harm == "half":
        shutil.rmtree(copy.lib / "opentelemetry" / "sdk")
    else:
        (copy.lib / "atoll_beside" / "lines.py").write_text("raise ZeroDivisionError('\\x1b[31m two\\nlines')\n")
    given = environment("http://127.0.0.1:1", copy, 1)
    done = run(clean, given, "-c", "import urllib.request, http.server, flask, logging; print('ran')")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert len(done.stderr.splitlines()) == (0 if harm == "gone" else 1), done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("flags", [("-I",), ("-S",), ("-E",), ("-X", "utf8"), ("-u",), ("-O",)])
def test_pythons_own_flags_do_what_they_did(bundle: Bundle, clean: str, flags: tuple[str, ...]) -> None:
    given = environment("http://127.0.0.1:1", bundle, 1)
    done = run(clean, given, *flags, "-c", "import sys, logging; print('é', sys.stdout.encoding); sys.exit(3)")
    plain = {name: text for name, text in given.items() if name != "PYTHONPATH"}
    same = run(clean, plain, *flags, "-c", "import sys, logging; print('é', sys.stdout.encoding); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, same.stdout, same.stderr)


def test_the_standard_streams_are_what_they_were(bundle: Bundle, clean: str) -> None:
    code = (
        "import sys, io, os; o = sys.stdout; e = sys.stderr\n"
        "print(o.name, o.mode, o.encoding, o.errors, o.fileno(), o.line_buffering, isinstance(o, io.TextIOWrapper))\n"
        "print(e.errors, e.fileno(), o is sys.__stdout__, o.isatty(), o.closed)\n"
        "o.buffer.write(b'raw\\xff\\n'); o.reconfigure(errors='replace'); o.write('no end'); o.flush()\n"
        "os.write(1, b'!'); print(file=o); o.writelines(['a\\n', 'b\\n'])"
    )
    given = environment("http://127.0.0.1:1", bundle, 1)
    plain = {name: text for name, text in given.items() if name != "PYTHONPATH"}
    ours, without = (
        subprocess.run([clean, "-c", code], env=one, capture_output=True, timeout=20, check=True).stdout
        for one in (given, plain)
    )
    assert ours == without


def test_an_app_that_sets_up_opentelemetry_itself_gets_every_span(start: Start, receiver: Receiver) -> None:
    with start(sys.executable, "plain.py") as app:
        given = dict(
            pair.split("=", 1)
            for pair in Path(f"/proc/{app.process.pid}/environ").read_bytes().decode().split("\0")
            if pair
        )
        done = run(sys.executable, {**given, "OTEL_SERVICE_NAME": "own"}, "provider.py", str(app.port))
    assert json.loads(done.stdout) == ["GET", "work"], done.stderr
    assert "Overriding" not in done.stderr
    assert not [span for span in receiver.spans if span.resource["service.name"] == "own"]


class Silent:
    """Takes connections and never answers."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.socket.getsockname()[1]}"


@pytest.fixture(params=["dead", "silent", "refusing"])
def away(request: pytest.FixtureRequest, receiver: Receiver) -> Iterator[str]:
    """A telemetry process that is of no use."""
    if request.param == "dead":
        yield f"http://127.0.0.1:{free_port()}"
    elif request.param == "silent":
        silent = Silent()
        yield silent.endpoint
        silent.socket.close()
    else:
        receiver.status = 503
        yield receiver.endpoint


def test_a_telemetry_process_that_is_away_is_no_news_to_the_app(
    start: Start, bundle: Bundle, clean: str, away: str
) -> None:
    with start(clean, "plain.py") as app:
        given = environment(away, bundle, 1)
        # a call takes milliseconds, an exporter that waited for each would take minutes
        done = run(clean, given, "caller.py", str(app.port), "300")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [f"call {number}" for number in range(300)]


@pytest.mark.slow
def test_what_was_dropped_is_counted_and_told_once_somebody_listens(
    start: Start, clean: str, receiver: Receiver
) -> None:
    with start(clean, "-m", "gunicorn", "--bind", "127.0.0.1:{port}", "raw:wsgi") as app:
        receiver.status = 503
        stop = threading.Event()
        while not stop.is_set() and receiver.posts < 2:
            app.ask(20)
        for _ in range(9):
            app.ask(1000)
        receiver.status = 200

        def told() -> list[int]:
            return [line.attributes["atoll.dropped"] for line in receiver.lines if "atoll.dropped" in line.attributes]

        receiver.wait(told, 12.0)
        assert sum(told()) > 0
        assert len(receiver.servers()) <= 8192 + 512
    assert not [line for line in app.err if "Traceback" in line]


def test_a_library_whose_calls_have_no_spans_is_told_of_once(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "asyncpg.py").write_text("")
    (tmp_path / "pika.py").write_text("")
    (tmp_path / "app.py").write_text("import asyncpg, asyncpg, pika\n" + (APPS / "plain.py").read_text())
    with start(sys.executable, str(tmp_path / "app.py")) as app:
        app.ask(2)

        def told() -> list[str]:
            return sorted(line.attributes["atoll.unseen"] for line in receiver.lines if line.scope == "atoll")

        receiver.wait(lambda: len(told()) >= 2)
    assert told() == ["asyncpg", "pika"]
