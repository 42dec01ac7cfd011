"""Start-up of the command line: `atoll --help` and `atoll version`, against the bare interpreter, interleaved.

Wall time as a person feels it; medians over rounds; one JSON line per command with its ratio to `python -c pass`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ATOLL = str(Path(sys.executable).with_name("atoll"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "python -c 'import click'": [sys.executable, "-c", "import click"],
    "import atoll": [sys.executable, "-c", "import atoll"],
    "atoll --help": [ATOLL, "--help"],
    "atoll ps --help": [ATOLL, "ps", "--help"],
}


def once(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(given.rounds + 2):
        for name, command in COMMANDS.items():
            seconds = once(command)
            if turn >= 2:  # the first two warm the file cache
                times[name].append(seconds * 1000)
    bare = times["python -c pass"]
    for name, series in times.items():
        ratio = statistics.median(mine / other for mine, other in zip(series, bare, strict=True))
        row = {
            "median_ms": round(statistics.median(series), 1),
            "max_ms": round(max(series), 1),
            "ratio": round(ratio, 2),
        }
        print(json.dumps({"bench": "cli", "command": name, **row}))
        print(f"{name:28}{row['median_ms']:8.1f} ms   {row['ratio']:.2f}x", file=sys.stderr)


if __name__ == "__main__":
    main()
