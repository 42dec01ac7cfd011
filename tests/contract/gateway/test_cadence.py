"""An instance that stands still right after it passed a check: HAProxy takes it out before `fall` intervals are over.

Judged by what HAProxy does itself: a request that is sent at that moment, whose own time-out is a little longer than the promise,
comes back after the instance was taken out. Both are timers of the same process, so a busy machine delays them alike.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from atoll.model.cadence import cadence
from atoll.model.names import PathText, RouteName, ServiceName
from atoll.model.policy import Policy
from atoll.model.route import Match, Route, Share
from atoll.model.service import Check, CheckKind
from tests.contract.gateway.rig import Echo, Running, instance, running, service, snapshot_of

SPARE = 0.4
"""Seconds that the request which measures is given on top: what two threads of this test need to send it, and one timer's lateness."""
CHECKS = {
    "usual": Check(kind=CheckKind.HTTP, path="/health"),
    "twice": Check(kind=CheckKind.HTTP, path="/health", fall=2),
    "once": Check(kind=CheckKind.HTTP, path="/health", fall=1),
}
PASSES = 2
"""Checks that pass before it stops: HAProxy believes a server of which it knows nothing to be one failure from being down."""


class Stopping(Echo):
    """Passes its first checks, then answers nothing any more; says when the last one passed."""

    def __init__(self, name: str) -> None:
        self.asked: list[float] = []
        self.stopped = threading.Event()
        self.over = threading.Event()
        super().__init__(name)

    def respond(self, handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        if asked["path"] != "/health":
            self.over.wait(20)
            return
        self.asked.append(time.monotonic())
        if len(self.asked) > PASSES:
            self.over.wait(20)
            return
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()
        handler.wfile.flush()
        if len(self.asked) == PASSES:
            self.stopped.set()


def stat(haproxy: Running, backend: str) -> dict[str, str]:
    return next(values for (name, _), values in haproxy.servers().items() if name == backend)


def test_an_instance_that_stands_still_is_out_before_fall_intervals_are_over(tmp_path: Path) -> None:
    with ExitStack() as stack:
        silent = {name: stack.enter_context(Stopping(name)) for name in CHECKS}
        bound = {name: check.fall * check.interval for name, check in CHECKS.items()}
        facts = snapshot_of(
            [service(name, check=check) for name, check in CHECKS.items()]
            + [service(f"ruler-{name}", policy=Policy(timeout=seconds + SPARE)) for name, seconds in bound.items()],
            [instance(name, silent[name].port) for name in CHECKS]
            + [instance(f"ruler-{name}", silent[name].port) for name in CHECKS],
            [
                Route(
                    name=RouteName(f"ruler-{name}"),
                    match=Match(path=PathText(f"/{name}")),
                    shares=(Share(service=ServiceName(f"ruler-{name}")),),
                )
                for name in CHECKS
            ],
        )
        haproxy = stack.enter_context(running(facts, tmp_path))
        pool = stack.enter_context(ThreadPoolExecutor(len(CHECKS)))
        for each in silent.values():
            stack.callback(each.over.set)

        def judged(name: str) -> tuple[int, dict[str, str]]:
            assert silent[name].stopped.wait(10)
            answer = haproxy.ask(f"/{name}")
            return answer.status, stat(haproxy, name)

        found: dict[str, Future[tuple[int, dict[str, str]]]] = {name: pool.submit(judged, name) for name in CHECKS}
        for name, check in CHECKS.items():
            status, row = found[name].result(20)
            pace = cadence(check)
            assert status == 504
            assert (row["status"], row["check_status"]) == ("DOWN", "L7TOUT"), (
                f"{name} was still in after {bound[name]} s"
            )
            # it took all its failures, and each was waited for as long as it should have been, which HAProxy counts itself
            assert int(row["chkfail"]) == check.fall
            assert int(row["check_duration"]) >= 1000 * pace.patience - 1
            failed = silent[name].asked[PASSES : PASSES + check.fall]
            assert len(failed) == check.fall
            # each counted from the one that passed, which was noted before it was answered: whoever is noted late proves nothing
            passed = silent[name].asked[PASSES - 1]
            assert failed[0] - passed >= 0.95 * pace.every - 0.05, "asked sooner than the interval says"
            for number, one in enumerate(failed):
                assert one - passed >= 0.95 * pace.every + number * (pace.patience + 0.95 * pace.again) - 0.05
