from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.kit.files import private_folder
from atoll.model.address import Endpoint
from atoll.model.names import InstanceId, NodeName, PathText, RouteName, ServiceName
from atoll.model.report import ChildReport, GatewayReport, NodeReport, Phase
from atoll.model.route import Match, Route, Share
from atoll.model.service import Instance, Run, Service, State
from tests.unit.cli.fake_api import TOKEN, Cli, FakeApi


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path (a unix socket's is limited), with the state folder of a platform."""
    path = Path(tempfile.mkdtemp(prefix="atoll-"))
    state = path / ".atoll"
    private_folder(state / "run")
    token = state / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def api(folder: Path) -> Iterator[FakeApi]:
    """A running control plane without facts."""
    with FakeApi(folder / ".atoll/run/api.sock").running() as fake:
        yield fake


@pytest.fixture
def cli(folder: Path) -> Cli:
    return Cli(folder)


@pytest.fixture
def shop(api: FakeApi) -> FakeApi:
    """Two services, three instances, one route, one node."""
    orders, catalog = ServiceName("orders"), ServiceName("catalog")
    api.put(
        Service(name=orders, origin="shop", run=Run(command=("serve",), environment={"DB_PASSWORD": "s3cret"})),
        Service(name=catalog, origin="shop", mesh_index=1, run=Run(command=("serve",), replicas=2)),
        instance("orders", "orders-1", 9001),
        instance("catalog", "catalog-1", 9002),
        instance("catalog", "catalog-2", 9003, state=State.FAILING, cause="L4CON: Connection refused"),
        Route(
            name=RouteName("api"), match=Match(path=PathText("/api")), shares=(Share(service=orders),), origin="shop"
        ),
    )
    api.report(
        NodeReport(
            node=NodeName("local"),
            pid=4242,
            version="0.1.0",
            children=(
                ChildReport(
                    service=orders,
                    instance=InstanceId("orders-1"),
                    phase=Phase.RUNNING,
                    pid=501,
                    port=9001,
                    started=1_794_999_900.0,
                    restarts=2,
                    cpu=12.34,
                    memory=48 << 20,
                ),
            ),
            gateway=GatewayReport(
                pid=77, version="2.8.25", address="127.0.0.1:8080", mesh="127.0.0.1:15001", revision=7
            ),
        )
    )
    return api


def instance(service: str, identity: str, port: int, *, state: State = State.PASSING, cause: str = "") -> Instance:
    where = Endpoint("127.0.0.1", port)
    return Instance(
        service=ServiceName(service),
        id=InstanceId(identity),
        host=where.host,
        port=where.port,
        state=state,
        cause=cause,
        lease="lease-nobody-shall-see",
        registered=1_794_999_000.0,
        since=1_794_999_000.0,
    )
