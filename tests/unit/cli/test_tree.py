"""Promises about every command: lazily imported, documented, `--json` where it reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

from atoll.cli.main import COMMANDS, atoll
from atoll.cli.options import AtollCommand
from atoll.cli.reference import reference
from tests.unit.cli.drill_stage import keep_reports
from tests.unit.cli.fake_api import Cli, FakeApi
from tests.unit.cli.traces_stage import order

DOCS = Path(__file__).parents[3] / "docs/cli.md"
HEAVY = ("starlette", "uvicorn", "uvloop", "pydantic", "rich", "httpx2", "apsw", "psutil", "msgspec", "asyncio", "ssl")

READS = {
    "ps": ("ps",),
    "logs": ("logs",),
    "wait": ("wait", "orders"),
    "service ls": ("service", "ls"),
    "service show": ("service", "show", "orders"),
    "service history": ("service", "history", "orders"),
    "traces": ("traces",),
    "why": ("why", "4bf92f3577b34da6a3ce929d0e0e4736"),
    "map": ("map",),
    "red": ("red",),
    "query": ("query", "up"),
    "env": ("env", "orders"),
    "explain": ("explain", "orders"),
    "breakers": ("breakers",),
    "breakers history": ("breakers", "history", "orders"),
    "maint": ("maint",),
    "fault list": ("fault", "list"),
    "routes": ("routes",),
    "routes test": ("routes", "test", "GET", "/api"),
    "health": ("health",),
    "doctor": ("doctor",),
    "check": ("check",),
    "plan": ("plan",),
    "version": ("version",),
    "drill list": ("drill", "list"),
    "drill show": ("drill", "show"),
    "chaos list": ("chaos", "list"),
    "chaos show": ("chaos", "show"),
}
"""Every command that only looks, and how it is called here."""
WRITES = {
    *("up", "down", "run", "start", "stop", "restart", "scale", "apply", "backup", "restore", "server", "call"),
    *("completion", "telemetry"),
    *(f"service {verb}" for verb in ("register", "deregister", "drain", "undrain", "maint")),
    *(f"breakers {verb}" for verb in ("open", "close", "reset")),
    *(f"drill {verb}" for verb in ("kill", "pause", "slow", "errors", "partition")),
    "chaos run",
    *(f"drill {verb}" for verb in ("kill", "pause", "slow")),
    "failover",
    "maint on",
    "maint off",
    *(f"fault {verb}" for verb in ("add", "clear")),
}
"""Every other command. A new command must be put into one of the two."""


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group, **atoll.context_settings)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        full = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield full, command
            yield from leaves(command, full)
        else:
            yield full, command


def test_every_command_is_known_to_read_or_to_write() -> None:
    found = dict(leaves(atoll))
    assert set(found) == set(READS) | WRITES
    for name, command in found.items():
        if isinstance(command, AtollCommand):
            assert command.reads == (name in READS), name


@pytest.mark.parametrize("name", READS)
def test_every_command_that_reads_answers_in_json(cli: Cli, shop: FakeApi, folder: Path, name: str) -> None:
    (folder / "atoll.yaml").write_text("name: shop\nservices:\n  orders: sleep 60\n")
    (folder / ".atoll/logs/orders").mkdir(parents=True)
    (folder / ".atoll/logs/orders/orders-1.log").write_text("1795000000.123 |hello\n")
    shop.answers.update(
        {
            ("GET", "/readyz"): (200, {"status": "ok"}),
            ("GET", "/api/v1/faults"): (200, {"revision": 7, "faults": []}),
            ("GET", "/prometheus/api/v1/query"): (200, {"data": {"resultType": "vector", "result": []}}),
            ("GET", "/api/v1/traces"): (200, {"traces": []}),
            ("GET", f"/api/v1/traces/{order().id}"): (200, msgspec.to_builtins(order())),
            ("GET", "/api/v1/logs"): (200, {"records": []}),
            ("GET", "/api/v1/map"): (200, {"since": "", "until": ""}),
            ("GET", "/api/v1/maintenance"): (200, {"revision": 7, "words": []}),
            ("GET", "/api/v1/red"): (200, {"since": "", "until": "", "step": 60}),
            ("GET", "/api/v1/services/orders/history"): (200, {"service": "orders", "records": []}),
            ("POST", "/api/v1/project/plan"): (200, {"revision": 7, "steps": []}),
        }
    )
    keep_reports(folder / ".atoll")
    result = cli(*READS[name], "--json")
    assert result.json is not None
    assert result.code in ({0, 1} if name == "doctor" else {0}), result.err


def test_the_overview_says_what_the_commands_say_themselves() -> None:
    context = click.Context(atoll, **atoll.context_settings)
    for name, entry in COMMANDS.items():
        command = atoll.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200).rstrip(".") == entry.help.rstrip("."), name


@pytest.mark.parametrize(
    "name", [(), *((name,) for name in COMMANDS), ("service", "ls"), ("routes", "test")], ids=" ".join
)
def test_every_command_has_help(cli: Cli, name: tuple[str, ...]) -> None:
    for spelling in ("--help", "-h"):
        result = cli(*name, spelling)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"Usage: {' '.join(('atoll', *name))}")


def test_global_options_are_accepted_before_and_after_the_command(cli: Cli, shop: FakeApi) -> None:
    lines = (("--json", "ps"), ("ps", "--json"), ("service", "--json", "ls"), ("service", "ls", "--json", "-q", "-v"))
    for line in lines:
        assert cli(*line).json


def test_a_command_keeps_letters_of_its_own(cli: Cli, folder: Path) -> None:
    assert "--follow" in cli("logs", "--help").out
    (folder / "shop.yaml").write_text("services:\n  orders: sleep 60\n")
    for line in (("-f", "shop.yaml", "check"), ("check", "-f", "shop.yaml"), ("check", "--file=shop.yaml")):
        assert cli(*line).code == 0
    assert cli("check", "-f", "other.yaml").code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from atoll.cli.main import run; run(['--help']); print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stderr.split())
    assert not [name for name in HEAVY if name in modules]
    assert not [name for name in modules if name.startswith("atoll.cli.commands.")]


def test_the_reference_in_docs_is_current() -> None:
    assert DOCS.read_text() == reference(), "run: python -m atoll.cli.reference > docs/cli.md"
