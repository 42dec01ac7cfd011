from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.names import InstanceId, ServiceName, Token
from atoll.model.service import Check, CheckKind, Otel, Protocol, Run, Service
from atoll.supervisor.appfolder import has_node_hook
from atoll.supervisor.instrument import Injected, Sending, instrument

SENDING = Sending(endpoint="http://127.0.0.1:4318", token="t0ken/=", python="/cache/python")


def service(*command: str, otel: Otel | None = None, protocol: Protocol = Protocol.HTTP, **check: object) -> Service:
    return Service(
        name=ServiceName("orders"),
        origin="shop",
        protocol=protocol,
        check=Check(**check),  # type: ignore[arg-type]
        run=Run(command=command or ("python", "app.py"), version=Token("v2"), otel=otel or Otel()),
    )


def given(
    environment: dict[str, str] | None = None,
    one: Service | None = None,
    sending: Sending | None = SENDING,
    *,
    node_hook: bool = False,
) -> Injected:
    return instrument(one or service(), InstanceId("orders-1"), environment or {}, sending, node_hook=node_hook)


def resource(injected: Injected) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in injected.variables["OTEL_RESOURCE_ATTRIBUTES"].split(","))


def test_a_service_learns_where_to_send_to_and_who_it_is() -> None:
    found = given().variables
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
    assert found["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert found["OTEL_EXPORTER_OTLP_HEADERS"] == "Authorization=Bearer%20t0ken%2F%3D"
    assert found["OTEL_SERVICE_NAME"] == "orders"
    assert found["OTEL_PROPAGATORS"] == "tracecontext,baggage"
    assert found["OTEL_SEMCONV_STABILITY_OPT_IN"] == "http,database"
    assert {found[f"OTEL_{signal}_EXPORTER"] for signal in ("TRACES", "METRICS", "LOGS")} == {"otlp"}
    assert resource(given()) == {
        "service.instance.id": "orders-1",
        "service.namespace": "shop",
        "service.version": "v2",
        "deployment.environment.name": "dev",
    }
    assert found["PYTHONPATH"] == "/cache/python"
    assert found["ATOLL_OTEL"] == "on"


def test_every_variable_comes_with_a_reason() -> None:
    for found in (given(), given(node_hook=True, sending=Sending("http://h:1", java_agent="/a b.jar"))):
        assert set(found.reasons) == set(found.variables)
        assert all(found.reasons.values())


def test_what_the_user_set_is_never_overwritten() -> None:
    said = {"OTEL_SERVICE_NAME": "mine", "OTEL_PROPAGATORS": "b3", "OTEL_BSP_SCHEDULE_DELAY": "9", "ATOLL_OTEL": "off"}
    assert not set(said) & set(given(said).variables)


def test_the_users_resource_stays_and_wins_and_gets_what_it_lacks() -> None:
    said = {"OTEL_RESOURCE_ATTRIBUTES": "team=a%2Cb,service.namespace=mine"}
    text = given(said).variables["OTEL_RESOURCE_ATTRIBUTES"]
    assert text.startswith("team=a%2Cb,service.namespace=mine,service.instance.id=orders-1,")
    assert text.count("service.namespace") == 1
    everything = "service.instance.id=a,service.namespace=b,service.version=c,deployment.environment.name=d"
    assert "OTEL_RESOURCE_ATTRIBUTES" not in given({"OTEL_RESOURCE_ATTRIBUTES": everything}).variables


def test_hostile_text_stays_one_value() -> None:
    one = service()
    hostile = Sending("http://h:1", environment='a,b=c\n"%[\0', token="x,y=z\n")
    found = instrument(one, InstanceId("orders-1"), {"SERVICE_VERSION": "1,evil=2"}, hostile)
    assert resource(found)["service.version"] == "1%2Cevil%3D2"
    assert resource(found)["deployment.environment.name"] == "a%2Cb%3Dc%0A%22%25%5B%00"
    assert found.variables["OTEL_EXPORTER_OTLP_HEADERS"] == "Authorization=Bearer%20x%2Cy%3Dz%0A"


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (("opentelemetry-instrument", "python", "app.py"), {}),
        ((".venv/bin/opentelemetry-instrument", "gunicorn", "app"), {}),
        (("uv", "run", "logfire", "run", "app.py"), {}),
        (("python", "app.py"), {"FASTAPI_OTEL_AUTO_CONFIGURE": "true"}),
        (("python", "app.py"), {"LOGFIRE_TOKEN": "x"}),
        (("python", "app.py"), {"OTEL_TRACES_EXPORTER": "console"}),
    ],
)
def test_an_app_that_brings_its_own_gets_only_where_to_send_to_and_who_it_is(
    command: tuple[str, ...], environment: dict[str, str]
) -> None:
    found = given(environment, service(*command))
    assert set(found.variables) == {
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
    }
    assert "instruments itself" in found.notes[0]


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_the_token_goes_to_nobody_elses_endpoint(name: str) -> None:
    found = given({name: "https://vendor.example"})
    assert set(found.variables) == {"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"}
    assert SENDING.token not in str(found)


