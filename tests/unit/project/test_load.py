from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from atoll.errors import ProjectInvalid
from atoll.project.finding import Code, findings_of
from atoll.project.load import Loaded, load_project, parse_project
from atoll.project.source import FILE_LIMIT, NAMES
from atoll.project.yaml import NODE_LIMIT

ONE = "services: {orders: sh -c 'sleep 1'}\n"
ENVIRON = {"PATH": os.defpath}


def refused(path: Path, **options: object) -> list[tuple[Code, str]]:
    with pytest.raises(ProjectInvalid) as refusal:
        load_project(path, ENVIRON, **options)  # type: ignore[arg-type]
    return [(finding.code, finding.message) for finding in findings_of(refusal.value)]


def parsed(text: str, file: str = "atoll.yaml") -> Loaded:
    def read(path: Path) -> str:
        raise FileNotFoundError(path)

    return parse_project(text, file, Path("/srv/demo"), ENVIRON, read=read)


def test_a_folder_means_its_first_known_file(tmp_path: Path) -> None:
    for name in reversed(NAMES):
        (tmp_path / name).write_text("web: sh\n" if name == "Procfile" else f"name: p{NAMES.index(name)}\n{ONE}")
        if not name.startswith("atoll") and name != "Procfile":
            (tmp_path / name).write_text(f"name: p{NAMES.index(name)}\nservices: {{a: {{build: ., command: sh}}}}\n")
        assert load_project(tmp_path, ENVIRON).file == str(tmp_path / name)


def test_a_folder_without_a_project_says_what_to_write(tmp_path: Path) -> None:
    assert refused(tmp_path) == [(Code.NO_FILE, f"no project file in {tmp_path}")]


def test_a_project_without_a_name_is_called_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "My Shop_2"
    folder.mkdir()
    (folder / "atoll.yaml").write_text(ONE)
    assert load_project(folder, ENVIRON).project.name == "my-shop-2"


@pytest.mark.parametrize("name", ["7-up", "___", "é"])
def test_a_folder_whose_name_is_no_label_still_gives_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "atoll.yaml").write_text(ONE)
    assert load_project(tmp_path / name, ENVIRON).project.name.startswith("project")


def test_a_file_that_cannot_be_read_is_said_with_the_reason(tmp_path: Path) -> None:
    missing, binary, large = tmp_path / "atoll.yaml", tmp_path / "b.yaml", tmp_path / "c.yaml"
    binary.write_bytes(b"name: \xff\n")
    large.write_bytes(b"#" * (FILE_LIMIT + 1))
    assert refused(missing)[0] == (Code.UNREADABLE, f"{missing} cannot be read: No such file or directory")
    assert refused(binary)[0][0] == Code.UNREADABLE
    assert refused(large)[0][0] == Code.TOO_LARGE


def test_a_pipe_in_place_of_a_file_does_not_make_us_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "atoll.yaml")
    assert refused(tmp_path) == [(Code.UNREADABLE, f"{tmp_path}/atoll.yaml cannot be read: it is not a file")]


def test_shape_references_and_this_machine_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "atoll.yaml").write_text(
        "services:\n"
        "  a: {command: sh, replcas: 2}\n"
        "  b: {command: sh, depends_on: [c]}\n"
        "  d: {command: no-such-program-here}\n"
        "  e: {command: sh, working_dir: nowhere, env_file: none.env}\n"
    )
    assert [code for code, _ in refused(tmp_path)] == [
        Code.UNKNOWN_KEY,
        Code.UNKNOWN_REFERENCE,
        Code.PROGRAM_MISSING,
        Code.FOLDER_MISSING,
        Code.ENV_FILE,
    ]
    assert Code.PROGRAM_MISSING not in [code for code, _ in refused(tmp_path, machine=False)]


def test_the_error_is_problem_json_with_every_finding_placed(tmp_path: Path) -> None:
    (tmp_path / "atoll.yaml").write_text("services:\n  a: {command: sh, replcas: 2}\n")
    with pytest.raises(ProjectInvalid) as refusal:
        load_project(tmp_path, ENVIRON)
    problem = msgspec.json.decode(msgspec.json.encode(refusal.value.problem()))
    assert (problem["code"], problem["detail"], problem["count"]) == (
        "project-invalid",
        f"1 problem in {tmp_path}/atoll.yaml",
        1,
    )
    [said] = problem["errors"]
    assert (said["code"], said["file"], said["line"], said["column"]) == ("AT101", f"{tmp_path}/atoll.yaml", 2, 20)
    assert (said["suggestion"], said["path"]) == ("replicas", ["services", "a", "replcas"])
    assert findings_of(ProjectInvalid("again", errors=problem["errors"])) == findings_of(refusal.value)


def test_a_file_below_the_current_folder_is_named_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "atoll.yaml").write_text("services: {a: [1]}\n")
    for folder, name in ((tmp_path, "atoll.yaml"), (tmp_path.parent, f"{tmp_path.name}/atoll.yaml")):
        monkeypatch.chdir(folder)
        with pytest.raises(ProjectInvalid) as refusal:
            load_project(tmp_path, ENVIRON)
        assert findings_of(refusal.value)[0].file == name


