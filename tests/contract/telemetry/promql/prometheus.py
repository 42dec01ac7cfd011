"""Debian's Prometheus as the oracle: started for a while, fed by remote write, asked over its API."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from atoll.telemetry.metrics.series import Histogram, SeriesSamples

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
BATCH = 300_000
"""Milliseconds of samples in one write: Prometheus takes them in order of time."""


@contextlib.contextmanager
def running(folder: Path, *, config: str = "") -> Iterator[str]:
    """Its URL, while it runs with an empty store in `folder`."""
    assert PROMETHEUS is not None
    (folder / "prometheus.yml").write_text(config)
    port = _free_port()
    command = [
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms,exemplar-storage",
        "--log.level=error",
    ]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            _ready(url, process)
            yield url
        finally:
            process.terminate()


def write(url: str, stored: Sequence[SeriesSamples]) -> None:
    """All samples, with marks of staleness and histograms."""
    first = min(int(one.timestamps[0]) for one in stored)
    last = max(int(one.timestamps[-1]) for one in stored)
    for start in range(first, last + 1, BATCH):
        body = b"".join(_field(1, _series(one, start, start + BATCH)) for one in stored)
        request = urllib.request.Request(
            f"{url}/api/v1/write",
            data=_snappy(body),
            headers={"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf",
                     "X-Prometheus-Remote-Write-Version": "0.1.0"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == 204


def ask(url: str, path: str, parameters: dict[str, str] | list[tuple[str, str]]) -> dict[str, Any]:
    """The JSON of an answer, a refusal too."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        body = urllib.parse.urlencode(parameters)
        connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=2) as answer:
            if answer.status == 200:
                return
        assert process.poll() is None, "Prometheus ended"
        time.sleep(0.05)
    raise AssertionError("Prometheus did not become ready")


def _series(one: SeriesSamples, start: int, end: int) -> bytes:
    body = b"".join(_field(1, _text(1, name) + _text(2, value)) for name, value in one.labels)
    for at, (moment, value) in enumerate(zip(one.timestamps.tolist(), one.values, strict=True)):
        if start <= moment < end:
            native = None if one.histograms is None else one.histograms[at]
            if native is None:
                body += _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(moment))
            else:
                body += _field(4, _native(native, moment))
    return body


def _native(one: Histogram, moment: int) -> bytes:
    body = b"\x08" + _varint(int(one.count)) + b"\x19" + struct.pack("<d", one.sum) + b"\x20" + _zigzag(one.schema)
    body += b"\x29" + struct.pack("<d", one.zero_threshold) + b"\x30" + _varint(int(one.zero_count))
    for spans, deltas, offset, counts in (
        (8, 9, one.negative_offset, one.negative),
        (11, 12, one.positive_offset, one.positive),
    ):
        if len(counts):
            body += _field(spans, b"\x08" + _zigzag(offset) + b"\x10" + _varint(len(counts)))
            before, packed = 0, b""
            for count in counts.tolist():
                packed += _zigzag(int(count) - before)
                before = int(count)
            body += _field(deltas, packed)
    return body + b"\x78" + _varint(moment)


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _zigzag(value: int) -> bytes:
    return _varint((value << 1) if value >= 0 else ((-value << 1) - 1))


def _field(number: int, body: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _snappy(data: bytes) -> bytes:
    """The block format, with literals only: valid, not smaller."""
    made = bytearray(_varint(len(data)))
    for start in range(0, len(data), 65_536):
        piece = data[start : start + 65_536]
        made += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return bytes(made)
