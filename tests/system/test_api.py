from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import stat
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from atoll.errors import (
    AddressForbidden,
    AlreadyRunning,
    Compacted,
    LeaseConflict,
    NotFound,
    PortTaken,
    StorageFailed,
    StorageFull,
    Unauthorized,
    Unreachable,
)
from atoll.model.names import InstanceId, NodeName, RouteName, ServiceName
from atoll.model.project import Project
from atoll.model.registration import Registration
from atoll.model.report import NodeReport, ServerReport
from atoll.model.route import Route, Share
from atoll.model.service import Run, Service, State
from atoll.model.snapshot import Snapshot
from atoll.sdk.client import Client
from atoll.server.app import ENDPOINTS
from atoll.store.base import Revision
from tests.system.api_stage import Plane, plane_at, settings_in, until

ORDERS, ONE = ServiceName("orders"), InstanceId("o-1")


async def curl(*arguments: str) -> tuple[int, Any]:
    """Run curl as a user does; its status and its JSON."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "-w", "\n%{http_code}", "--max-time", "5", *arguments, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    text, _, status = out.decode().rpartition("\n")
    return int(status), json.loads(text)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_two_curl_commands_register_and_renew_a_service(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        url = f"http://127.0.0.1:{plane.serving.port}/api/v1/services/orders/instances/orders-1"
        header = f"Authorization: Bearer {plane.token}"
        status, answer = await curl("-X", "PUT", url, "-H", header, "-d", '{"port": 9001}')
        assert status == 201
        assert answer["instance"]["state"] == "passing"
        status, again = await curl("-X", "PUT", url, "-H", header, "-d", '{"port": 9001}')
        assert status == 200
        assert again["lease"] == answer["lease"]
        status, found = await curl(
            "--unix-socket", str(plane.serving.socket), "-H", header, "http://localhost/api/v1/services/orders"
        )
        assert status == 200
        assert [one["id"] for one in found["instances"]] == ["orders-1"]


async def test_the_socket_and_the_token_belong_to_this_user_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with plane_at(settings) as plane:
        assert stat.S_IMODE(settings.socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(settings.token_file.stat().st_mode) == 0o600
        assert len(plane.token) >= 43
    assert not settings.socket.exists()


async def test_a_socket_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.run.mkdir(parents=True)
    settings.run.chmod(0o777)
    with pytest.raises((AddressForbidden, ExceptionGroup)) as caught:
        async with plane_at(settings):
            pass
    error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
    assert isinstance(error, AddressForbidden)
    assert "chmod 700" in str(error.hint)


async def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with plane_at(settings) as plane:
        held = await plane.register("orders", "o-1", 9001, version="v2")
        token = plane.token
    async with plane_at(settings) as plane:
        assert plane.token == token
        view = await plane.sdk.service(ORDERS)
        assert [one.version for one in view.instances] == ["v2"]
        again = await plane.register("orders", "o-1", 9001, version="v2", lease=held["lease"])
        assert again["lease"] == held["lease"]


async def test_a_second_control_plane_on_the_folder_is_refused_at_once(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        with pytest.raises((AlreadyRunning, ExceptionGroup)):
            async with plane_at(settings_in(tmp_path)):
                pass
        assert (await plane.sdk.status()).health == "ok"


async def test_a_taken_port_names_who_holds_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises((PortTaken, ExceptionGroup)) as caught:
            async with plane_at(settings_in(tmp_path, ATOLL_API_PORT=str(port))):
                pass
        error = caught.value.exceptions[0] if isinstance(caught.value, ExceptionGroup) else caught.value
        assert isinstance(error, PortTaken)
        assert error.fields["pid"] == os.getpid()
        assert str(port) in error.detail


async def test_the_api_refuses_itself_as_a_backend(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        for host in ("127.0.0.1", "localhost", "127.1.2.3", "::1"):
            answer = await plane.ask(
                "PUT", "/api/v1/services/x/instances/x", {"host": host, "port": plane.serving.port}
            )
            assert answer.status_code == 422
            assert answer.json()["code"] == "address-forbidden"


async def test_answers_conform_to_the_published_document(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        document = (await plane.ask("GET", "/api/v1/openapi.json")).json()
        await plane.register("orders", "o-1", 9001)
        await plane.sdk.put_route(Route(name=RouteName("r"), shares=(Share(service=ORDERS),)))
        await plane.sdk.report(NodeReport(node=NodeName("n1")))
        for path, template in {
            "/api/v1/services": "/api/v1/services",
            "/api/v1/services/orders": "/api/v1/services/{service}",
            "/api/v1/services/orders/instances": "/api/v1/services/{service}/instances",
            "/api/v1/services/orders/instances/o-1": "/api/v1/services/{service}/instances/{instance}",
            "/api/v1/services/orders/history": "/api/v1/services/{service}/history",
            "/api/v1/services/orders/history?at=2026-11-21T10:00:00Z": "/api/v1/services/{service}/history",
            "/api/v1/routes": "/api/v1/routes",
            "/api/v1/routes/r": "/api/v1/routes/{route}",
            "/api/v1/facts?prefix=services/": "/api/v1/facts",
            "/api/v1/watch?start=1&wait=0": "/api/v1/watch",
            "/api/v1/nodes": "/api/v1/nodes",
            "/api/v1/status": "/api/v1/status",
            "/livez": "/livez",
            "/readyz": "/readyz",
        }.items():
            answer = await plane.ask("GET", path)
            assert answer.status_code == 200, answer.text
            described = document["paths"][template]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            schema = {**described, "components": document["components"]}
            jsonschema.validate(answer.json(), schema, cls=jsonschema.Draft202012Validator)
            assert answer.headers["x-atoll-revision"].isdigit()
        refused = await plane.ask("GET", "/api/v1/services/ghost")
        schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        jsonschema.validate(refused.json(), schema, cls=jsonschema.Draft202012Validator)
        assert refused.headers["content-type"] == "application/problem+json"


async def test_conditions_protect_the_later_editor_from_the_earlier_one(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        await plane.register("orders", "o-1", 9001)
        seen = (await plane.ask("GET", "/api/v1/services/orders")).headers["etag"]
        path, body = "/api/v1/services/orders", {"name": "orders", "sticky": True}
        first = await plane.ask("PUT", path, body, headers={"If-Match": seen})
        assert first.status_code == 200
        second = await plane.ask("PUT", path, {"name": "orders"}, headers={"If-Match": seen})
        assert second.status_code == 412
        assert second.json()["code"] == "revision-conflict"
        odd = await plane.ask("PUT", path, body, headers={"If-Match": "soon"})
        assert odd.status_code == 422


async def test_facts_are_paged_at_one_revision_while_writes_go_on(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        await asyncio.gather(*(plane.register(f"s{number}", "one", 9100 + number) for number in range(30)))
        at = plane.serving.control.store.revision
        first = (await plane.ask("GET", "/api/v1/facts?prefix=instances/&prefix=services/&limit=7")).json()
        keys = [fact["key"] for fact in first["facts"]]
        page, turn = first, 0
        while page["more"]:
            turn += 1
            await plane.register("churn", f"c-{turn}", 9500 + turn)
            after = page["facts"][-1]["key"]
            query = f"prefix=instances/&prefix=services/&limit=7&after={after}&revision={at}"
            page = (await plane.ask("GET", f"/api/v1/facts?{query}")).json()
            assert page["revision"] == at
            keys += [fact["key"] for fact in page["facts"]]
        wanted = sorted(f"instances/s{number}/one" for number in range(30)) + sorted(
            f"services/s{number}" for number in range(30)
        )
        assert keys == wanted


async def test_the_sdk_registers_renews_reports_drains_and_deregisters(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        sdk, said = plane.sdk, Registration(port=9001)
        held = await sdk.register(ORDERS, ONE, said)
        held = await sdk.renew(held, said)
        server = ServerReport(service=ORDERS, instance=ONE, up=False, cause="L4TOUT")
        await sdk.report(NodeReport(node=NodeName("n1"), servers=(server,)))
        assert [one.id for one in (await sdk.instances(ORDERS, state=State.FAILING)).instances] == ["o-1"]
        await sdk.set_state(ORDERS, ONE, State.MAINT, cause="disk")
        assert (await sdk.instances(ORDERS)).instances[0].cause == "disk"
        with pytest.raises(LeaseConflict):
            await sdk.deregister(ORDERS, ONE, lease="other")
        await sdk.deregister(ORDERS, ONE, lease=held.lease)
        with pytest.raises(NotFound) as caught:
            await sdk.deregister(ORDERS, ONE)
        assert caught.value.hint
        assert [record.verb.value for record in (await sdk.history(ORDERS)).records] == [
            "registered",
            "failing",
            "maint",
            "deregistered",
        ]
        assert (await sdk.nodes()).nodes[0].report.servers[0].cause == "L4TOUT"


async def test_a_project_is_planned_and_applied_over_the_wire(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        run = Run(command=("python", "app.py"), root="/srv")
        project = Project(
            name="shop",
            services=(Service(name=ORDERS, run=run),),
            routes=(Route(name=RouteName("r"), shares=(Share(service=ORDERS),)),),
        )
        plan = await plane.sdk.plan(project)
        assert [step.key for step in plan.steps] == ["services/orders", "routes/r"]
        applied = await plane.sdk.apply(project)
        assert applied.revision == 1
        assert len(applied.steps) == 2
        assert (await plane.sdk.plan(project)).steps == ()
        assert (await plane.sdk.apply(project)).revision == 1
        scaled = await plane.sdk.scale(ORDERS, 4)
        assert scaled.service.run is not None
        assert scaled.service.run.replicas == 4
        assert (await plane.sdk.plan(project)).steps == ()
        for call in (plane.sdk.stop, plane.sdk.start, plane.sdk.restart):
            await call(ORDERS)
        await plane.sdk.delete_route(RouteName("r"))
        assert [step.key for step in (await plane.sdk.plan(project)).steps] == ["routes/r"]
        twice = Project(name="shop", services=(Service(name=ORDERS), Service(name=ORDERS)))
        answer = await plane.ask("POST", "/api/v1/project/plan", msgspec.to_builtins(twice))
        assert answer.status_code == 422


async def test_a_backup_is_one_consistent_file(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        await plane.register("orders", "o-1", 9001)
        answer = await plane.ask("GET", "/api/v1/backup")
        assert answer.status_code == 200
        target = tmp_path / "copy.db"
        target.write_bytes(answer.content)
        connection = sqlite3.connect(target)
        try:
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        finally:
            connection.close()
        await until(lambda: not plane.serving.control.backing_up)
        assert not list(plane.serving.control.settings.run.glob("backup-*"))
        assert (await plane.ask("GET", "/api/v1/backup")).status_code == 200


async def follow(plane: Plane, sdk: Client, until: int) -> Snapshot:
    snapshot = Snapshot()
    async for batch in sdk.watch():
        assert batch.revision >= snapshot.revision
        snapshot = batch.apply(snapshot)
        if snapshot.revision >= until:
            break
    return snapshot


async def test_a_watcher_sees_what_the_registry_sees(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        await plane.register("before", "one", 9000)
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(follow(plane, plane.sdk, until=41))
            for number in range(40):
                await plane.register(f"s{number % 5}", f"i-{number}", 9100 + number)
        snapshot = watcher.result()
        facts = plane.serving.control.registry.facts.snapshot
        assert snapshot.instances == facts.instances
        assert snapshot.services == facts.services


async def test_a_watcher_survives_a_restart_of_the_control_plane_and_resumes(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with plane_at(settings) as plane:
        await plane.register("orders", "o-1", 9001)
        token = plane.token
    async with Client(token=token, socket=settings.socket) as sdk:
        watch, seen = sdk.watch(), []
        arrived = asyncio.Event()

        async def listen() -> None:
            async for batch in watch:
                seen.append(batch)
                arrived.set()

        async with asyncio.TaskGroup() as group:
            listener = group.create_task(listen())
            async with plane_at(settings):
                await asyncio.wait_for(arrived.wait(), 20)
                await until(lambda: watch.connected)
            await until(lambda: not watch.connected)
            arrived.clear()
            async with plane_at(settings) as plane:
                await plane.register("orders", "o-2", 9002)
                await asyncio.wait_for(arrived.wait(), 20)
                assert [batch.reset for batch in seen] == [True, False], "resumed by revision, not listed anew"
                assert watch.resets == 0
                listener.cancel()


async def test_the_event_stream_resumes_after_the_last_event_id(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        for number in range(3):
            await plane.register("orders", f"o-{number}", 9000 + number)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "2"}
        async with plane.http.stream("GET", "/api/v1/watch?prefix=instances/", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            text = ""
            async for piece in answer.aiter_text():
                text += piece
                if "event: progress" in text:
                    break
        changes = [frame for frame in text.split("\n\n") if "event: change" in frame]
        assert len(changes) == 1
        assert "id: 3\n" in changes[0]
        assert "instances/orders/o-2" in changes[0]
        assert "history/" not in changes[0]


async def test_a_long_poll_answers_at_the_first_change_and_otherwise_after_its_wait(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        quiet = (await plane.ask("GET", "/api/v1/watch?prefix=routes/&wait=0.2")).json()
        assert quiet == {"revision": 0, "events": []}
        poll = asyncio.create_task(plane.ask("GET", "/api/v1/watch?prefix=instances/&start=1&wait=20"))
        await asyncio.sleep(0.05)
        await plane.register("orders", "o-1", 9001)
        answer = (await asyncio.wait_for(poll, 20)).json()
        assert answer["revision"] == 1
        assert [event["key"] for event in answer["events"]] == ["instances/orders/o-1"]
        missed = (await plane.ask("GET", "/api/v1/watch?prefix=instances/&start=1&wait=20")).json()
        assert missed == answer


async def test_a_compacted_start_is_refused_and_the_sdk_lists_anew(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        for number in range(5):
            await plane.register("orders", f"o-{number}", 9000 + number)
        await plane.serving.control.store.compact(Revision(4))
        answer = await plane.ask("GET", "/api/v1/watch?start=2&wait=1")
        assert answer.status_code == 410
        assert answer.json()["code"] == "compacted"
        with pytest.raises(Compacted):
            async with plane.sdk.changes(["instances/"], 2):
                pass
        assert len((await follow(plane, plane.sdk, until=5)).instances) == 5


async def test_more_watchers_than_allowed_are_refused(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path, ATOLL_API_WATCHERS="2")) as plane:
        polls = [asyncio.create_task(plane.ask("GET", "/api/v1/watch?wait=20")) for _ in range(2)]
        await until(lambda: plane.serving.control.counts.watchers == 2)
        refused = await plane.ask("GET", "/api/v1/watch?wait=1")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        for poll in polls:
            poll.cancel()
        await until(lambda: not plane.serving.control.counts.watchers)  # a client that left is noticed
        assert (await plane.ask("GET", "/api/v1/watch?wait=0")).status_code == 200


async def test_a_reader_that_stops_reading_is_cut_and_others_are_not_slowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.server.watch.SEND_SECONDS", 0.3)
    async with plane_at(settings_in(tmp_path)) as plane:
        for number in range(40):
            await plane.register(
                "orders", "o-1", 9001, metadata={f"k{n}": "x" * 1000 for n in range(60)}, weight=number
            )
        counts = plane.serving.control.counts
        _, writer = await asyncio.open_connection("127.0.0.1", plane.serving.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        head = f"GET /api/v1/watch?start=1 HTTP/1.1\r\nHost: localhost\r\nX-Atoll-Token: {plane.token}\r\n"
        writer.write(f"{head}Accept: text/event-stream\r\n\r\n".encode())
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not counts.watchers_cut:
            await asyncio.sleep(0.02)
            await plane.register("orders", "o-2", 9002, metadata={f"k{n}": os.urandom(400).hex() for n in range(60)})
        await until(lambda: not counts.watchers)
        writer.transport.abort()
        assert len((await follow(plane, plane.sdk, until=2)).instances) == 2


async def test_status_tells_refusals_watchers_lag_and_quarantined_records(tmp_path: Path) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        await plane.register("orders", "o-1", 9001)
        await plane.ask("GET", "/api/v1/services/ghost")
        async with Client(token="x" * 43, socket=plane.serving.socket) as stranger:
            with pytest.raises(Unauthorized):
                await stranger.status()
        status = await plane.sdk.status()
        assert status.refusals == {"not-found": 1, "unauthorized": 1}
        assert status.instances == {"passing": 1}
        assert status.health == "ok"
        assert status.pid == os.getpid()
        assert status.watchers == 0


async def test_stopping_ends_watches_at_once(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    async with plane_at(settings) as plane:
        token, port = plane.token, plane.serving.port
        polls = [asyncio.create_task(plane.ask("GET", "/api/v1/watch?wait=50")) for _ in range(3)]
        await until(lambda: plane.serving.control.counts.watchers == 3)
        plane.serving.control.stop()
        answers = await asyncio.wait_for(asyncio.gather(*polls), 20)
        assert [answer.json()["events"] for answer in answers] == [[]] * 3
        assert (await plane.ask("GET", "/readyz")).status_code == 503
    async with Client(token=token, url=f"http://127.0.0.1:{port}", timeout=2) as sdk:
        with pytest.raises(Unreachable):
            await sdk.status()


async def test_a_failed_disk_is_answered_with_503_and_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        control, ended = plane.serving.control, asyncio.Event()
        control.on_failure = ended.set

        async def fails(*_: object, **__: object) -> None:
            raise StorageFailed("fdatasync: EIO")

        monkeypatch.setattr(control.store, "commit", fails)
        answer = await plane.ask("PUT", "/api/v1/services/s/instances/i", {"port": 9001})
        assert answer.status_code == 503
        assert answer.json()["code"] == "storage-failed"
        await asyncio.wait_for(ended.wait(), 20)
        monkeypatch.undo()


async def test_without_room_on_disk_renewals_and_reads_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with plane_at(settings_in(tmp_path)) as plane:
        held = await plane.register("orders", "o-1", 9001)

        async def full(*_: object, **__: object) -> None:
            raise StorageFull("no space left on device")

        monkeypatch.setattr(plane.serving.control.store, "commit", full)
        refused = await plane.ask("PUT", "/api/v1/services/orders/instances/o-2", {"port": 9002})
        assert refused.status_code == 507
        assert refused.headers["retry-after"] == "1"
        again = await plane.register("orders", "o-1", 9001, lease=held["lease"])
        assert again["lease"] == held["lease"]
        assert (await plane.sdk.service(ORDERS)).instances
        monkeypatch.undo()
        await plane.register("orders", "o-2", 9002)


def test_every_endpoint_is_declared_once() -> None:
    declared = [(one.method, one.path) for one in ENDPOINTS]
    assert len(declared) == len(set(declared))