def test_a_dotenv_beside_the_file_fills_variables_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=file\nPATH=nowhere\n")
    (tmp_path / "atoll.yaml").write_text("services: {a: {command: sh, environment: {X: $A, P: $PATH}}}\n")
    run = load_project(tmp_path, ENVIRON).project.services[0].run
    assert run is not None
    assert run.environment == {"X": "file", "P": os.defpath}


def test_a_compose_program_that_lives_in_an_image_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: redis, command: no-such-program-here}}\n")
    with pytest.raises(ProjectInvalid) as refusal:
        load_project(tmp_path, ENVIRON)
    [finding] = findings_of(refusal.value)
    assert "image redis" in finding.hint
    assert "external: true" in finding.hint


def test_more_problems_than_can_be_told_are_counted() -> None:
    text = "services: {a: ./a}\n" + "".join(f"zz{index}: 1\n" for index in range(300))
    with pytest.raises(ProjectInvalid) as refusal:
        parsed(text)
    assert refusal.value.fields["count"] == 300
    assert len(findings_of(refusal.value)) == 100


def test_a_thousand_services_load_in_seconds() -> None:
    text = "services:\n" + "".join(
        f"  s{index}: {{command: ./run --port $PORT, depends_on: [s{max(0, index - 1)}]}}\n" for index in range(1, 1000)
    )
    routes = "".join(f"  - {{match: {{path_prefix: /p{index}}}, service: s{index}}}\n" for index in range(1, 1000))
    text += "  s0: ./run\ngateway:\n  routes:\n" + routes
    started = time.process_time()
    loaded = parsed(text)
    assert (len(loaded.project.services), len(loaded.project.routes)) == (1000, 999)
    assert time.process_time() - started < 15


@pytest.mark.parametrize(
    "text",
    [
        "[" * 20000,
        "{a: " * 20000,
        "- " * 20000,
        "? " * 20000,
        "a: &a [*a]\n",
        "a: " + "&b " * 5000,
        "!" * 20000,
        "%" * 20000,
        "\0",
    ],
)
def test_a_file_made_to_exhaust_the_reader_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ProjectInvalid):
        parsed(text)
    assert time.process_time() - started < 5


def test_aliases_are_counted_as_often_as_they_are_used() -> None:
    text = "services: {a: ./a}\nx: &x [" + "1," * 999 + "]\ny: [" + "*x," * (NODE_LIMIT // 999) + "]\n"
    with pytest.raises(ProjectInvalid) as refusal:
        parsed(text)
    assert findings_of(refusal.value)[0].code == Code.TOO_LARGE


def test_the_demo_shop_loads_and_its_five_services_have_routes() -> None:
    folder = Path(__file__).parents[3] / "examples" / "shop"
    loaded = load_project(folder, ENVIRON, machine=False)
    assert {service.name for service in loaded.project.services} == {
        "storefront",
        "catalog",
        "orders",
        "payments",
        "recommendations",
    }
    assert {route.shares[0].service for route in loaded.project.routes} == {s.name for s in loaded.project.services}
    assert loaded.warnings == ()


def test_what_is_scraped_may_be_said_in_the_service_or_in_one_list() -> None:
    listed = parsed(ONE + "telemetry: {scrape: [{service: orders, path: /m, interval: 5s}]}\n")
    said = parsed("services: {orders: {command: sh -c 'sleep 1', scrape: {path: /m, interval: 5s}}}\n")
    assert listed.project == said.project
    assert said.project.services[0].scrape is not None


@pytest.mark.parametrize(
    ("service", "item", "place", "code"),
    [
        ("{command: sh}", "{service: order}", "service", Code.UNKNOWN_REFERENCE),
        ("{command: sh, scrape: true}", "{service: orders}", "service", Code.INVALID_VALUE),
        ("{command: sh}", "{service: orders, path: x}", "path", Code.INVALID_VALUE),
        ("{command: sh, port: none}", "{service: orders}", "0", Code.INVALID_VALUE),
    ],
)
def test_what_is_wrong_in_the_list_is_told_at_its_place_in_the_list(
    service: str, item: str, place: str, code: Code
) -> None:
    with pytest.raises(ProjectInvalid) as refusal:
        parsed(f"services: {{orders: {service}}}\ntelemetry:\n  scrape:\n  - {item}\n")
    (finding,) = findings_of(refusal.value)
    assert (finding.code, finding.line, str(finding.path[-1])) == (code, 4, place)


def test_words_for_telemetry_are_read_and_what_is_not_said_is_left_to_the_settings() -> None:
    said = "retention: {traces: 36h, logs: 2d}, sampling: {traces: 0.25, keep_errors: false}"
    found = parsed(f"{ONE}telemetry: {{{said}}}\n").telemetry
    assert (found.traces_days, found.logs_days, found.sampling, found.keep_errors) == (1.5, 2.0, 0.25, False)
    assert (found.kept_days, found.metrics_days) == (None, None)


@pytest.mark.parametrize("age", ["3", "0d", "3w", "-1d", "99999d", "1d2h", "nan", "1e3d"])
def test_an_age_that_is_none_is_refused_at_its_place(age: str) -> None:
    with pytest.raises(ProjectInvalid) as refusal:
        parsed(f"{ONE}telemetry:\n  retention: {{logs: {age}}}\n")
    (finding,) = findings_of(refusal.value)
    assert (finding.line, finding.path) == (3, ("telemetry", "retention", "logs"))
