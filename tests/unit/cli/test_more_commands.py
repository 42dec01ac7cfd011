from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import ChildReport, GatewayReport, NodeReport, Phase, ServerReport
from atoll.model.service import Protocol, Restart, Run, Service
from tests.unit.cli.conftest import instance
from tests.unit.cli.fake_api import Cli, FakeApi

STATUS = {"version": "0.1.0", "pid": 9, "node": "local", "uptime": 5.0, "revision": 7, "health": "ok"}


def test_wait_returns_at_once_when_everything_passes(cli: Cli, shop: FakeApi) -> None:
    result = cli("wait", "orders")
    assert result.code == 0
    assert result.err.startswith("orders ready after 0.")
    assert cli("wait", "orders", "--json").json["orders"] == {
        "passing": 1,
        "wanted": 1,
        "cause": "",
        "routed": True,
        "ready": True,
    }


def test_wait_gives_up_with_exit_3_and_the_reason(cli: Cli, shop: FakeApi) -> None:
    shop.answers["GET", "/api/v1/watch"] = (200, {"revision": 7, "events": []})
    result = cli("wait", "--timeout", "150ms")
    assert (result.code, result.out) == (3, "")
    assert result.err.splitlines()[0] == (
        "error: not ready after 0.15 s: catalog 1/2 (catalog-2 is failing: L4CON: Connection refused)"
    )


def test_wait_sees_a_service_become_ready(cli: Cli, api: FakeApi) -> None:
    timer = threading.Timer(0.1, lambda: api.put(Service(name=ServiceName("late")), instance("late", "late-1", 9)))
    api.answers["GET", "/api/v1/watch"] = (410, {"code": "compacted", "detail": "gone", "status": 410})
    timer.start()
    assert cli("wait", "late", "--timeout", "10s").code == 0


def test_wait_looks_soon_and_the_longer_it_takes_the_less_often(cli: Cli, shop: FakeApi) -> None:
    shop.answers["GET", "/api/v1/watch"] = (200, {"revision": 7, "events": []})
    assert cli("wait", "--timeout", "300ms").code == 3
    rounds = [float(dict(each.query)["wait"]) for each in shop.requests if each.path == "/api/v1/watch"]
    assert rounds[0] == 0.05
    assert max(rounds) <= 0.1


def test_what_passes_is_ready_once_every_gateway_that_lives_runs_its_facts(cli: Cli, api: FakeApi) -> None:
    api.put(Service(name=ServiceName("orders")), instance("orders", "orders-1", 1))
    api.answers["GET", "/api/v1/watch"] = (200, {"revision": 7, "events": []})
    at = GatewayReport(address="127.0.0.1:8080", revision=0, last_error="no room", last_hint="make some")
    api.report(NodeReport(node=NodeName("dead"), gateway=at), age=30.0)
    api.report(NodeReport(node=NodeName("without")))
    assert cli("wait", "orders").code == 0
    api.report(NodeReport(node=NodeName("late"), gateway=at))
    result = cli("wait", "orders", "--timeout", "10ms", "--json")
    assert result.code == 3
    assert "orders 1/1 (the gateway of node late does not run the newest facts yet: no room)" in result.err
    assert not result.json["orders"]["ready"]
    api.reports[-1] = {
        **api.reports[-1],
        "report": {**api.reports[-1]["report"], "gateway": {"address": ":1", "revision": 1}},
    }
    assert cli("wait", "orders", "--timeout", "10ms").code == 0


