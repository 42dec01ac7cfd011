"""A whole platform as a user has it: a project folder, free ports, the `atoll` command in processes of its own.

`Platform` promises to leave nothing: `close` stops the platform as a user would, then looks for strays, zombies and
sockets, and raises when there are any. Conditions are waited for with `until`; nothing here sleeps to be in time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import psutil
from click.testing import CliRunner

from atoll.cli.api import Api
from atoll.cli.facts import parse_services, ready
from atoll.cli.invocation import Invocation
from atoll.cli.main import run
from atoll.cli.place import Place
from atoll.errors import AtollError
from atoll.kit.clock import SystemClock
from atoll.model.keys import FACTS
from tests.ports import free_port as free_port

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
SHOP = ROOT / "examples" / "shop"
SERVICE = Path(__file__).with_name("service.py")
MARK = "PLATFORM_UNDER_TEST"
"""A variable that every process of a platform inherits, however it detaches itself."""
INIT = 1
"""Whose business a node's own end is: it has no parent any more, and a container's init may take seconds to look."""
ATOLL = [sys.executable, "-m", "atoll.cli.main"]
TALKS = frozenset({
    "apply", "breakers", "explain", "failover", "fault", "maint", "plan", "ps", "restart", "routes", "scale", "service",
    "start", "stop", "wait",
})  # fmt: skip
"""Commands that only talk to the control plane: `Platform` runs them without a process of their own, whose start costs 0.1 s."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Answer(NamedTuple):
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def instance(self) -> str:
        """Which instance of the test's own service answered."""
        assert self.status == 200, (self.status, self.body[:500])
        return str(self.json["instance"])


def until(condition: Callable[[], T], what: str, within: float = 20.0, every: float = 0.02) -> T:
    """What `condition` says once it is true; fails with `what` when that takes over `within` seconds."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        time.sleep(every)
    return found


def listens(port: int) -> bool:
    """Whether anybody listens there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 15.0,
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


