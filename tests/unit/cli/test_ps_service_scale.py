from __future__ import annotations

import msgspec
import pytest

from atoll.model.names import InstanceId, NodeName, ServiceName
from atoll.model.report import NodeReport, ServerReport
from atoll.model.service import Run, Service
from atoll.testing import FakeClock
from tests.unit.cli.fake_api import Cli, FakeApi


def test_ps_lists_every_instance_with_what_registry_and_node_know(cli: Cli, shop: FakeApi) -> None:
    cli.clock = FakeClock()
    result = cli("ps")
    assert result.code == 0
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0] == ["SERVICE", "INSTANCE", "STATE", "ENDPOINT", "PID", "CPU", "MEMORY", "RESTARTS", "AGE", "CAUSE"]
    assert lines[1][:4] == ["catalog", "catalog-1", "passing", "127.0.0.1:9002"]
    assert lines[2][:3] == ["catalog", "catalog-2", "failing"]
    assert result.out.splitlines()[2].endswith("L4CON: Connection refused")
    assert lines[3] == ["orders", "orders-1", "passing", "127.0.0.1:9001", "501", "12.3%", "48M", "2", "1m"]
    assert result.err == ""


def test_ps_as_json_has_every_row_and_no_lease(cli: Cli, shop: FakeApi) -> None:
    rows = cli("ps", "--json").json
    assert [row["instance"] for row in rows] == ["catalog-1", "catalog-2", "orders-1"]
    assert rows[2]["process"]["pid"] == 501
    assert "lease" not in str(rows)


def test_ps_names_services_without_instances_and_says_why(cli: Cli, api: FakeApi) -> None:
    api.put(
        Service(name=ServiceName("lonely")),
        Service(name=ServiceName("resting"), run=Run(command=("x",), stopped=True)),
    )
    lines = cli("ps").out.splitlines()
    assert lines[1].split(maxsplit=2) == ["lonely", "absent", "no instance is registered"]
    assert lines[2].split(maxsplit=2) == ["resting", "stopped", "by `atoll stop`"]


def test_ps_and_service_show_say_until_when_an_instance_is_ejected(cli: Cli, shop: FakeApi) -> None:
    cli.clock = FakeClock()
    out = ServerReport(
        service=ServiceName("orders"), instance=InstanceId("orders-1"), up=True, share=0, ejections=3,
        ejected_until=cli.clock.wall() + 4,
    )  # fmt: skip
    shop.report(NodeReport(node=NodeName("local"), servers=(out,)))
    for words in (("ps", "orders"), ("service", "show", "orders")):
        line = next(line for line in cli(*words).out.splitlines() if "orders-1" in line)
        assert "ejected until" in line
        assert line.endswith("(in 4 s), time 3 in a row")
    shop.report(
        NodeReport(node=NodeName("local"), servers=(msgspec.structs.replace(out, share=25, ejected_until=0.0),))
    )
    assert "back from ejection 3, with 25 % of its weight" in cli("ps", "orders").out
    assert cli("service", "show", "orders", "--json").json["instances"][0]["gateway"]["share"] == 25


def test_ps_of_one_service_shows_that_one(cli: Cli, shop: FakeApi) -> None:
    assert [row["service"] for row in cli("ps", "orders", "--json").json] == ["orders"]


def test_ps_of_an_unknown_service_suggests_the_one_that_was_meant(cli: Cli, shop: FakeApi) -> None:
    result = cli("ps", "ordres")
    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "error: unknown service `ordres`; did you mean `orders`?\n  hint: services are: catalog, orders\n"
    )


def test_scale_writes_each_number_and_says_what_changed(cli: Cli, shop: FakeApi) -> None:
    for name in ("orders", "catalog"):
        shop.answers["POST", f"/api/v1/services/{name}/scale"] = (200, {"revision": 8})
    result = cli("scale", "orders=4", "catalog=1")
    assert result.code == 0
    assert [(request.path, request.body) for request in shop.sent("POST")] == [
        ("/api/v1/services/orders/scale", {"replicas": 4}),
        ("/api/v1/services/catalog/scale", {"replicas": 1}),
    ]
    assert result.out == ""
    assert result.err == "orders: 1 → 4\ncatalog: 2 → 1\n"


def test_a_write_prints_its_revision_and_nothing_that_the_answer_holds(cli: Cli, shop: FakeApi) -> None:
    held = {"revision": 8, "service": {"run": {"environment": {"DB_PASSWORD": "s3cret"}}}, "lease": "lease-x"}
    for path in ("services/orders/scale", "services/orders/stop"):
        shop.answers["POST", f"/api/v1/{path}"] = (200, held)
    shop.answers["PUT", "/api/v1/services/orders/instances/orders-1/state"] = (200, held)
    assert cli("scale", "orders=2", "--json").json == {"orders": {"revision": 8}}
    assert cli("stop", "orders", "--json").json == {"orders": {"revision": 8}}
    assert cli("service", "drain", "orders", "orders-1", "--json").json == {"revision": 8}


@pytest.mark.parametrize("target", ["orders", "orders=", "orders=-1", "orders=many", "orders=٣", "orders=99999999"])
def test_scale_refuses_what_is_no_number(cli: Cli, shop: FakeApi, target: str) -> None:
    result = cli("scale", target)
    assert result.code == 2
    assert "is not SERVICE=N" in result.err
    assert shop.requests == []


