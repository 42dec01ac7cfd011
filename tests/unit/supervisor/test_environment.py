from __future__ import annotations

from pathlib import Path

from atoll.model.names import InstanceId, ServiceName, Token
from atoll.model.service import Protocol, Run, Service
from atoll.settings import Api, Gateway, Settings
from atoll.supervisor.environment import api_url, environment_of, peers

SETTINGS = Settings(state=Path("/s"), gateway=Gateway(mesh_ports=15100, mesh_count=8))


def service(name: str, index: int = 0, protocol: Protocol = Protocol.HTTP, **run: object) -> Service:
    return Service(
        name=ServiceName(name),
        mesh_index=index,
        protocol=protocol,
        run=Run(command=("x",), **run),  # type: ignore[arg-type]
    )


def given(one: Service, inherited: dict[str, str] | None = None, port: int | None = 9000) -> dict[str, str]:
    return environment_of(one, InstanceId(f"{one.name}-1"), port, {one.name: one}, inherited or {}, SETTINGS)


def test_an_instance_learns_its_port_its_names_and_where_the_platform_is() -> None:
    environment = given(service("orders", version=Token("v2")))
    assert environment == {
        "PORT": "9000",
        "ATOLL_URL": "http://127.0.0.1:7070",
        "ATOLL_SERVICE": "orders",
        "ATOLL_INSTANCE": "orders-1",
        "SERVICE_VERSION": "v2",
        "PYTHONUNBUFFERED": "1",
        "ORDERS_URL": "http://127.0.0.1:15100",
        "ORDERS_HOST": "127.0.0.1",
        "ORDERS_PORT": "15100",
    }


def test_others_are_found_by_name_on_their_stable_ports() -> None:
    services = [
        service("order-book", 1),
        service("payments", 2, Protocol.GRPC),
        service("cache", 3, Protocol.TCP),
        service("worker", 4, port=None),
        service("late", 99),
        service("late-tcp", 100, Protocol.TCP),
    ]
    assert peers({one.name: one for one in services}, SETTINGS) == {
        "ORDER_BOOK_URL": "http://127.0.0.1:15101",
        "ORDER_BOOK_HOST": "127.0.0.1",
        "ORDER_BOOK_PORT": "15101",
        "PAYMENTS_URL": "http://127.0.0.1:15102",
        "PAYMENTS_HOST": "127.0.0.1",
        "PAYMENTS_PORT": "15102",
        "CACHE_URL": "tcp://127.0.0.1:15103",
        "CACHE_HOST": "127.0.0.1",
        "CACHE_PORT": "15103",
        "LATE_URL": "http://127.0.0.1:15001/svc/late",
    }


def test_what_the_user_wrote_is_never_overwritten() -> None:
    said = {"PORT": "1", "ATOLL_URL": "x", "ORDERS_URL": "http://staging", "PYTHONUNBUFFERED": ""}
    environment = given(service("orders", environment=said))
    assert {name: environment[name] for name in said} == said


def test_the_nodes_environment_is_inherited_without_its_own_words_and_token() -> None:
    inherited = {
        "PATH": "/bin",
        "PORT": "3000",
        "ORDERS_URL": "http://elsewhere",
        "ATOLL_TOKEN": "secret",
        "ATOLL_REGISTRY_SWEEP": "2",
        "ATOLL_INSTANCE": "outer-1",
    }
    environment = given(service("orders"), inherited)
    assert environment["PATH"] == "/bin"
    assert environment["PORT"] == "9000"
    assert environment["ORDERS_URL"] == "http://elsewhere"
    assert environment["ATOLL_INSTANCE"] == "orders-1"
    assert "secret" not in environment.values()
    assert "ATOLL_REGISTRY_SWEEP" not in environment


def test_what_no_process_can_be_given_is_left_out() -> None:
    environment = given(
        service("orders", environment={"A=B": "1", "": "2", "C": "x\0y", "D": "line\nend;$(x)"}), port=None
    )
    assert not {"A=B", "", "C", "PORT"} & environment.keys()
    assert environment["D"] == "line\nend;$(x)"


def test_the_api_is_reached_on_loopback_when_it_listens_everywhere() -> None:
    for host, url in (("0.0.0.0", "http://127.0.0.1:7"), ("::1", "http://[::1]:7"), ("10.0.0.1", "http://10.0.0.1:7")):
        assert api_url(Settings(state=Path("/s"), api=Api(host=host, port=7))) == url