class Platform:
    """One project folder and whatever runs for it."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.state = folder / ".atoll"
        self.gateway_port, self.api_port = free_port(), free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")}
        self.environ = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "ATOLL_API_PORT": str(self.api_port),
            "ATOLL_GATEWAY_PORT": str(self.gateway_port),
            "ATOLL_TELEMETRY_ENABLED": "0",  # half a second of CPU and 300 MB: only for tests that are about it
            "NO_COLOR": "1",
            "no_proxy": "*",
            MARK: str(folder),
            **environ,
        }
        self._seen: set[int] = set()
        self._guests: list[subprocess.Popen[bytes]] = []

    @classmethod
    def of(cls, project: str, **environ: str) -> Platform:
        """A small project in a new folder, beside the test's own service."""
        folder = Path(tempfile.mkdtemp(prefix="atoll-t-"))
        shutil.copy(SERVICE, folder / "service.py")
        (folder / "atoll.yaml").write_text(project)
        return cls(folder, **environ)

    # Commands

    def __call__(self, *arguments: str, timeout: float = 60) -> Done:
        """`atoll ARGUMENTS` in the project's folder."""
        if arguments[0] in TALKS:
            invocation = Invocation(self.environ)
            invocation.folder = self.folder
            with CliRunner().isolation() as (out, err, _):
                code = run(arguments, invocation)
                return Done(code, out.getvalue().decode(), err.getvalue().decode())
        done = subprocess.run(
            [*ATOLL, *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def up(self, *more: str) -> Done:
        """`atoll up -d --wait`, which must succeed."""
        done = self("up", "-d", "--wait", *more)
        assert done.code == 0, f"{done.err}\n{self.node_log()[-6000:]}"
        self.look()
        return done

    def up_without(self, *absent: str) -> None:
        """`atoll up -d`, then until all services are ready but those, whose instances nobody starts."""
        done = self("up", "-d")
        assert done.code == 0, f"{done.err}\n{self.node_log()[-6000:]}"
        names = [one["service"]["name"] for one in self.done("GET", "/services")["services"]]
        self.until_ready(*(name for name in names if name not in absent))
        self.look()

    def write(self, project: str) -> None:
        """Another atoll.yaml."""
        (self.folder / "atoll.yaml").write_text(project)

    def edit(self, before: str, after: str) -> None:
        """Change the project file."""
        file = self.folder / "atoll.yaml"
        text = file.read_text()
        assert before in text, before
        file.write_text(text.replace(before, after))

    def node_log(self) -> str:
        try:
            return (self.state / "logs" / "node.log").read_text(errors="replace")
        except OSError:
            return ""

    # What is true

    @property
    def node_pid(self) -> int:
        return int(self.node_file()["pid"])

    def node_file(self) -> dict[str, Any]:
        """What it says of itself; nothing where none has begun."""
        try:
            found: dict[str, Any] = json.loads((self.state / "run" / "node.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def mesh_port(self) -> int:
        port: int = json.loads((self.state / "mesh.json").read_text())["mesh_port"]
        return port

    def port_of(self, service: str) -> int:
        """The stable mesh port by which other services call this one."""
        block = json.loads((self.state / "mesh.json").read_text())
        index = self.api("GET", f"/services/{service}").json["service"].get("mesh_index", 0)
        return int(block["mesh_ports"]) + int(index)

    @property
    def token(self) -> str:
        return (self.state / "token").read_text().strip()

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One call of the control API over TCP, with the token."""
        content = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json", **headers}
        return ask(self.api_port, f"/api/v1{path}", method, content, sent)

    def done(self, method: str, path: str, body: Any = None) -> Any:
        """One call that must succeed; its JSON."""
        answer = self.api(method, path, body)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.body[:800])
        return answer.json

    def node(self) -> Any:
        """The node's last report; a control plane that just began has none for a moment."""
        return until(lambda: self.done("GET", "/nodes")["nodes"], "the node reports", within=5)[0]["report"]

    def gateway(self) -> dict[str, Any]:
        """The gateway's part of it, with the fields that have their default."""
        report: dict[str, Any] = self.node().get("gateway", {})
        return {"reloads": 0, "errors": 0, "last_error": "", "last_reload": "", **report}

    def children(self, service: str = "") -> dict[str, dict[str, Any]]:
        """The node's children by instance."""
        found = self.node().get("children", [])
        return {one["instance"]: one for one in found if not service or one["service"] == service}

    def pids(self, service: str = "") -> dict[str, int]:
        """Of children that run: what the node said lately, and what is still so."""
        return {
            name: one["pid"] for name, one in self.children(service).items() if one.get("pid") and alive(one["pid"])
        }

    def settled(self) -> bool:
        """Whether the gateway runs the newest facts: none has changed since those that it runs."""
        asked = [("prefix", prefix) for prefix in FACTS]
        asked += [("start", str(int(self.gateway().get("revision", 0)) + 1)), ("wait", "0")]
        answer = self.api("GET", f"/watch?{urlencode(asked)}")
        return answer.status == 200 and answer.json["events"] == []

    def ready(self, *services: str) -> bool:
        """Whether `atoll wait SERVICE…` would come back: what is wanted passes, and the gateway sends requests there."""
        place = Place(host="127.0.0.1", port=self.api_port, token=self.token)
        with contextlib.suppress(AtollError):
            found, _ = ready(Api(place, timeout=10, clock=SystemClock()), parse_services(services))
            return bool(found) and all(one.ready for one in found.values())
        return False

    def until_ready(self, *services: str) -> None:
        """Wait for these, or for all."""
        until(lambda: self.ready(*services), f"{services or 'all'} are ready", within=30)

    def get(self, path: str, **options: Any) -> Answer:
        """One request through the gateway."""
        return ask(self.gateway_port, path, **options)

    # Instances that are not the platform's own

    def guest(self, instance: str, **environ: str) -> int:
        """Start the test's service outside the platform, as somebody else's process; its port."""
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, str(self.folder / "service.py")],
            cwd=self.folder,
            env={**self.environ, "PORT": str(port), "ATOLL_INSTANCE": instance, **environ},
            stdout=subprocess.DEVNULL,
        )
        self._guests.append(process)
        until(lambda: listens(port), f"{instance} listens")
        return port

    def register(self, service: str, instance: str, port: int, **said: Any) -> Any:
        return self.done("PUT", f"/services/{service}/instances/{instance}", {"port": port, **said})

    # The end

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for this folder (a zombie has no environment any more)."""
        mark = f"{MARK}={self.folder}\0".encode()
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, psutil.Error):
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes():
                    found.append(psutil.Process(int(entry.name)))
        return found

    def look(self) -> None:
        """Remember who runs, so that `strays` knows whom to ask for."""
        self._seen |= {process.pid for process in self.processes()}

    def sockets(self) -> list[str]:
        """Unix sockets bound under this folder."""
        lines = Path("/proc/net/unix").read_text().splitlines()
        return [line.split()[-1] for line in lines if str(self.folder) in line]

    def strays(self) -> list[str]:
        """What is still there though the platform is stopped, as sentences."""
        left = [f"{process.pid} {process.cmdline()[:6]}" for process in self.processes()]
        for pid in self._seen:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_ZOMBIE and process.ppid() not in {os.getpid(), INIT}:
                    left.append(f"{pid} is a zombie of {process.ppid()}")
        left += [f"socket {path}" for path in self.sockets()]
        left += [f"port {port} listens" for port in (self.gateway_port, self.api_port) if listens(port)]
        return left

    def down(self) -> Done:
        """`atoll down`, and nothing is left."""
        self.leave()
        done = self("down")
        assert done.code == 0, done.err
        self.gone()
        return done

    def leave(self) -> None:
        """What the test itself started goes; who runs now is looked for later."""
        for guest in self._guests:
            guest.kill()
            guest.wait()
        with contextlib.suppress(AssertionError, OSError, ValueError):
            self.look()

    def gone(self) -> None:
        """Nothing is left, or soon."""
        with contextlib.suppress(AssertionError):
            until(lambda: not self.strays(), "nothing is left", within=10)
        assert self.strays() == []

    def ended(self) -> bool:
        """Tell the node what `atoll down` tells it, without a command for it; False when there is none to tell."""
        node = next((one for one in self.processes() if one.pid == self.node_file().get("pid")), None)
        if node is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            node.terminate()
        until(lambda: not alive(node.pid), "the node ends", within=40)
        return True

    def close(self) -> None:
        """Stop it, prove that nothing is left, remove the folder."""
        try:
            self.leave()
            if not self.processes() or self.ended():
                self.gone()
            else:
                self.down()
        finally:
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def closing(platform: Platform) -> Iterator[Platform]:
    """A platform that is closed at the end; after a failure, its log is shown."""
    try:
        yield platform
    except BaseException:
        print(platform.node_log()[-8000:])
        with contextlib.suppress(AssertionError):
            platform.close()
        raise
    platform.close()
