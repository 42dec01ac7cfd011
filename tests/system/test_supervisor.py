"""The supervisor with real children: what they are given, and what happens when they misbehave."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from atoll.kit.tasks import owned
from atoll.model.names import InstanceId, ServiceName
from atoll.model.report import Phase
from atoll.model.service import Condition, Restart, Run, Service
from atoll.settings import Supervisor as Limits
from atoll.supervisor import membership, meter, processes, record
from atoll.supervisor.output import read_logs
from atoll.supervisor.record import Places
from tests.system.supervisor_stage import alive, python, staged, web


async def test_a_child_is_given_its_port_and_name_and_registers_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "INTERVAL", 0.1)
    async with staged(tmp_path) as stage:
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        child = stage.child("web-1")
        assert child is not None
        said = stage.registrar.registered[InstanceId("web-1")]
        assert said.port == child.port
        reader, writer = await asyncio.open_connection("127.0.0.1", child.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"web-1")
        writer.close()
        await stage.until(
            lambda: (one := stage.child("web-1")) is not None and one.memory > 1 << 20 and one.descriptors
        )
        await stage.supervisor.shutdown()
    assert stage.story == [
        "register web-1", "routed web-1", "draining web-1", "idle web-1", "deregister web-1",
    ]  # fmt: skip
    assert child.pid is not None
    assert not alive(child.pid)


async def test_replicas_grow_and_shrink_and_the_newest_go_first(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        first = stage.child("web-1")
        await stage.want(web(replicas=3))
        await stage.until(lambda: list(stage.phases().values()) == [Phase.RUNNING] * 3)
        assert set(stage.phases()) == {"web-1", "web-2", "web-3"}
        assert len({one.port for one in stage.supervisor.report()}) == 3
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        now = stage.child("web-1")
        assert first is not None
        assert now is not None
        assert now.pid == first.pid


async def test_a_rolling_restart_starts_each_new_instance_before_it_drains_an_old_one(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.want(web(replicas=2))
        await stage.until(lambda: list(stage.phases().values()) == [Phase.RUNNING] * 2)
        before = {one.pid for one in stage.supervisor.report()}
        await stage.until(lambda: len(stage.story) == 4)
        stage.story.clear()
        await stage.want(web(replicas=2, restarts=1, rolling=True))
        await stage.until(
            lambda: (
                before.isdisjoint(one.pid for one in stage.supervisor.report())
                and list(stage.phases().values()) == [Phase.RUNNING] * 2
                and not stage.supervisor.rolling
            )
        )
    assert stage.story[:10] == [
        "register web-3", "routed web-3", "draining web-1", "idle web-1", "deregister web-1",
        "register web-1", "routed web-1", "draining web-2", "idle web-2", "deregister web-2",
    ]  # fmt: skip


async def test_a_rolling_change_that_fails_keeps_the_old_instances(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.want(web(replicas=2))
        await stage.until(lambda: list(stage.phases().values()) == [Phase.RUNNING] * 2)
        old = {one.pid for one in stage.supervisor.report()}
        await stage.want(web(replicas=2, code="raise SystemExit('no such table: orders')"))
        name = ServiceName("web")
        await stage.until(lambda: "halted" in stage.supervisor.rolling.get(name, ""))
        assert "web-3: exit 1: no such table: orders" in stage.supervisor.rolling[name]
        assert old <= {one.pid for one in stage.supervisor.report() if one.phase is Phase.RUNNING}
        await stage.want(web(replicas=2))
        await stage.until(lambda: set(stage.phases()) == {"web-1", "web-2"})
        assert old == {one.pid for one in stage.supervisor.report()}


async def test_a_service_starts_when_what_it_depends_on_is_healthy_or_completed(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    migrate = python(f"import os,time\nwhile not os.path.exists({str(gate)!r}): time.sleep(.02)", "migrate")
    shop = web("shop", depends_on={ServiceName("migrate"): Condition.COMPLETED})
    front = python("import time; time.sleep(99)", "front", depends_on={ServiceName("shop"): Condition.HEALTHY})
    async with staged(tmp_path) as stage:
        await stage.want(migrate, shop, front)
        await stage.until(lambda: stage.phases().get("migrate-1") is Phase.RUNNING)
        waiting = stage.child("shop-1")
        assert waiting is not None
        assert (waiting.phase, waiting.cause) == (Phase.WAITING, "waits for migrate to be completed (running)")
        gate.touch()
        await stage.until(lambda: stage.phases().get("front-1") is Phase.RUNNING)
        assert stage.phases() == {"migrate-1": Phase.EXITED, "shop-1": Phase.RUNNING, "front-1": Phase.RUNNING}


async def test_a_crash_loop_is_named_with_exit_code_and_last_lines_and_costs_little(tmp_path: Path) -> None:
    limits = Limits(restart_base=0.02, restart_cap=30.0, intensity=4)
    broken = python(
        "print('reading config'); print('KeyError: DATABASE_URL'); raise SystemExit(3)", restart=Restart.ALWAYS
    )
    async with staged(tmp_path, limits) as stage:
        await stage.want(broken, web())
        await stage.until(lambda: stage.phases().get("job-1") is Phase.CRASH_LOOP)
        child = stage.child("job-1")
        assert child is not None
        assert child.exit_code == 3
        assert child.restarts == 4
        assert child.last_lines == ("reading config", "KeyError: DATABASE_URL")
        assert child.cause == "exit 3: KeyError: DATABASE_URL"
        await stage.until(lambda: stage.phases()["web-1"] is Phase.RUNNING)
        # The runs before are still in the log.
        assert stage.logged("job-1").count("KeyError: DATABASE_URL") == 4


async def test_a_crashed_instance_keeps_its_id_its_port_and_its_place(tmp_path: Path) -> None:
    async with staged(tmp_path, Limits(restart_base=0.05)) as stage:
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        before = stage.child("web-1")
        assert before is not None
        assert before.pid is not None
        os.kill(before.pid, signal.SIGKILL)
        await stage.until(lambda: (now := stage.child("web-1")) is not None and now.restarts == 1)
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        after = stage.child("web-1")
        assert after is not None
        assert (after.port, after.exit_code) == (before.port, -signal.SIGKILL)
        assert after.pid != before.pid
        await stage.until(lambda: stage.story.count("routed web-1") == 2)
    assert stage.story[:5] == [
        "register web-1", "routed web-1", "draining web-1", "passing web-1", "routed web-1",
    ]  # fmt: skip


async def test_an_end_for_lack_of_memory_is_called_that(tmp_path: Path) -> None:
    hungry = python("import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 28,) * 2); b = bytes(1 << 30)")
    async with staged(tmp_path) as stage:
        await stage.want(hungry)
        await stage.until(lambda: stage.phases() == {"job-1": Phase.EXITED})
        child = stage.child("job-1")
        assert child is not None
        assert child.cause.startswith("exit 1, probably out of memory")


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = python(
        "import signal,time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(99)", stop_grace=0.5
    )
    async with staged(tmp_path) as stage:
        await stage.want(deaf)
        await stage.until(lambda: "deaf" in stage.logged("job-1"))
        begun = time.monotonic()
        await stage.want()
        await stage.until(lambda: not stage.phases())
        assert time.monotonic() - begun >= 0.5


FORKS = """
import os, signal, subprocess, sys, time
subprocess.Popen(['sleep', '98'])
subprocess.Popen(['sleep', '98'], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ.clear()
    print('ready', flush=True)
    os.execve('/bin/sleep', ['sleep', '98'], {})
os.wait()
for _ in range(3):
    if os.fork() == 0: os._exit(0)
%s
"""


CRASH = """
while not os.path.exists(TOLD): time.sleep(.01)
os._exit(3)
"""


@pytest.mark.parametrize("end", ["time.sleep(99)", CRASH], ids=["stopped", "crashed"])
async def test_grandchildren_daemons_and_zombies_go_with_the_child(tmp_path: Path, end: str) -> None:
    told = tmp_path / "told"
    async with staged(tmp_path) as stage:
        await stage.want(python(FORKS % end.replace("TOLD", repr(str(told))), stop_grace=0.3))
        await stage.until(lambda: "ready" in stage.logged("job-1"))
        life = stage.supervisor._lives[InstanceId("job-1")]
        await stage.until(lambda: life.child is not None)  # its first words may be there before we have its pid
        assert life.child is not None
        keeper = life.child.keeper
        await stage.until(
            lambda: len([one for one in processes.below(keeper, processes.table()) if not one.zombie]) >= 3
        )
        family = {one.pid for one in processes.below(keeper, processes.table())}
        if end is CRASH:
            told.touch()
        else:
            await stage.want()
        await stage.until(lambda: stage.phases() in ({}, {"job-1": Phase.EXITED}))
        await stage.until(lambda: not alive(keeper))
        assert [pid for pid in family if processes.process(pid) is not None] == []


async def test_a_killed_keeper_leaves_no_strays_and_its_instance_is_started_again(tmp_path: Path) -> None:
    async with staged(tmp_path, Limits(restart_base=0.05)) as stage:
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        life = stage.supervisor._lives[InstanceId("web-1")]
        assert life.child is not None
        keeper, pid = life.child.keeper, life.child.pid
        os.kill(keeper, signal.SIGKILL)
        await stage.until(lambda: (now := stage.child("web-1")) is not None and now.restarts == 1)
        assert not alive(pid)
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})


async def test_a_flood_of_output_costs_neither_disk_nor_memory_nor_the_childs_time(tmp_path: Path) -> None:
    limits = Limits(log_bytes=1 << 20)
    flood = """
import os, time
block = b'x' * 99 + b'\\n'
block *= 10000
took = []
for _ in range(100):
    begun = time.monotonic(); os.write(1, block); took.append(time.monotonic() - begun)
open(USUAL, 'w').write(f'{sorted(took)[50]:.3f}')
os._exit(3)
""".replace("USUAL", repr(str(tmp_path / "usual")))
    async with staged(tmp_path, limits) as stage:
        await stage.want(python(flood))
        await stage.until(lambda: stage.phases() == {"job-1": Phase.EXITED})
        ended = stage.child("job-1")
        assert ended is not None
        assert len(ended.last_lines) == 50
        assert float((tmp_path / "usual").read_text()) < 0.5
        cut, dropped = record.counters(Places.of(stage.settings), InstanceId("job-1"))
        assert (cut, dropped > 500_000) == (0, True)
        assert sum(path.stat().st_size for path in stage.settings.logs.glob("*/*")) <= 1 << 20


async def test_a_child_that_floods_is_reported_with_its_dropped_lines_and_a_small_keeper(tmp_path: Path) -> None:
    flood = "import os\nblock = (b'x' * 99 + b'\\n') * 10000\nwhile True: os.write(1, block)"
    async with staged(tmp_path) as stage:
        await stage.want(python(flood))
        await stage.until(lambda: (one := stage.child("job-1")) is not None and one.lines_dropped > 100_000)
        life = stage.supervisor._lives[InstanceId("job-1")]
        assert life.child is not None
        keeper = processes.process(life.child.keeper)
        assert keeper is not None
        assert keeper.memory < 32 << 20


async def test_endless_lines_binary_and_a_closed_pipe_are_survived(tmp_path: Path) -> None:
    code = """
import os
os.write(1, b'\\0\\x1b[31m\\xff\\r\\n')
for _ in range(40): os.write(1, b'y' * 50000)
os.write(1, b'\\nafter\\nno newline')
os.close(1); os.close(2)
import time; time.sleep(.2)
"""
    async with staged(tmp_path) as stage:
        await stage.want(python(code))
        await stage.until(lambda: stage.phases() == {"job-1": Phase.EXITED})
        lines = stage.logged("job-1")[1:-1]
        assert lines == ["\0\x1b[31m\ufffd", "y" * 8192, "after", "no newline"]
        child = stage.child("job-1")
        assert child is not None
        assert child.exit_code == 0


async def test_a_taken_port_is_named_with_its_holder(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        async with staged(tmp_path) as stage:
            await stage.want(web(port=port))
            await stage.until(lambda: stage.phases().get("web-1") is Phase.BACKOFF)
            child = stage.child("web-1")
            assert child is not None
            assert f"port {port} is taken by" in child.cause
            assert f"(pid {os.getpid()})" in child.cause
            assert child.pid is None


async def test_a_missing_program_or_folder_is_named(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        missing = Service(name=ServiceName("a"), run=Run(command=("no-such-program",), root="/tmp", port=None))
        astray = Service(name=ServiceName("b"), run=Run(command=("true",), root="/no/such", port=None))
        await stage.want(missing, astray)
        await stage.until(lambda: Phase.BACKOFF in stage.phases().values())
        await stage.until(lambda: all(one.cause for one in stage.supervisor.report()))
        causes = [one.cause for one in stage.supervisor.report()]
        assert "'no-such-program' is not in" in causes[0]
        assert "working folder /no/such does not exist" in causes[1]


async def test_children_run_on_while_the_control_plane_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "PATIENCE", 0.1)
    async with staged(tmp_path) as stage:
        stage.registrar.away = True
        await stage.want(web())
        await stage.until(lambda: (one := stage.child("web-1")) is not None and "away" in one.cause)
        assert stage.phases() == {"web-1": Phase.STARTING}
        stage.registrar.away = False
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        before = stage.child("web-1")
        stage.registrar.away = True
        await stage.until(lambda: (one := stage.child("web-1")) is not None and "away" in one.cause)
        now = stage.child("web-1")
        assert before is not None
        assert now is not None
        assert (now.phase, now.pid) == (Phase.RUNNING, before.pid)
        stage.registrar.away = False  # else its end waits for it


async def test_a_stop_during_the_start_and_a_second_stop_that_forces(tmp_path: Path) -> None:
    never = web(
        code="import signal,time; signal.signal(15, signal.SIG_IGN); print('up'); time.sleep(99)", stop_grace=60.0
    )
    async with staged(tmp_path) as stage:
        await stage.want(never)
        await stage.until(lambda: "up" in stage.logged("web-1"))
        assert stage.phases() == {"web-1": Phase.STARTING}
        begun = time.monotonic()
        async with owned("stops") as tasks:
            first = tasks.start("first", stage.supervisor.shutdown())
            await stage.until(lambda: stage.phases() == {"web-1": Phase.STOPPING})
            await stage.supervisor.shutdown()
            await first
        assert time.monotonic() - begun < 30, "half of its grace"
        assert stage.story == []  # it never passed, so nobody heard of it


async def test_dependants_stop_before_what_they_depend_on(tmp_path: Path) -> None:
    slow = "import signal,sys,time; signal.signal(15, lambda *_: (time.sleep(.2), sys.exit())); print('up'); time.sleep(99)"
    below = python(slow, "below")
    above = python(slow, "above", depends_on={ServiceName("below"): Condition.STARTED})
    async with staged(tmp_path) as stage:
        await stage.want(below, above)
        await stage.until(lambda: stage.logged("above-1")[1:] == ["up"] and stage.logged("below-1")[1:] == ["up"])
        await stage.supervisor.shutdown()
    ends = [line.instance for line in read_logs(stage.settings.logs) if line.text.startswith("ended")]
    assert ends == ["above-1", "below-1"]


async def test_an_operators_stop_and_start_bring_the_same_service_back(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
        await stage.want(web(stopped=True))
        await stage.until(lambda: not stage.phases())
        await stage.want(web())
        await stage.until(lambda: stage.phases() == {"web-1": Phase.RUNNING})
