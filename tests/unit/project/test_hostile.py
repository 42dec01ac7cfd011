"""No text whatever makes the loader raise anything but ProjectInvalid, and no hostile word gets through it."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atoll.errors import ProjectInvalid
from atoll.kit.text import scrub
from atoll.model.checked import checked_route, checked_service
from atoll.model.project import Project
from atoll.model.snapshot import Snapshot
from atoll.project.finding import findings_of
from atoll.project.load import Loaded, parse_project
from atoll.project.plan import make_plan
from atoll.project.render import render_plan
from atoll.project.valid import check_project

HOSTILE = set("\n\r\t\0 \"'`;#$%\\{}[]<>|^\x1b")
FILES = ["atoll.yaml", "compose.yaml", "Procfile"]


def plain(text: str) -> bool:
    """Nothing in it but line breaks steers a terminal."""
    return all(scrub(line, limit=len(text)) == line for line in text.split("\n"))


def load(text: str, file: str, dotenv: str = "") -> Loaded | None:
    def read(path: Path) -> str:
        if path.name == ".env":
            return dotenv
        raise FileNotFoundError(path)

    try:
        return parse_project(text, file, Path("/srv/demo"), {"A": "x"}, read=read)
    except ProjectInvalid as error:
        findings = findings_of(error)
        assert findings
        for finding in findings:
            shown = finding.render()
            assert plain(shown), shown
        msgspec.json.encode(error.problem())
        return None


def check(loaded: Loaded | None) -> None:
    """Whatever comes through is plain, can be stored, and would be taken by the API as well."""
    if loaded is None:
        return
    project = msgspec.json.decode(msgspec.json.encode(loaded.project), type=Project)
    assert project == loaded.project
    check_project(project, {})
    assert tuple(map(checked_service, project.services)) == project.services
    assert tuple(map(checked_route, project.routes)) == project.routes
    words = [project.name, *(service.name for service in project.services)]
    for service in project.services:
        words += [service.check.path, service.check.grpc_service, service.balance.hash_on]
        words += [] if service.run is None else [service.run.version or "", service.run.stop_signal]
    for route in project.routes:
        match = route.match
        words += [route.name, match.path, *match.hosts, *match.methods, *match.headers, *match.headers.values()]
        words += [route.rewrite or "", *(share.service + (share.version or "") for share in route.shares)]
    assert not HOSTILE & set("".join(words))
    text = render_plan(make_plan(Snapshot(), project))
    assert plain(text)
    assert all(plain(warning.render(kind="warning")) for warning in loaded.warnings)


@given(st.sampled_from(FILES), st.text(max_size=200), st.text(max_size=50))
@example("atoll.yaml", "a: !!timestamp 1", "")
@example("atoll.yaml", "a: !!int x", "")
@example("atoll.yaml", "&a : *a", "")
@example("atoll.yaml", "%TAG ! x\n---\na", "")
@example("atoll.yaml", '"\\x', "")
@example("atoll.yaml", "a: |9\n x", "")
@example("Procfile", "web: \u2028\n\x85: a", "")
def test_no_text_breaks_the_loader(file: str, text: str, dotenv: str) -> None:
    check(load(text, file, dotenv))


@given(st.sampled_from(FILES), st.text(alphabet="ab:-?{}[],&*!|>'\"%@`#\n \t<$~.01", max_size=60))
def test_no_yaml_like_text_breaks_the_loader(file: str, text: str) -> None:
    check(load(text, file))


KEYS = [
    "name", "profiles", "services", "gateway", "routes", "listeners", "command", "entrypoint", "image", "build", "ports", "expose",
    "environment", "env_file", "port", "protocol", "replicas", "version", "depends_on", "condition", "healthcheck", "test", "http",
    "grpc", "interval", "restart", "balance", "hash", "match", "path", "path_prefix", "host", "hosts", "headers", "methods",
    "service", "backends", "weight", "rewrite", "timeout", "deploy", "x-atoll", "external", "a", "b", "<<", "tls", "target",
]  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from([*KEYS, "$PORT", "${A}", "5s", "8000:1"])
)  # fmt: skip
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)
shaped = st.fixed_dictionaries(
    {
        "services": st.dictionaries(
            st.sampled_from(["a", "b", "web"]) | st.text(max_size=3), trees, min_size=1, max_size=3
        )
    },
    optional={
        "gateway": trees | st.fixed_dictionaries({"routes": st.lists(trees, max_size=3)}),
        "x-atoll": trees,
        "name": scalars,
    },
)


@given(st.sampled_from(FILES[:2]), shaped)
def test_no_tree_breaks_the_loader(file: str, tree: object) -> None:
    check(load(json.dumps(tree), file))


@pytest.mark.parametrize(
    "hostile", ["a\nb", 'a"b', "a'b", "a;b", "%[x]", "${x}", "a b", "a#b", "a\0b", "\x1b[31m", "a\\b", "`a`"]
)
@pytest.mark.parametrize(
    "place",
    [
        "name: @\nservices: {a: ./a}",
        "services: {@: ./a}",
        "services: {a: {command: ./a, version: @}}",
        "services: {a: {command: ./a, healthcheck: {http: @}}}",
        "services: {a: {command: ./a, healthcheck: {grpc: @}}}",
        "services: {a: {command: ./a, balance: {hash: @}}}",
        "services: {a: {command: ./a, stop_signal: @}}",
        "services: {a: {command: ./a, environment: {@: x}}}",
        "services: {a: ./a}\ngateway: {routes: [{name: @, service: a}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: @}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {path: @}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {path_prefix: @}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {host: @}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {methods: [@]}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {headers: {@: x}}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, match: {headers: {x: @}}}]}",
        "services: {a: ./a}\ngateway: {routes: [{service: a, rewrite: {path_prefix: @}}]}",
        "services: {a: ./a}\ngateway: {routes: [{backends: [{service: a, version: @}]}]}",
        "services: {a: ./a}\ngateway: {listeners: [{port: 1, host: @}]}",
    ],
)  # fmt: skip
def test_a_hostile_word_is_refused_wherever_a_word_stands(place: str, hostile: str) -> None:
    assert load(place.replace("@", json.dumps(hostile.replace("$", "$$"))), "atoll.yaml") is None


def test_a_variable_brings_no_hostile_word_in() -> None:
    assert load("services: {a: {command: ./a, version: $V}}", "atoll.yaml", 'V="a\\nb"') is None
