"""A node dies with -9: its children go on, and the next node takes them over; nothing else is ever touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import ChildReport, Phase
from atoll.model.service import Service
from atoll.settings import Settings
from atoll.supervisor import adopt, child, processes
from atoll.supervisor.output import read_logs
from atoll.supervisor.record import Note, Places, Record
from tests.system.supervisor_stage import alive, python, staged, web

TALKER = """
import itertools, time
for number in itertools.count():
    print(number)
    time.sleep(.02)
"""


class Node:
    """A supervisor in a process of its own."""

    def __init__(self, state: Path, services: list[Service], loop: str = "asyncio") -> None:
        arguments = [sys.executable, "-m", "tests.system.supervisor_node", str(state)]
        self.process = subprocess.Popen(
            [*arguments, msgspec.json.encode(services).decode(), loop], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )

    def until(self, true: Callable[[list[ChildReport]], bool]) -> list[ChildReport]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reports = msgspec.json.decode(line, type=list[ChildReport])
            if true(reports):
                return reports
        raise AssertionError("the node ended")

    def running(self, *instances: str) -> dict[str, int | None]:
        """The pids once exactly these instances run."""
        wanted = set(instances)
        found = self.until(
            lambda reports: (
                {one.instance for one in reports if one.phase is Phase.RUNNING} == wanted
                and len(reports) == len(wanted)
            )
        )
        return {one.instance: one.pid for one in found}

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=10)
        return self.process.returncode


@contextmanager
def cleared(state: Path) -> Iterator[None]:
    """Whatever a failed test leaves running is ended."""
    try:
        yield
    finally:
        for survivor in adopt.survivors(Places.of(Settings(state=state))):
            child.end_marked(survivor.note.mark)
            os.close(survivor._pidfd)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_children_survive_a_killed_node_and_the_next_one_adopts_them(tmp_path: Path, loop: str) -> None:
    talker, shop, old = python(TALKER, "talker"), web(), python("import time; time.sleep(99)", "old")
    with cleared(tmp_path):
        first = Node(tmp_path, [talker, shop, old], loop)
        before = first.running("talker-1", "web-1", "old-1")
        first.end(signal.SIGKILL)
        time.sleep(0.3)
        assert all(pid is not None and alive(pid) for pid in before.values())

        second = Node(tmp_path, [talker, shop], loop)
        after = second.running("talker-1", "web-1")
        assert after == {name: before[name] for name in ("talker-1", "web-1")}
        assert before["old-1"] is not None
        assert not alive(before["old-1"])

        # Its end is seen although it is not our child, and it is started again in its place.
        assert after["web-1"] is not None
        os.kill(after["web-1"], signal.SIGKILL)
        again = second.until(
            lambda reports: any(
                one.instance == "web-1" and one.restarts == 1 and one.phase is Phase.RUNNING for one in reports
            )
        )
        assert next(one for one in again if one.instance == "web-1").exit_code == -signal.SIGKILL
        assert second.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in before.values() if pid is not None)
    lines = [line.text for line in read_logs(tmp_path / "logs", {ServiceName("talker")})]
    assert [line for line in lines if line.startswith("started")] == lines[:1]  # once, over both nodes
    assert lines[1:-1] == [str(number) for number in range(len(lines) - 2)]  # not one line was lost


def test_a_child_that_ended_while_no_node_was_there_is_started_again_without_strays(tmp_path: Path) -> None:
    shop = web()
    with cleared(tmp_path):
        first = Node(tmp_path, [shop])
        before = first.running("web-1")
        first.end(signal.SIGKILL)
        (found,) = adopt.survivors(Places.of(Settings(state=tmp_path)))
        os.close(found._pidfd)
        assert before["web-1"] is not None
        os.kill(found.keeper, signal.SIGKILL)  # the worst case: nobody is left to clear up
        second = Node(tmp_path, [shop])
        after = second.running("web-1")
        assert after != before
        assert not alive(before["web-1"])
        second.end(signal.SIGTERM)


def test_a_node_killed_at_any_moment_of_a_start_leads_to_no_double_start(tmp_path: Path) -> None:
    shop = web()
    with cleared(tmp_path):
        for moment in (0.0, 0.03, 0.06, 0.1):
            node = Node(tmp_path, [shop])
            node.until(lambda reports: bool(reports))
            time.sleep(moment)
            node.end(signal.SIGKILL)
        last = Node(tmp_path, [shop])
        pids = last.running("web-1")
        mine = [one.pid for one in psutil.process_iter() if _runs(one, tmp_path)]
        assert mine == [pids["web-1"]]
        last.end(signal.SIGTERM)


def _runs(one: psutil.Process, state: Path) -> bool:
    with contextlib.suppress(psutil.Error):
        if one.environ().get("ATOLL_INSTANCE") == "web-1":
            parent = one.parent()
            return parent is not None and any(str(state) in word for word in parent.cmdline())
    return False


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen(["sleep", "99"], start_new_session=True, env={processes.MARK: "somebody-elses"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def note(mark: str = "ours") -> Note:
    return Note(service=ServiceName("job"), instance=InstanceId("job-1"), mark=mark, port=None, digest="d", restarts=0)


async def test_a_record_that_the_machine_does_not_confirm_is_never_acted_upon(tmp_path: Path) -> None:
    places = Places.of(Settings(state=tmp_path / "state"))
    with bystander() as innocent:
        now = processes.process(innocent.pid)
        assert now is not None
        true = (innocent.pid, now.start)
        boot = processes.boot_id()
        claims = [
            Record(boot=boot, keeper=(innocent.pid, now.start - 5), child=true, note=note()),  # pid reused
            Record(boot=boot, keeper=true, child=true, note=note()),  # pid reused within one tick
            Record(boot="another", keeper=true, child=true, note=note("somebody-elses")),  # before a reboot
            Record(boot=boot, keeper=(1, 0), child=(1, 0), note=note()),
            Record(boot=boot, keeper=(-1, 0), child=(-1, 0), note=note("")),
            Record(boot=boot, keeper=(2**22 + 1, 7), child=(2**22 + 1, 7), note=note()),
        ]
        for claim in claims:
            places.record(InstanceId("job-1")).write_bytes(msgspec.json.encode(claim))
            async with staged(tmp_path) as stage:
                await stage.want(python("import time; time.sleep(99)"))
                await stage.until(lambda: stage.phases() == {"job-1": Phase.RUNNING})
                one = stage.child("job-1")
                assert one is not None
                assert one.pid != innocent.pid
                await stage.supervisor.shutdown(force=True)
            assert innocent.poll() is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\0" * 4096, b'{"boot":1}', b"[]", b"9" * 200_000],
    ids=["empty", "torn", "zeros", "shape", "list", "big"],
)
async def test_a_record_that_cannot_be_read_hinders_nobody(tmp_path: Path, content: bytes) -> None:
    places = Places.of(Settings(state=tmp_path / "state"))
    places.record(InstanceId("job-1")).write_bytes(content)
    (places.children / "other.json").write_bytes(
        msgspec.json.encode(Record(boot=processes.boot_id(), keeper=(os.getpid(), 1), note=note()))
    )
    async with staged(tmp_path) as stage:
        await stage.want(python("import time; time.sleep(99)"))
        await stage.until(lambda: stage.phases() == {"job-1": Phase.RUNNING})


async def test_a_lost_record_does_not_start_an_instance_twice(tmp_path: Path) -> None:
    service = python("import time; print('up'); time.sleep(99)")
    with cleared(tmp_path / "state"):
        first = Node(tmp_path / "state", [service])
        pids = first.running("job-1")
        first.end(signal.SIGKILL)
        places = Places.of(Settings(state=tmp_path / "state"))
        places.record(InstanceId("job-1")).unlink()
        async with staged(tmp_path) as stage:
            await stage.want(
                msgspec.structs.replace(service, run=python("import time; time.sleep(98)", restart="always").run)
            )
            await stage.until(lambda: stage.phases() == {"job-1": Phase.RUNNING})
            assert pids["job-1"] is not None
            assert not alive(pids["job-1"])


async def test_a_supervisor_that_is_cancelled_lets_its_children_run(tmp_path: Path) -> None:
    service = python("import time; time.sleep(99)")
    with cleared(tmp_path / "state"):
        async with staged(tmp_path) as stage:
            await stage.want(service)
            await stage.until(lambda: stage.phases() == {"job-1": Phase.RUNNING})
            before = stage.child("job-1")
            stage.running.cancel()
            await asyncio.wait([stage.running])
        assert before is not None
        assert before.pid is not None
        assert alive(before.pid)
        async with staged(tmp_path) as stage:
            await stage.want(service)
            await stage.until(lambda: stage.phases() == {"job-1": Phase.RUNNING})
            after = stage.child("job-1")
            assert after is not None
            assert after.pid == before.pid
            await stage.supervisor.shutdown()


async def test_a_node_without_descriptors_waits_and_recovers(tmp_path: Path) -> None:
    services = [python("import time; time.sleep(99)", f"job{letter}", restart="always") for letter in "abcdefgh"]
    with cleared(tmp_path):
        node = Node(tmp_path, services)
        process = psutil.Process(node.process.pid)
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        node.running(*(f"job{letter}-1" for letter in "abcdefgh"))
        process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), hard))
        for one in process.children(recursive=True):
            if one.cmdline()[-1].startswith("import time"):
                one.kill()
        node.until(lambda reports: any("Too many open files" in one.cause for one in reports))
        used = sum(process.cpu_times()[:2])
        await asyncio.sleep(0.5)
        assert sum(process.cpu_times()[:2]) - used < 0.25
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        node.running(*(f"job{letter}-1" for letter in "abcdefgh"))
        assert node.end(signal.SIGTERM) == 0
