"""Each fault does what it says to a real process, and heals; where the machine cannot do it, the reason is named."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
import time
from pathlib import Path

import pytest

from tests.fault.checks.schedule import until
from tests.fault.faults import limits, network, ports, wall_clock
from tests.fault.faults.corruption import cut, flip, frame_edges, garble
from tests.fault.faults.full_disk import Ballast, small_disk
from tests.fault.faults.process import descriptors, innermost, kill, memory, paused, running
from tests.fault.faults.strace import Syscall, failing, read_trace, slow, traced

COUNTER = "import itertools, sys\nfor n in itertools.count():\n    print(n, flush=True)\n    sys.stdin.readline()\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_what_was_started_is_killed_with_its_children_at_the_end_of_the_block() -> None:
    child = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True); input()"
    async with running(python(child)) as process:
        grandchild = int(await said(process))
    assert process.returncode == -9
    await until(lambda: not alive(grandchild), "the grandchild's end")


def seen_here(path: Path) -> bool:
    return path.exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_paused_process_says_nothing_and_then_goes_on_where_it_was() -> None:
    async with running(python(COUNTER)) as process:
        assert process.stdin is not None
        assert await said(process) == "0"
        with paused(process.pid):
            process.stdin.write(b"\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(said(process), 0.1)
        assert await said(process) == "1"
        assert descriptors(process.pid) >= 3
        assert memory(process.pid) > 1_000_000
        kill(process.pid)
        assert await process.wait() == -9


async def test_strace_makes_the_nth_sync_fail_and_its_trace_tells_the_order(tmp_path: Path) -> None:
    script = (
        "import os\nf = os.open('data', os.O_CREAT | os.O_RDWR)\n"
        "for n in range(4):\n"
        "    os.pwrite(f, b'word %d' % n, 0)\n"
        "    try: os.fdatasync(f); print('ok')\n"
        "    except OSError as e: print(e.errno)\n"
    )
    words = failing("fdatasync,pwrite64", "EIO", first=3, last=3, path=tmp_path / "data", log=tmp_path / "trace")
    async with running([*words, sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r})\n{script}"]) as process:
        printed = [await said(process) for _ in range(3)]
        await process.wait()
    assert printed[:2] == ["ok", "ok"]
    calls = read_trace(tmp_path / "trace")
    assert [call.name for call in calls if call.path == str(tmp_path / "data")][:4] == ["pwrite64", "fdatasync"] * 2
    assert any("INJECTED" in call.result and not call.went_well for call in calls)


async def test_strace_slows_a_call_and_finds_the_program_inside(tmp_path: Path) -> None:
    words = slow("fdatasync", 1, log=tmp_path / "trace")
    async with running([*words, *python(COUNTER)]) as process:
        assert await said(process) == "0"
        inside = innermost(process.pid)
        assert inside != process.pid
        assert alive(inside)


async def test_a_trace_holds_the_bytes_that_were_written(tmp_path: Path) -> None:
    words = traced("write", log=tmp_path / "trace")
    async with running([*words, *python("import os; os.write(1, b'hello \"there\"\\n')")]) as process:
        await process.wait()
    (call,) = [call for call in read_trace(tmp_path / "trace") if "hello" in call.arguments]
    assert call.arguments.startswith("1<")
    assert '\\"there\\"' in call.arguments


def test_calls_that_were_interrupted_by_other_threads_are_put_together(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(
        "7 fdatasync(5</s/state.db-wal> <unfinished ...>\n"
        '8 write(1<pipe:[1]>, "x", 1) = 1\n'
        "7 <... fdatasync resumed>) = 0\n"
        "8 fsync(3</s>) = -1 EIO (Input/output error) (INJECTED)\n"
        "9 fdatasync(5</s/a> <unfinished ...>\n"
        "8 +++ killed by SIGKILL +++\n"
    )
    assert read_trace(tmp_path / "trace") == [
        Syscall(8, "write", '1<pipe:[1]>, "x", 1', "1", 1, 1),
        Syscall(7, "fdatasync", "5</s/state.db-wal>", "0", 0, 2),
        Syscall(8, "fsync", "3</s>", "-1 EIO (Input/output error) (INJECTED)", 3, 3),
    ]
    assert read_trace(tmp_path / "trace")[1].path == "/s/state.db-wal"


async def test_a_small_disk_fills_up_and_heals_and_nobody_else_sees_it(tmp_path: Path) -> None:
    writer = (
        "import sys\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        f"    try: n = open('{tmp_path}/mine', 'ab', buffering=0).write(b'x' * 9000)\n"
        "    except OSError: n = 0\n"
        "    print('ok' if n == 9000 else 'no room', flush=True)\n"
    )
    async with running([*small_disk(tmp_path, 1), *python(writer)]) as process:
        assert process.stdin is not None
        assert await said(process) == "ready"
        ballast = Ballast(process.pid, tmp_path)
        answers = []
        for fault in ("none yet", "full", "healed"):
            if fault != "none yet":
                (ballast.fill if fault == "full" else ballast.drop)()
            process.stdin.write(b"\n")
            answers.append(await said(process))
        assert answers == ["ok", "no room", "ok"]
        assert not seen_here(tmp_path / "mine")


async def test_few_descriptors_are_all_a_program_gets_until_they_are_given_back() -> None:
    opener = (
        "import errno, os, sys\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    got = []\n"
        "    try:\n"
        "        while len(got) < 100: got.append(os.open('/dev/null', 0))\n"
        "    except OSError as error: print(errno.errorcode[error.errno], flush=True)\n"
        "    else: print(len(got), flush=True)\n"
        "    for one in got: os.close(one)\n"
    )
    async with running(python(opener)) as process:
        assert process.stdin is not None
        await said(process)
        old = limits.starve_descriptors(process.pid, 20)
        process.stdin.write(b"\n")
        assert await said(process) == "EMFILE"
        limits.feed_descriptors(process.pid, old)
        process.stdin.write(b"\n")
        assert await said(process) == "100"
    async with running([*limits.few_descriptors(20), *python(opener)]) as process:
        assert process.stdin is not None
        await said(process)
        process.stdin.write(b"\n")
        assert await said(process) == "EMFILE"


async def test_little_memory_and_small_files_are_limits_too(tmp_path: Path) -> None:
    hungry = "try:\n    b'x' * 500_000_000\nexcept MemoryError: print('no memory', flush=True)"
    async with running([*limits.little_memory(200_000_000), *python(hungry)]) as process:
        assert await said(process) == "no memory"
    large = f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\ntry:\n    open('{tmp_path}/f', 'wb', 0).write(b'x' * 9000); open('{tmp_path}/f', 'ab', 0).write(b'x')\nexcept OSError as e: print(e.errno, flush=True)"
    async with running([*limits.small_files(9000), *python(large)]) as process:
        assert await said(process) == "27"


async def test_a_stolen_port_cannot_be_bound_until_the_thief_is_gone() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ports.stolen(port), socket.socket() as rival, pytest.raises(OSError, match="in use"):
        rival.bind(("127.0.0.1", port))
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


async def test_an_island_answers_until_it_is_cut_off_and_again_when_healed() -> None:
    with network.island() as island:
        talker = (
            f"import socket\ns = socket.create_server(('{island.there}', 0)); print(s.getsockname()[1], flush=True)\n"
            "c, _ = s.accept()\nwhile True: c.sendall(c.recv(100))\n"
        )
        async with running([*island.inside(), *python(talker)]) as process:
            port = int(await said(process))
            reader, writer = await asyncio.open_connection(island.there, port)
            writer.write(b"one")
            assert await reader.read(10) == b"one"
            island.cut()
            writer.write(b"two")
            with pytest.raises(TimeoutError):  # no error, no end: half open
                await asyncio.wait_for(reader.read(10), 0.1)
            island.heal()
            assert await asyncio.wait_for(reader.read(10), 20) == b"two"
            writer.transport.abort()
    assert not seen_here(Path("/var/run/netns") / island.name)


@pytest.mark.parametrize("monotonic", [False, True])
async def test_a_clock_jumps_while_the_program_runs(tmp_path: Path, monotonic: bool) -> None:
    teller = "import sys, time\nfor line in sys.stdin: print(time.time(), time.monotonic(), flush=True)\n"
    environ = wall_clock.set_off(tmp_path / "clock", monotonic=monotonic)
    async with running(python(teller), environ=environ) as process:
        assert process.stdin is not None
        seen = []
        for seconds in (0, 3600, -3600):
            wall_clock.jump(tmp_path / "clock", seconds)
            process.stdin.write(b"\n")
            wall, mono = map(float, (await said(process)).split())
            seen.append((round((wall - time.time()) / 60), round((mono - time.monotonic()) / 60)))
    assert [wall for wall, _ in seen] == [0, 60, -60]
    start = seen[0][1]  # the monotonic clock of libfaketime begins elsewhere; only how it jumps matters
    assert [mono - start for _, mono in seen] == ([0, 60, -60] if monotonic else [0, 0, 0])


def test_files_are_cut_flipped_and_garbled_in_the_same_way_for_the_same_seed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"services: {}\n")
    flip(file, 0, 0)
    assert file.read_bytes() == b"rervices: {}\n"
    cut(file, 4)
    assert file.read_bytes() == b"rerv"
    kinds = set()
    for seed in range(40):
        results = []
        for _ in range(2):
            file.write_bytes(b"services: {}\n")
            results.append((garble(file, random.Random(seed)), file.read_bytes()))
        assert results[0] == results[1]
        assert results[0][1] != b"services: {}\n"
        kinds.add(results[0][0])
    assert len(kinds) == 6


def test_the_frames_of_a_log_are_found_by_its_own_page_size() -> None:
    header = b"\x37\x7f\x06\x82" + (3007000).to_bytes(4, "big") + (512).to_bytes(4, "big") + bytes(20)
    assert frame_edges(header) == [32]
    assert frame_edges(header + bytes(3 * (24 + 512))) == [32, 568, 1104, 1640]
