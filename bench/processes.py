"""What a process tree costs, as the kernel accounts it: CPU seconds and resident memory."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from dataclasses import dataclass

import psutil


@dataclass
class Cost:
    cpu: float
    rss: int


def cost(pid: int) -> Cost:
    """CPU seconds (user and system, of the process and its live descendants) and bytes resident now."""
    top = psutil.Process(pid)
    tree = [top, *top.children(recursive=True)]
    cpu = sum(sum(process.cpu_times()[:2]) for process in tree)
    return Cost(cpu, sum(process.memory_info().rss for process in tree))


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free, as far as one can know."""
    while True:
        first = free_port()
        try:
            with contextlib.ExitStack() as held:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {port}")


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
