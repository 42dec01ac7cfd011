from __future__ import annotations

import json
from pathlib import Path

import pytest

from atoll.cli.commands.env import MASK, Variable, environ_of
from atoll.model.names import ServiceName
from atoll.model.service import Run, Service
from tests.unit.cli.fake_api import Cli, FakeApi

HOSTILE = "two\nlines \x1b[31mred"


@pytest.fixture
def orders(shop: FakeApi, folder: Path) -> dict[str, str]:
    """What the project file says of its environment."""
    said = {
        "DB_PASSWORD": "s3cret",
        "DATABASE_URL": "postgres://me:s3cret@db/orders",
        "PAGE_SIZE": "50",
        "GREETING": "it's $HOME",
        "BANNER": HOSTILE,
    }
    shop.put(Service(name=ServiceName("orders"), origin="shop", run=Run(command=("serve",), environment=said)))
    (folder / ".atoll/telemetry.json").write_text('{"http_port": 14318, "grpc_port": 14317}')
    return said


def test_every_variable_says_where_it_comes_from_and_why(cli: Cli, orders: dict[str, str]) -> None:
    found = {one["name"]: one for one in cli("env", "orders", "--json").json["variables"]}
    assert found["PAGE_SIZE"]["origin"] == "project"
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"]["value"] == "http://127.0.0.1:14318"
    assert found["OTEL_SERVICE_NAME"]["reason"] == "the service's name in traces"
    assert found["ATOLL_SERVICE"]["origin"] == "atoll"
    assert "way to another service" in found["CATALOG_URL"]["reason"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--export",), ("--all", "--export")])
def test_secrets_and_tokens_are_masked_everywhere(
    cli: Cli, orders: dict[str, str], folder: Path, options: tuple[str, ...]
) -> None:
    token = "t" * 43
    (folder / ".atoll/ingest-token").write_text(token)
    (folder / ".atoll/ingest-token").chmod(0o600)
    said = cli("env", "orders", *options)
    assert said.code == 0, said.err
    assert "s3cret" not in said.out + said.err
    assert token not in said.out + said.err
    assert "50" in said.out


def test_exported_lines_are_safe_for_a_shell(cli: Cli, orders: dict[str, str]) -> None:
    lines = cli("env", "orders", "--export").out.splitlines()
    assert "export GREETING='it'\"'\"'s $HOME'" in lines
    assert "# DB_PASSWORD is masked" in lines
    assert "# BANNER has more than one line, or characters that a terminal obeys" in lines
    assert all(line.startswith(("export ", "# ")) for line in lines)


def test_hostile_text_does_not_reach_the_terminal(cli: Cli, orders: dict[str, str]) -> None:
    assert "\x1b" not in cli("env", "orders").out
    assert "\x1b" not in cli("env", "orders", "--json").out


def test_looking_makes_nothing(cli: Cli, orders: dict[str, str], folder: Path) -> None:
    assert cli("env", "orders").code == 0
    assert {entry.name for entry in (folder / ".atoll").iterdir()} == {"run", "token", "telemetry.json", "mesh.json"}


def test_without_an_instance_it_is_what_one_would_be_given(cli: Cli, orders: dict[str, str]) -> None:
    told = cli("env", "orders", "--json").json
    assert told["instance"] is None or told["instance"].startswith("orders-")
    assert any("would be given" in note for note in told["notes"])


def test_where_telemetry_never_ran_nothing_is_injected_and_that_is_said(
    cli: Cli, orders: dict[str, str], folder: Path
) -> None:
    (folder / ".atoll/telemetry.json").unlink()
    told = cli("env", "orders", "--json").json
    assert not any(one["name"].startswith("OTEL_") and one["origin"] == "atoll" for one in told["variables"])
    assert any("does not run here" in note for note in told["notes"])


def test_a_service_that_is_not_run_here_has_no_environment(cli: Cli, shop: FakeApi) -> None:
    shop.put(Service(name=ServiceName("legacy")))
    said = cli("env", "legacy", "--json")
    assert said.code == 1
    assert "does not run legacy" in json.loads(said.err)["detail"]


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("API_KEY", "abc", MASK),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=x", MASK),
        ("SESSION_COOKIE", "abc", MASK),
        ("EMPTY_TOKEN", "", ""),
        ("BROKER", "amqp://u:p%40@h:1//v", f"amqp://u:{MASK}@h:1//v"),
        ("REDIS_URL", "redis://:pw@h/0", f"redis://:{MASK}@h/0"),
        ("PAGES", "http://h:80/a@b", "http://h:80/a@b"),
        ("DB_PWD", "abc", MASK),
        ("PWD", "/srv", "/srv"),
    ],
)
def test_what_is_masked(name: str, value: str, shown: str) -> None:
    assert Variable(name, value, "project", "").shown == shown


def test_the_environment_of_a_process_that_cannot_be_seen_is_unknown() -> None:
    assert environ_of(2**22 + 1) is None