@pytest.mark.parametrize(
    "found",
    [
        given(sending=None),
        given(one=service(otel=Otel(enabled=False))),
        given({"OTEL_SDK_DISABLED": "true"}),
    ],
)
def test_switched_off_nothing_is_added_and_a_note_says_why(found: Injected) -> None:
    assert not found.variables
    assert found.notes


def test_fastapis_own_export_is_never_switched_on_beside_the_bundle() -> None:
    assert "FASTAPI_OTEL_AUTO_CONFIGURE" not in given().variables


def test_the_users_pythonpath_stays_behind_ours() -> None:
    assert given({"PYTHONPATH": "/app:/lib"}).variables["PYTHONPATH"] == "/cache/python:/app:/lib"


def test_without_a_bundle_other_languages_still_learn_where_to_send_to() -> None:
    found = given(sending=Sending("http://h:1", python_missing="not installed: wrapt"))
    assert "PYTHONPATH" not in found.variables
    assert found.variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://h:1"
    assert any("wrapt" in note for note in found.notes)


def test_the_platforms_own_checks_are_no_news() -> None:
    asked = service(kind=CheckKind.HTTP, path="/readyz")
    assert given(one=asked).variables["ATOLL_OTEL_QUIET"] == "/readyz"
    assert "ATOLL_OTEL_QUIET" not in given(one=service(kind=CheckKind.TCP)).variables
    found = given(one=service(protocol=Protocol.GRPC)).variables
    assert found["OTEL_PYTHON_GRPC_EXCLUDED_SERVICES"] == "grpc.health.v1.Health"


def test_the_project_file_can_leave_libraries_alone() -> None:
    found = given(one=service(otel=Otel(disabled=("sqlite3", "urllib")))).variables
    assert found["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] == "sqlite3,urllib"


def test_node_options_are_kept_and_the_hook_is_added_once() -> None:
    assert "NODE_OPTIONS" not in given().variables
    hook = "--require @opentelemetry/auto-instrumentations-node/register"
    assert given(node_hook=True).variables["NODE_OPTIONS"] == hook
    assert given({"NODE_OPTIONS": "--inspect"}, node_hook=True).variables["NODE_OPTIONS"] == f"--inspect {hook}"
    assert "NODE_OPTIONS" not in given({"NODE_OPTIONS": hook}, node_hook=True).variables


def test_a_node_app_without_the_package_gets_a_small_hook_of_ours() -> None:
    ours = Sending("http://h:1", python="/p", node="/cache dir/atoll.cjs")
    assert given(sending=ours).variables["NODE_OPTIONS"] == '--require "/cache dir/atoll.cjs"'
    theirs = {"NODE_OPTIONS": "--max-old-space-size=100"}
    assert given(theirs, sending=ours).variables["NODE_OPTIONS"].startswith("--max-old-space-size=100 --require ")
    assert "@opentelemetry" in given(sending=ours, node_hook=True).variables["NODE_OPTIONS"]
    for other in ("--require dd-trace/init", "--import @opentelemetry/x"):
        assert "NODE_OPTIONS" not in given({"NODE_OPTIONS": other}, sending=ours).variables


def test_a_java_agent_is_used_when_one_is_configured() -> None:
    agent = Sending("http://h:1", java_agent="/opt/otel.jar")
    assert given(sending=agent).variables["JAVA_TOOL_OPTIONS"] == "-javaagent:/opt/otel.jar"
    both = given({"JAVA_TOOL_OPTIONS": "-Xmx1g"}, sending=agent).variables["JAVA_TOOL_OPTIONS"]
    assert both == "-Xmx1g -javaagent:/opt/otel.jar"
    own = service(otel=Otel(java_agent="/my agents/otel.jar"))
    assert given(one=own, sending=agent).variables["JAVA_TOOL_OPTIONS"] == '"-javaagent:/my agents/otel.jar"'
    theirs = {"JAVA_TOOL_OPTIONS": "-javaagent:/x/opentelemetry-javaagent.jar"}
    assert "JAVA_TOOL_OPTIONS" not in given(theirs, sending=agent).variables


def test_an_app_has_the_node_package_in_its_folder_or_above(tmp_path: Path) -> None:
    (tmp_path / "services/web").mkdir(parents=True)
    assert not has_node_hook(str(tmp_path), "services/web")
    package = tmp_path / "node_modules/@opentelemetry/auto-instrumentations-node/build/src"
    package.mkdir(parents=True)
    assert not has_node_hook(str(tmp_path), "services/web")  # a package without the file would end node at its start
    (package / "register.js").touch()
    assert has_node_hook(str(tmp_path), "services/web")
