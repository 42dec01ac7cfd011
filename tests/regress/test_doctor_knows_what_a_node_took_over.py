"""After `kill -9` of the node and a new `up`, doctor called the platform's own HAProxy and control plane strangers.

What was taken over is nobody's child any more; doctor then advised to kill it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec

from atoll.cli.check_running import family
from atoll.gateway.process import Identity, identity
from atoll.settings import Settings


def test_the_haproxy_of_a_dead_node_is_the_platforms_own_with_its_workers(tmp_path: Path) -> None:
    pid_file = tmp_path / "run" / "haproxy" / "master.pid"
    pid_file.parent.mkdir(parents=True)
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True) as master:
        assert master.stdout is not None
        worker = int(master.stdout.readline())
        found = identity(master.pid)
        assert found is not None
        pid_file.write_bytes(msgspec.json.encode(found))
        assert family(Settings(state=tmp_path)) == {master.pid, worker}
        reused = Identity(found.pid, found.start + 1, found.boot)
        pid_file.write_bytes(msgspec.json.encode(reused))
        assert family(Settings(state=tmp_path)) == set(), "another process with its number is a stranger"
        subprocess.run(["kill", str(worker)], check=True)