def test_wait_for_everything_in_an_empty_platform_is_not_ready(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", "/api/v1/watch"] = (200, {"revision": 7, "events": []})
    result = cli("wait", "--timeout", "50ms")
    assert result.code == 3
    assert "there are no services" in result.err


def test_an_instance_the_gateway_cannot_reach_or_the_node_still_starts_is_not_ready(cli: Cli, api: FakeApi) -> None:
    orders, web = ServiceName("orders"), ServiceName("web")
    worker, job = ServiceName("worker"), ServiceName("job")
    api.put(
        Service(name=orders, run=Run(command=("x",))),
        Service(name=web, run=Run(command=("x",))),
        Service(name=worker, run=Run(command=("x",), port=None)),
        Service(name=job, run=Run(command=("x",), port=None, restart=Restart.NO)),
        Service(name=ServiceName("resting"), run=Run(command=("x",), stopped=True)),
        instance("orders", "orders-1", 1),
        instance("web", "web-1", 2),
    )
    api.report(
        NodeReport(
            node=NodeName("local"),
            children=(
                ChildReport(service=orders, instance=InstanceId("orders-1"), phase=Phase.RUNNING),
                ChildReport(service=web, instance=InstanceId("web-1"), phase=Phase.STARTING),
                ChildReport(service=worker, instance=InstanceId("worker-1"), phase=Phase.CRASH_LOOP, cause="exit 1"),
                ChildReport(service=job, instance=InstanceId("job-1"), phase=Phase.EXITED, exit_code=0),
            ),
            servers=(ServerReport(service=orders, instance=InstanceId("orders-1"), up=False, cause="L4TOUT"),),
        )
    )
    api.answers["GET", "/api/v1/watch"] = (200, {"revision": 7, "events": []})
    result = cli("wait", "--timeout", "10ms", "--json")
    assert result.code == 3
    assert {name: (state["ready"], state["cause"]) for name, state in result.json.items()} == {
        "job": (True, ""),
        "orders": (False, "orders-1: L4TOUT"),
        "resting": (True, ""),
        "web": (False, "web-1 is starting"),
        "worker": (False, "worker-1 is crash-loop: exit 1"),
    }


class Mesh(BaseHTTPRequestHandler):
    """A service behind the mesh, which tells what it got."""

    seen: ClassVar[list[tuple[str, str, str, bytes, str | None]]] = []

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.command, self.path, self.headers["Host"], body, self.headers.get("X-Test")))
        status = 503 if "fail" in self.path else 200
        self.send_response(status)
        self.send_header("X-Evil", "a\x1b[31m")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"\x1b[31m!" if "evil" in self.path else b"hello\n")

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mesh(api: FakeApi) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Mesh)
    Mesh.seen = []
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    api.put(Service(name=ServiceName("orders")), Service(name=ServiceName("db"), protocol=Protocol.TCP, mesh_index=4))
    api.report(
        NodeReport(
            node=NodeName("local"),
            gateway=GatewayReport(mesh=f"127.0.0.1:{server.server_address[1]}", mesh_ports=15100),
        )
    )
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_call_goes_through_the_mesh_by_name(cli: Cli, mesh: HTTPServer) -> None:
    result = cli("call", "orders", "/list?a=1&b=ü", "-H", "X-Test: yes")
    assert (result.code, result.out, result.err) == (0, "hello\n", "200 OK\n")
    assert Mesh.seen == [("GET", "/list?a=1&b=%C3%BC", "orders", b"", "yes")]


def test_call_posts_data_from_words_files_and_stdin(cli: Cli, mesh: HTTPServer, folder: Path) -> None:
    (folder / "body").write_bytes(b"\x00\xff")
    assert cli("call", "orders", "/x", "-d", '{"a":1}').code == 0
    assert cli("call", "orders", "delete", "/x", "-d", "@body").code == 0
    assert cli("call", "orders", "/x", "-d", "@-", stdin="piped").code == 0
    assert [(method, body) for method, _, _, body, _ in Mesh.seen] == [
        ("POST", b'{"a":1}'),
        ("DELETE", b"\x00\xff"),
        ("POST", b"piped"),
    ]


def test_call_fails_with_the_services_own_failure(cli: Cli, mesh: HTTPServer) -> None:
    result = cli("call", "orders", "/fail", "-v")
    assert (result.code, result.out) == (1, "hello\n")
    assert result.err.startswith("503 Service Unavailable\n")
    assert "X-Evil: a\\x1b[31m" in result.err
    assert cli("call", "orders", "/fail", "--json").json["status"] == 503


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (("call", "ordres", "/"), 1, "did you mean `orders`"),
        (("call", "db", "/"), 2, "hint: connect to its port of the mesh, 15104"),
        (("call", "orders", "nope"), 2, "does not begin with /"),
        (("call", "orders", "/", "-H", "X: a\r\nY: b"), 2, "cannot be sent"),
        (("call", "orders", "/", "-H", "nonsense"), 2, "cannot be sent"),
        (("call", "orders", "G E T", "/"), 2, "give SERVICE, then a method"),
        (("call", "orders", "/", "-d", "@missing"), 1, "No such file"),
    ],
)
def test_call_refuses_what_cannot_be_called(
    cli: Cli, mesh: HTTPServer, line: tuple[str, ...], code: int, said: str
) -> None:
    result = cli(*line)
    assert (result.code, result.out) == (code, "")
    assert said in result.err
    assert Mesh.seen == []