def test_scale_refuses_all_when_one_service_is_unknown(cli: Cli, shop: FakeApi) -> None:
    result = cli("scale", "orders=4", "nobody=2")
    assert result.code == 1
    assert "unknown service `nobody`" in result.err
    assert shop.sent("POST") == []


@pytest.mark.parametrize(
    ("line", "path", "body", "said"),
    [
        (("start", "orders"), "start", None, "orders: starts"),
        (("stop", "orders"), "stop", None, "orders: stops"),
        (("restart", "orders"), "restart", {"rolling": False}, "orders: restarts"),
        (("restart", "--rolling", "orders"), "restart", {"rolling": True}, "orders: restarts one by one"),
    ],
)
def test_an_operators_word_is_posted(
    cli: Cli, shop: FakeApi, line: tuple[str, ...], path: str, body: object, said: str
) -> None:
    shop.answers["POST", f"/api/v1/services/orders/{path}"] = (200, {"revision": 8})
    result = cli(*line)
    assert (result.code, result.out, result.err) == (0, "", said + "\n")
    assert shop.sent("POST")[0].body == body


def test_service_ls_counts_states(cli: Cli, shop: FakeApi) -> None:
    lines = [line.split() for line in cli("service", "ls").out.splitlines()]
    assert lines[1] == ["catalog", "http", "1", "2", "1", "failing", "tcp", "shop"]
    assert lines[2] == ["orders", "http", "1", "1", "tcp", "shop"]
    assert cli("service", "ls", "--json").json[0]["instances"] == {"passing": 1, "failing": 1}


def test_service_show_never_shows_values_of_the_environment_nor_leases(cli: Cli, shop: FakeApi) -> None:
    plain, data = cli("service", "show", "orders"), cli("service", "show", "orders", "--json")
    assert plain.code == data.code == 0
    assert "DB_PASSWORD" in plain.out
    assert "api" in plain.out
    assert data.json["run"]["environment"] == {"DB_PASSWORD": "***"}
    assert data.json["instances"][0]["process"]["pid"] == 501
    for text in (plain.out, data.out):
        assert "s3cret" not in text
        assert "lease-nobody" not in text


def test_service_register_sends_the_whole_registration(cli: Cli, api: FakeApi) -> None:
    api.answers["PUT", "/api/v1/services/orders/instances/orders-9000"] = (
        201,
        {
            "instance": {"service": "orders", "id": "orders-9000", "host": "127.0.0.1", "port": 9000},
            "lease": "L",
            "ttl": 3600,
            "renew_after": 1200,
            "revision": 8,
        },
    )
    result = cli("service", "register", "orders", "127.0.0.1:9000", "--version", "v2", "--meta", "team=blue")
    assert result.code == 0, result.err
    assert result.err == "orders-9000 registered at 127.0.0.1:9000; lasts 1h unless renewed\n"
    assert api.requests[0].body == {
        "host": "127.0.0.1",
        "port": 9000,
        "version": "v2",
        "metadata": {"team": "blue"},
        "ttl": 3600.0,
    }


@pytest.mark.parametrize(
    ("line", "body", "said"),
    [
        (("drain", "orders", "orders-1", "--cause", "disk"), {"state": "draining", "cause": "disk"}, "drains"),
        (("undrain", "orders", "orders-1"), {"state": "passing", "cause": ""}, "takes requests again"),
    ],
)
def test_the_state_of_an_instance_is_put(
    cli: Cli, shop: FakeApi, line: tuple[str, ...], body: dict[str, str], said: str
) -> None:
    shop.answers["PUT", "/api/v1/services/orders/instances/orders-1/state"] = (200, {"revision": 8})
    result = cli("service", *line)
    assert (result.code, result.err) == (0, f"orders-1 {said}\n")
    assert {"cause": "", **shop.sent("PUT")[0].body} == body


def test_deregister_of_an_unknown_instance_names_the_ones_there_are(cli: Cli, shop: FakeApi) -> None:
    result = cli("service", "deregister", "catalog", "catalog-9")
    assert result.code == 1
    assert "hint: instances of catalog are: catalog-1, catalog-2" in result.err


def test_history_at_a_time_asks_who_could_receive_traffic(cli: Cli, api: FakeApi) -> None:
    cli.clock = FakeClock(wall=1_795_000_000.0)
    record = {
        "at": 1_794_999_000.0,
        "verb": "registered",
        "service": "orders",
        "instance": "orders-1",
        "endpoint": "127.0.0.1:9001",
        "state": "passing",
    }
    api.answers["GET", "/api/v1/services/orders/history"] = (
        200,
        {"service": "orders", "at": 1.0, "receivers": [record]},
    )
    result = cli("service", "history", "orders", "--at", "10m")
    assert api.requests[0].query == [("at", "1794999400.0")]
    assert "orders-1" in result.out
    api.answers["GET", "/api/v1/services/orders/history"] = (200, {"service": "orders", "records": [record]})
    assert cli("service", "history", "orders", "--since", "1h", "--json").json["records"][0]["instance"] == "orders-1"
