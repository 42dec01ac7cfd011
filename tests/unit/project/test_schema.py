"""What is published about atoll.yaml is what the code does: schema, reference page, codes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from atoll.errors import ProjectInvalid
from atoll.project.finding import Code
from atoll.project.load import load_project, parse_project
from atoll.project.node import data
from atoll.project.schema import Part, Service, json_schema
from atoll.project.yaml import read_yaml

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "docs" / "atoll.schema.json"
PAGE = ROOT / "docs" / "atoll-yaml.md"
VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def parts(kind: type[Part] = Part) -> Iterator[type[Part]]:
    for part in kind.__subclasses__():
        yield part
        yield from parts(part)


def sound(text: str) -> bool:
    def read(path: Path) -> str:
        raise FileNotFoundError(path)

    try:
        parse_project(text, "atoll.yaml", Path("/srv/demo"), {}, read=read)
    except ProjectInvalid:
        return False
    return True


def test_the_published_schema_is_current() -> None:
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_every_key_is_described_for_editors_and_documented() -> None:
    page = PAGE.read_text()
    for part in parts():
        for name, field in part.model_fields.items():
            assert field.description, f"{part.__name__}.{name}"
            assert re.search(rf"^\| `{name}` \|", page, re.MULTILINE), f"{part.__name__}.{name} is not in {PAGE.name}"


def test_every_code_is_documented_under_its_own_heading() -> None:
    headings = re.findall(r"^### (AT\d+)$", PAGE.read_text(), re.MULTILINE)
    assert headings == [code.value for code in Code]


def test_every_key_of_later_parts_is_named_in_the_reference() -> None:
    page = PAGE.read_text()
    for part in parts():
        for name in part.later:
            assert name not in part.model_fields
            assert f"`{name}`" in page, f"{part.__name__}.{name}"


def test_the_yaml_of_the_reference_loads() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        text = block if re.search(r"^services:", block, re.MULTILINE) else f"services: {{orders: ./a}}\n{block}"
        assert sound(text), block
        VALIDATOR.validate(data(read_yaml(text, "atoll.yaml").root))


def test_the_demo_shop_fits_the_schema() -> None:
    shop = ROOT / "examples" / "shop" / "atoll.yaml"
    VALIDATOR.validate(data(read_yaml(shop.read_text(), shop.name).root))
    assert load_project(shop, {}, machine=False).project.name == "shop"


VALUES = [
    "1", "0", "-1", "70000", "x", "'5'", "5s", "1m30s", "5 s", "true", "false", "no", "[]", "[a]", "{}", "{a: b}", "{hash: path}",
    "{hash: x}", "auto", "none", "http", "always", "on-failure", "INT", "SIGKILL", "SIGSTOP", "hash", "fastest", "1.5", "{http: /x}",
    "{htp: /x}", "{a: {condition: service_healthy}}", "{a: {condition: ready}}", "[{path: x, required: false}]",
]  # fmt: skip


@pytest.mark.parametrize("key", list(Service.model_fields))
def test_an_editor_and_the_loader_agree_on_the_shape_of_every_service_key(key: str) -> None:
    """The schema refuses nothing that the loader takes."""
    for value in VALUES:
        text = f"services: {{a: {{command: ./a, restart: 'no'}}, o: {{command: ./a, {key}: {value}}}}}"
        if key in {"command", "restart"}:
            text = f"services: {{a: {{command: ./a, restart: 'no'}}, o: {{{key}: {value}, replicas: 1}}}}"
        if sound(text):
            VALIDATOR.validate(data(read_yaml(text, "atoll.yaml").root))