def test_call_escapes_nothing_of_a_path_that_could_split_the_request(cli: Cli, mesh: HTTPServer) -> None:
    assert cli("call", "orders", "/a b\r\nX-Y: z").code == 0
    assert Mesh.seen[0][1] == "/a%20b%0D%0AX-Y:%20z"


def test_call_without_a_gateway_or_with_a_dead_one_says_so(cli: Cli, shop: FakeApi, api: FakeApi) -> None:
    shop.reports[0]["report"]["gateway"]["mesh"] = "127.0.0.1:1"
    result = cli("call", "orders", "/")
    assert (result.code, result.out) == (1, "")
    assert "the mesh at 127.0.0.1:1 broke off" in result.err
    shop.reports.clear()
    assert "no node reports a gateway" in cli("call", "orders", "/").err


def test_health_is_an_exit_code(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", "/readyz"] = (200, {"status": "ok"})
    assert cli("health")[:2] == (0, "")
    assert cli("health", "--json").json == {"status": "ok"}
    api.answers["GET", "/readyz"] = (503, {"code": "not-ready", "detail": "still loading", "status": 503})
    assert cli("health").code == 1


def test_version_names_every_part_and_what_runs(cli: Cli, api: FakeApi) -> None:
    api.answers["GET", "/api/v1/status"] = (200, STATUS)
    found = cli("version", "--json").json
    assert {"atoll", "python", "haproxy", "sqlite", "running"} <= found.keys()
    assert found["running"] == "0.1.0 (pid 9, revision 7)"
    assert "sqlite" in cli("version").out


def test_version_works_without_a_platform(cli: Cli) -> None:
    result = cli("version")
    assert result.code == 0
    assert "running" not in result.out


def _database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE facts (key, value)")
    connection.commit()
    content = connection.serialize()
    connection.close()
    return content


def test_backup_writes_a_whole_file_or_none(cli: Cli, api: FakeApi, folder: Path) -> None:
    api.answers["GET", "/api/v1/backup"] = (200, _database())
    result = cli("backup", "facts.db", "--json")
    assert result.code == 0, result.err
    assert result.json == {"file": str(folder / "facts.db"), "bytes": len(_database())}
    assert (folder / "facts.db").read_bytes() == _database()
    assert (folder / "facts.db").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in folder.iterdir()) == [".atoll", "facts.db"]


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + b"garbage" * 900])
def test_backup_refuses_what_is_no_backup(cli: Cli, api: FakeApi, folder: Path, content: bytes) -> None:
    api.answers["GET", "/api/v1/backup"] = (200, content)
    result = cli("backup", "facts.db")
    assert result.code == 1
    assert "not a whole backup" in result.err
    assert [path.name for path in folder.iterdir()] == [".atoll"]


def test_backup_that_breaks_off_leaves_nothing(cli: Cli, api: FakeApi, folder: Path) -> None:
    api.raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + _database()[:5000]
    result = cli("backup", "facts.db")
    assert result.code == 1
    assert "broke off in the middle" in result.err
    assert [path.name for path in folder.iterdir()] == [".atoll"]


def test_backup_replaces_a_file_only_when_told_to(cli: Cli, api: FakeApi, folder: Path) -> None:
    api.answers["GET", "/api/v1/backup"] = (200, _database())
    (folder / "facts.db").write_text("precious")
    result = cli("backup", "facts.db")
    assert result.code == 2
    assert "say --yes" in result.err
    assert (folder / "facts.db").read_text() == "precious"
    assert cli("backup", "facts.db", "--yes").code == 0


def test_restore_refuses_what_is_no_backup_and_a_missing_file(cli: Cli, folder: Path) -> None:
    (folder / "junk").write_text("junk")
    result = cli("restore", "junk", "--yes")
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "there is no file" in cli("restore", "nothing", "--yes").err
    assert cli("restore", "junk").code == 2


