"""Asks Debian's Prometheus and keeps what it said: `python -m tests.contract.telemetry.promql.record`.

The answers are compared with ours on every machine, also where there is no Prometheus.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.contract.telemetry.promql import prometheus
from tests.contract.telemetry.promql.queries import Question, questions
from tests.contract.telemetry.promql.samples import all_samples

GOLDEN = Path(__file__).with_name("golden.json.gz")


def recorded() -> list[tuple[Question, dict[str, Any]]]:
    """Questions and what Prometheus said to them."""
    with gzip.open(GOLDEN, "rt") as file:
        return [(Question(**entry["asked"]), entry["said"]) for entry in json.load(file)["answers"]]


def asked(url: str) -> list[dict[str, Any]]:
    """Every question, asked now."""
    return [
        {"asked": question.__dict__, "said": prometheus.ask(url, question.path, question.form)}
        for question in questions()
    ]


def main() -> None:
    """Write the file anew."""
    assert prometheus.PROMETHEUS is not None, "there is no Prometheus on this machine: apt-get install prometheus"
    said = subprocess.run([prometheus.PROMETHEUS, "--version"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as folder, prometheus.running(Path(folder)) as url:
        prometheus.write(url, all_samples())
        answers = asked(url)
    text = json.dumps({"by": said.stdout.splitlines()[0], "answers": answers}, separators=(",", ":"))
    GOLDEN.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
