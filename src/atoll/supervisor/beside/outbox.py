"""Sends spans, log records and metrics to the telemetry process, from one thread that starts with the first of them.

Bounded: what does not fit is dropped and counted, and the count is sent once there is somebody to send to. A receiver
that is away, slow or refuses costs the app's own threads nothing: they only append to a queue. Works in forked children:
each has a thread and queues of its own.
"""

import atexit
import http.client
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from . import wire
from .note import note

LIMIT = 8192
"""Spans, and log records, that wait at most; some 10 MB."""
BATCH = 512
"""Items of one request; as many waiting are sent at once."""
DELAY = 0.2
"""Seconds that items are gathered: what a process that is killed takes with it."""
METRICS_EVERY = 10.0
"""Seconds between two looks at the metrics."""
TIMEOUT = 2.0
"""Seconds that the receiver may take."""
BACKOFF_MOST = 15.0
"""Seconds between two tries at most."""
LAST_WORDS = 1.0
"""Seconds that the end of the process may wait for what is still to be sent."""
SLICE = 8
"""Items turned into bytes before the app's threads get the interpreter again: some 0.3 ms."""
BODY_MOST = 2 << 20
"""Bytes of one request; a single larger item is dropped."""
PATHS = {"spans": "/v1/traces", "lines": "/v1/logs", "metrics": "/v1/metrics"}
OWN = wire.Scope("atoll")


class Target(NamedTuple):
    """Where to, and what goes with it."""

    endpoint: str
    headers: Mapping[str, str]
    resource: Mapping[str, Any]