def test_completion_prints_a_script_for_each_shell(cli: Cli) -> None:
    for shell in ("bash", "zsh", "fish"):
        result = cli("completion", shell)
        assert result.code == 0
        assert "_ATOLL_COMPLETE" in result.out


def test_names_of_services_complete_and_silence_answers_failure(cli: Cli, shop: FakeApi) -> None:
    cli.environ["ATOLL_TIMEOUT"] = "1s"
    assert complete(cli, "scale or", "2") == "orders"
    shop.hang = True
    assert complete(cli, "scale or", "2") == ""


def test_commands_and_options_complete(cli: Cli) -> None:
    assert complete(cli, "ser", "1").split() == ["service", "server"]
    assert "--watch" in complete(cli, "ps --w", "2")


def complete(cli: Cli, line: str, at: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cli.folder)
        patch.setenv("_ATOLL_COMPLETE", "bash_complete")
        patch.setenv("COMP_WORDS", f"atoll {line}")
        patch.setenv("COMP_CWORD", at)
        result = cli()
    assert result.err == ""
    return "\n".join(item.split(",", 1)[1] for item in result.out.split())


def test_doctor_says_what_is_wrong_and_how_to_mend_it(cli: Cli, api: FakeApi, folder: Path) -> None:
    api.answers["GET", "/api/v1/status"] = (
        200,
        {**STATUS, "warnings": ["clock went back"], "quarantined": {"services/x": "bad\x1b[31m"}},
    )
    (folder / ".atoll/token").chmod(0o644)
    result = cli("doctor", "--json")
    found = result.json["findings"]
    assert result.code == 1
    assert not result.json["healthy"]
    broken = [finding for finding in found if finding["verdict"] == "broken" and finding["check"] == "state"]
    assert broken[0]["fix"] == f"chmod 600 {folder}/.atoll/token"
    assert {"python", "haproxy", "sqlite", "disk", "clock", "ports", "platform", "processes", "sockets"} <= {
        finding["check"] for finding in found
    }
    assert any(finding["detail"] == "clock went back" for finding in found)
    plain = cli("doctor")
    assert f"hint: state: chmod 600 {folder}/.atoll/token" in plain.err
    assert "\x1b" not in plain.out


def test_doctor_looks_at_a_machine_without_a_platform(cli: Cli, folder: Path) -> None:
    shutil.rmtree(folder / ".atoll")
    found = {finding["check"]: finding for finding in cli("doctor", "--json").json["findings"]}
    assert found["platform"]["detail"].startswith("not running")
    assert found["state"]["verdict"] == "ok"


def test_doctor_is_told_of_a_control_plane_that_hangs(cli: Cli, api: FakeApi) -> None:
    api.hang = True
    cli.environ["ATOLL_TIMEOUT"] = "100ms"
    result = cli("doctor", "--json")
    (platform,) = [finding for finding in result.json["findings"] if finding["check"] == "platform"]
    assert (result.code, platform["verdict"]) == (1, "broken")
    assert "did not answer within" in platform["detail"]


def test_routes_lists_what_leads_where(cli: Cli, shop: FakeApi) -> None:
    assert [line.split() for line in cli("routes").out.splitlines()] == [
        ["ROUTE", "PATH", "TO", "ORIGIN"],
        ["api", "/api/*", "orders", "shop"],
    ]
    assert cli("routes", "--json").json[0]["match"]["path"] == "/api"


def test_down_without_a_platform_is_no_error(cli: Cli, folder: Path) -> None:
    result = cli("down")
    assert result.code == 0
    assert result.err == f"no platform runs in {folder}\n"
    assert cli("down", "--json").json == {"stopped": False, "seconds": 0.0, "pid": None}


def test_down_never_signals_a_process_that_only_bears_the_nodes_pid(cli: Cli, folder: Path) -> None:
    claim = {"pid": 1, "started": 1.0, "version": "0.1.0"}
    (folder / ".atoll/run/node.json").write_bytes(msgspec.json.encode(claim))
    assert cli("down").err == f"no platform runs in {folder}\n"
