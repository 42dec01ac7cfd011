"""Logs as a user has them: a service that logs, prints and fails; `atoll logs` over files, store and live tail."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.platform.stage import ATOLL, Platform, ask, closing, free_port, until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(importlib.util.find_spec("chdb") is None, reason='needs pip install "atoll[telemetry]"'),
]
PROJECT = """
name: talk
services:
  talker: {command: python talker.py, healthcheck: {tcp: true}}
gateway:
  routes: [{match: {path_prefix: /}, service: talker}]
"""


@pytest.fixture(scope="module")
def talk() -> Iterator[Platform]:
    environ = {
        "ATOLL_TELEMETRY_ENABLED": "1",
        "ATOLL_TELEMETRY_HTTP_PORT": str(free_port()),
        "ATOLL_TELEMETRY_GRPC_PORT": str(free_port()),
    }
    with closing(Platform.of(PROJECT, **environ)) as platform:
        shutil.copy(Path(__file__).with_name("talker.py"), platform.folder)
        platform.up()
        until(lambda: platform.api("GET", "/telemetry/status").status == 200, "telemetry answers", within=40)
        yield platform


def call(platform: Platform, path: str) -> int:
    """One request through the gateway; its status."""
    return ask(platform.gateway_port, path).status


def logs(platform: Platform, *words: str) -> list[dict[str, Any]]:
    done = platform("logs", "--json", *words)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def said(platform: Platform, word: str) -> list[dict[str, Any]]:
    return [one for one in logs(platform, "-n", "1000") if one["text"] == f"said {word}"]


def sent(platform: Platform, path: str, word: str, count: int) -> list[dict[str, Any]]:
    """What is shown of a new word once `count` records of it were sent. A line and its record are one when they are less
    than a second apart: a word during which the machine stood still longer than that says nothing.
    """
    for number in range(20):
        call(platform, f"{path}-{number}")

        def shown(number: int = number) -> list[dict[str, Any]]:
            found = said(platform, f"{word}-{number}")
            return found if sum(one["source"] == "otlp" for one in found) >= count else []

        found = until(shown, "the record was sent", within=40)
        times = [one["time"] for one in found]
        if len(found) == count or max(times) - min(times) < 1:
            return found
    raise AssertionError("it stood still twenty times")


def test_a_record_that_is_sent_and_printed_is_shown_once_with_its_trace(talk: Platform) -> None:
    (one,) = sent(talk, "/both", "both", 1)
    assert (len(one["trace"]), one["level"], one["instance"]) == (32, "INFO", "talker-1")
    assert len(said(talk, one["text"].removeprefix("said "))) == 1
    assert [found["text"] for found in logs(talk, "--trace", one["trace"]) if found["scope"] == "talker"] == [
        one["text"]
    ]
    assert [found["source"] for found in sent(talk, "/twice-x", "twice-x", 2)] == ["otlp", "otlp"]


def test_a_failure_is_one_record_with_its_traceback(talk: Platform) -> None:
    call(talk, "/fail")
    until(lambda: logs(talk, "--level", "error", "--grep", "KeyError"), "the failure is stored as it was sent")
    done = talk("logs", "--level", "error")
    assert "| ERROR this went wrong" in done.out
    assert "KeyError: 'missing'" in done.out
    failed = logs(talk, "--level", "error", "--grep", "this went wrong|KeyError")  # others may have failed before
    for record in [one for one in failed if one["source"] == "otlp"]:
        assert record["text"].splitlines()[0] == "this went wrong"
        assert record["text"].splitlines()[-1] == "KeyError: 'missing'"


def test_a_line_of_json_has_the_keepers_time_and_the_trace_of_its_request(talk: Platform) -> None:
    before = time.time()
    call(talk, "/print")
    (one,) = until(
        lambda: [found for found in logs(talk, "--grep", "printed as json") if found["trace"]], "its trace was sent"
    )
    assert (one["text"], one["level"], one["attributes"]["log.time"]) == (
        "printed as json",
        "WARN",
        "2031-01-01T00:00:00Z",
    )
    assert before - 1 < one["time"] < time.time() + 1


def live(talk: Platform) -> list[float]:
    """Seconds from each of five requests until a live tail shows what it said; sorted."""
    follow = subprocess.Popen(
        [*ATOLL, "logs", "-f", "-n", "0"], cwd=talk.folder, env=talk.environ, stdout=subprocess.PIPE, text=True
    )
    assert follow.stdout is not None
    shown: list[str] = []
    reader = threading.Thread(target=lambda stream=follow.stdout: shown.extend(stream))
    reader.start()
    try:
        until(lambda: call(talk, "/begins") and shown, "it knows where the end is, and goes on from there", every=0.2)
        took = []
        for number in range(5):
            began = time.monotonic()
            call(talk, f"/live-{number}")
            until(lambda number=number: any(f"said live-{number}" in line for line in shown), "the line")  # type: ignore[misc]
            took.append(time.monotonic() - began)
    finally:
        follow.send_signal(signal.SIGINT)
        follow.wait(10)
        reader.join()
        follow.stdout.close()
    print("seconds to the terminal:", [round(one, 2) for one in took])
    return sorted(took)


def test_a_live_tail_shows_every_line(talk: Platform) -> None:
    assert len(live(talk)) == 5


@pytest.mark.slow
def test_a_live_tail_shows_a_line_within_a_second_or_little_more(talk: Platform) -> None:
    assert live(talk)[2] < 1.5


def test_killed_while_lines_come_it_goes_on_where_it_was_and_files_are_read_meanwhile(talk: Platform) -> None:
    for number in range(2):
        for line in range(20):
            call(talk, f"/k-{number}-{line}")
        pid = talk.api("GET", "/telemetry/status").json["pid"]
        os.kill(pid, signal.SIGKILL)
        call(talk, f"/k-{number}-20")
        done = talk("logs", "--grep", f"k-{number}-20$")
        assert f"said k-{number}-20" in done.out
        until(lambda: talk.api("GET", "/telemetry/status").status == 200, "telemetry is back", within=40)
    wanted = {f"said k-{number}-{line}" for number in range(2) for line in range(21)}
    until(lambda: wanted <= {one["text"] for one in logs(talk, "-n", "2000")}, "every line is there", within=30)
    counts: dict[str, int] = {}
    for one in logs(talk, "-n", "2000"):
        if one["text"] in wanted:
            counts[one["text"]] = counts.get(one["text"], 0) + 1
    again = sum(count - 1 for count in counts.values())
    assert again <= 2 * 20, "a kill brings at most one round again"


def test_a_restart_begins_another_run_and_new_patterns_are_told(talk: Platform) -> None:
    call(talk, "/old")
    until(lambda: said(talk, "old"), "it is stored")
    assert talk("restart", "talker").code == 0
    until(lambda: call(talk, "/fail") == 200, "it answers again")
    call(talk, "/quite/new")
    until(lambda: len({one["run"] for one in logs(talk, "-n", "3000") if one["run"]}) >= 2, "two runs are known")
    done = talk("logs", "--patterns", "--json")
    assert done.code == 0, done.err
    assert any(one["pattern"].startswith("said") for one in done.json["patterns"])
    assert talk("logs", "--platform", "-n", "5").code == 0