class Outbox:
    """See the module."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.collect: Callable[[], dict[wire.Scope, list[bytes]]] | None = None
        """Gives the metrics as they are now."""
        self.dropped = 0
        self.rejected = 0
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)
        atexit.register(self.close)

    def _begin(self) -> None:
        """Also in a forked child: what its parent has gathered is the parent's to send."""
        self._pid = os.getpid()
        self._queues: dict[str, deque[Any]] = {"spans": deque(), "lines": deque()}
        self._resource = wire.resource({**self._target.resource, "process.pid": self._pid})
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()
        """Held while the thread is made."""
        self._wake = threading.Event()
        self._full = threading.Event()
        self._closing = False
        self._asked = 0
        """How often somebody asked to send at once, and how often that was done."""
        self._served = 0
        self._done = threading.Condition()
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def put_span(self, span: Any) -> None:
        """Take a span that has ended."""
        self._put("spans", span)

    def put_line(self, line: wire.Line) -> None:
        """Take a log record."""
        self._put("lines", line)

    def _put(self, kind: str, item: Any) -> None:
        if self._pid != os.getpid():  # a fork that no hook told of
            self._begin()
        queue = self._queues[kind]
        if len(queue) >= LIMIT or self._closing:
            self.dropped += 1
            return
        queue.append(item)
        if self._thread is None:
            self.start()
        if not self._wake.is_set():
            self._wake.set()
        if len(queue) >= BATCH:
            self._full.set()

    def start(self) -> None:
        """Start the thread; harmless when it runs. Without one (no threads left), things wait until there is."""
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="atoll-telemetry", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # no more threads, or the interpreter is ending
                self._thread = None

    def _run(self) -> None:
        due = time.monotonic() + METRICS_EVERY
        pid = self._pid
        while not self._closing and self._pid == pid:
            self._wake.wait(max(0.0, due - time.monotonic()) if self.collect else None)
            self._wake.clear()
            if not self._closing:
                self._full.wait(DELAY)
                self._full.clear()
            asked = self._asked
            try:
                self._send_waiting()
                if self.collect is not None and (self._closing or time.monotonic() >= due):
                    due = time.monotonic() + METRICS_EVERY
                    self._send_metrics()
            except Exception as error:
                note("telemetry of this process is not sent", error)
            with self._done:
                self._served = self._asked if self._closing else asked
                self._done.notify_all()

    def _send_waiting(self) -> None:
        for kind, encode in (("spans", _span), ("lines", _line)):
            queue = self._queues[kind]
            while queue:
                grouped: dict[wire.Scope, list[bytes]] = {}
                count = size = 0
                while queue and count < BATCH and size < BODY_MOST:
                    try:
                        scope, body = encode(queue.popleft())
                    except Exception as error:  # one odd attribute is no reason to lose the rest
                        note(f"one of the {kind} cannot be sent", error)
                        self.rejected += 1
                        continue
                    if len(body) > BODY_MOST:
                        self.rejected += 1
                        continue
                    grouped.setdefault(scope, []).append(body)
                    count, size = count + 1, size + len(body)
                    if count % SLICE == 0:
                        time.sleep(0)
                if count and self._deliver(kind, wire.export(self._resource, grouped), count):
                    self._tell_dropped()

    def _send_metrics(self) -> None:
        if self.collect is not None and (grouped := self.collect()):
            self._deliver("metrics", wire.export(self._resource, grouped), 0, tries=1)

    def _tell_dropped(self) -> None:
        """Say in the log records how much is missing, now that somebody listens again."""
        dropped, self.dropped = self.dropped, 0
        if dropped:
            text = (
                f"{dropped} spans and log records of this process were dropped: the telemetry process did not take them"
            )
            self._queues["lines"].append(
                wire.Line(
                    time.time_ns(), OWN, text, severity=13, severity_text="WARN", attributes={"atoll.dropped": dropped}
                )
            )

    def _deliver(self, kind: str, body: bytes, count: int, *, tries: int = 1 << 30) -> bool:
        """Send until it is taken or refused for good; metrics are tried once, since newer ones replace them. Whether
        somebody listened.
        """
        pause = DELAY
        while True:
            status, after = self._post(PATHS[kind], body)
            if 200 <= status < 300:
                return True
            tries -= 1
            if status and status not in {408, 429, 502, 503, 504}:
                note(f"the telemetry process refuses this process's {kind} ({status})")
                self.rejected += count
                return True
            if tries <= 0 or self._closing:
                self.dropped += count
                return False
            pause = min(max(pause * 2, after), BACKOFF_MOST)
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the end."""
        until = time.monotonic() + seconds
        while not self._closing and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _post(self, path: str, body: bytes) -> tuple[int, float]:
        """(status, seconds to wait); status 0: nobody answered."""
        fresh = self._connection is None
        try:
            connection = self._connection or self._connect()
            self._connection = connection
            place = urlsplit(self._target.endpoint).path.rstrip("/") + path
            head = {"Content-Type": "application/x-protobuf", "User-Agent": "atoll-beside", **self._target.headers}
            connection.request("POST", place, body, head)
            answer = connection.getresponse()
            answer.read(65_536)
            if answer.will_close or not answer.isclosed():
                self._disconnect()
            after = answer.headers.get("Retry-After", "")
            return answer.status, float(after) if after.isascii() and after.isdigit() else 0.0
        except (OSError, http.client.HTTPException, ValueError):
            self._disconnect()
            return self._post(path, body) if not fresh and not self._closing else (0, 0.0)  # kept open for too long

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._target.endpoint)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=TIMEOUT)
        connection.connect()
        if isinstance(connection.sock, socket.socket):
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def flush(self, seconds: float = LAST_WORDS) -> None:
        """Send what waits, now; returns when that was done, or when time is up."""
        thread = self._thread
        if self._pid != os.getpid() or thread is None or not thread.is_alive() or sys.is_finalizing():
            return
        with self._done:
            self._asked += 1
            asked = self._asked
            self._full.set()
            self._wake.set()
            self._done.wait_for(lambda: self._served >= asked, seconds)

    def close(self) -> None:
        """Send what waits, for a second at most; nothing is taken afterwards."""
        if self._pid == os.getpid() and not self._closing:
            self._closing = True
            self.flush()


def _span(one: Any) -> tuple[wire.Scope, bytes]:
    return wire.scope_of(one.instrumentation_scope), wire.span(one)


def _line(one: wire.Line) -> tuple[wire.Scope, bytes]:
    return one.scope, wire.line(one)
