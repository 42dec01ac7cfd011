from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.fake_api import Cli, FakeApi

GOOD = "name: shop\nservices:\n  orders: sleep 60\n"
BAD = "name: shop\nservices:\n  orders:\n    command: sleep 60\n    depends_on: [paymnts]\n    replcas: 2\n  payments: sleep 60\n"
STEPS = [
    {"verb": "create", "key": "services/new", "fields": [{"path": "run.environment.DB_PASSWORD", "after": "s3cret"}]},
    {"verb": "change", "key": "services/orders", "fields": [{"path": "run.replicas", "before": 1, "after": 2}]},
]
DELETE = {"verb": "delete", "key": "services/old", "fields": []}


@pytest.fixture
def project(folder: Path) -> Path:
    file = folder / "atoll.yaml"
    file.write_text(GOOD)
    return file


def planned(api: FakeApi, *steps: object) -> None:
    api.answers["POST", "/api/v1/project/plan"] = (200, {"revision": 7, "steps": steps})
    api.answers["POST", "/api/v1/project/apply"] = (200, {"revision": 8, "steps": steps})


def test_check_is_quiet_on_stdout_and_says_what_there_is(cli: Cli, project: Path) -> None:
    result = cli("check")
    assert (result.code, result.out) == (0, "")
    assert result.err == "atoll.yaml is fine: 1 service, 1 route\n"
    assert cli("check", "--json").json["services"] == ["orders"]


def test_check_works_from_a_folder_below(cli: Cli, project: Path) -> None:
    below = project.parent / "a/b"
    below.mkdir(parents=True)
    cli.folder = below
    assert cli("check").code == 0


def test_check_tells_every_problem_at_once_with_place_and_caret(cli: Cli, project: Path) -> None:
    project.write_text(BAD)
    result = cli("check")
    assert (result.code, result.out) == (2, "")
    assert "unknown service `paymnts`" in result.err
    assert "did you mean `payments`?" in result.err
    assert "replcas" in result.err
    assert "atoll.yaml:5:" in result.err
    assert "^^^^" in result.err
    assert result.err.splitlines()[-1].startswith("2 problems in ")
    problem = json.loads(cli("check", "--json").err)
    assert problem["code"] == "project-invalid"
    assert len(problem["errors"]) == 2


def test_check_without_a_file_says_what_is_looked_for(cli: Cli) -> None:
    result = cli("check")
    assert result.code == 2
    assert "no project file" in result.err


def test_plan_prints_the_difference_and_exits_2(cli: Cli, api: FakeApi, project: Path) -> None:
    planned(api, *STEPS)
    result = cli("plan")
    assert (result.code, result.err) == (2, "")
    assert "+ service new" in result.out
    assert "~ replicas: 1 → 2" in result.out
    assert api.sent("POST")[0].body["name"] == "shop"
    planned(api)
    assert cli("plan")[:2] == (0, "nothing to change\n")


def test_no_plan_shows_the_value_of_a_password(cli: Cli, api: FakeApi, project: Path) -> None:
    planned(api, *STEPS)
    for line in (("plan",), ("plan", "--json"), ("apply",), ("apply", "--json")):
        assert "s3cret" not in cli(*line).out


def test_apply_carries_out_what_the_plan_says(cli: Cli, api: FakeApi, project: Path) -> None:
    planned(api, *STEPS)
    result = cli("apply")
    assert result.code == 0
    assert result.err == "applied at revision 8\n"
    assert [request.path for request in api.sent("POST")] == ["/api/v1/project/plan", "/api/v1/project/apply"]


def test_apply_of_nothing_writes_nothing(cli: Cli, api: FakeApi, project: Path) -> None:
    planned(api)
    assert cli("apply")[:2] == (0, "nothing to change\n")
    assert [request.path for request in api.sent("POST")] == ["/api/v1/project/plan"]


def test_apply_that_deletes_needs_a_yes(cli: Cli, api: FakeApi, project: Path) -> None:
    planned(api, DELETE)
    result = cli("apply")
    assert result.code == 2
    assert result.err == "error: delete services/old: nobody is there to ask\n  hint: say --yes to go on\n"
    assert [request.path for request in api.sent("POST")] == ["/api/v1/project/plan"]
    assert cli("apply", "--yes").code == 0


def test_a_project_the_platform_refuses_is_told_like_one_refused_here(cli: Cli, api: FakeApi, project: Path) -> None:
    error = {"code": "AT102", "message": "unknown service `x`", "path": ["services", "orders"]}
    api.answers["POST", "/api/v1/project/plan"] = (
        422,
        {"code": "project-invalid", "detail": "1 problem in shop", "status": 422, "errors": [error]},
    )
    result = cli("plan")
    assert result.code == 2
    assert result.err.startswith("error: unknown service `x`\n")
    api.answers["POST", "/api/v1/project/plan"] = (
        422,
        {"code": "project-invalid", "detail": "1 problem", "status": 422, "errors": [{"nonsense": 1}]},
    )
    assert cli("plan").code == 2


def test_up_refuses_a_broken_project_and_an_unknown_service_before_anything_starts(cli: Cli, project: Path) -> None:
    result = cli("up", "ordres")
    assert result.code == 2
    assert "did you mean `orders`?" in result.err
    assert cli("up", "--wait").code == 2
    project.write_text(BAD)
    assert cli("up", "-d").code == 2
    assert not (project.parent / ".atoll/run/node.json").exists()


def test_check_prints_the_schema_for_editors_without_a_project(cli: Cli) -> None:
    assert cli("check", "--schema").json["title"] == "atoll.yaml"
