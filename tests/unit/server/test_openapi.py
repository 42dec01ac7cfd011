from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from atoll.errors import AtollError
from atoll.sdk.problem import error_of, known_codes
from atoll.server.app import ENDPOINTS
from atoll.server.endpoint import Endpoint
from atoll.server.openapi import document, errors_of

DOCUMENT = document(ENDPOINTS)


def refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [ref for part in value.values() for ref in refs(part)]
    return [ref for part in value for ref in refs(part)] if isinstance(value, list) else []


def test_every_endpoint_is_described() -> None:
    described = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == {(one.method, one.path) for one in ENDPOINTS}
    assert ("GET", "/api/v1/openapi.json") in described


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert refs(DOCUMENT)
    for ref in refs(DOCUMENT):
        assert ref.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("one", ENDPOINTS, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_says_what_it_takes_answers_and_refuses(one: Endpoint) -> None:
    operation = DOCUMENT["paths"][one.path][one.method.lower()]
    named = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", one.path))
    assert all(parameter["required"] for parameter in operation["parameters"] if parameter["in"] == "path")
    assert operation["summary"].endswith(".")
    assert ("requestBody" in operation) == (one.body is not None)
    assert operation.get("security", DOCUMENT["security"]) == ([] if one.open else [{"token": []}])
    for status, response in operation["responses"].items():
        assert response["description"]
        assert 200 <= int(status) < 600
    for error in errors_of(one):
        assert f"`{error.code}`" in operation["responses"][str(error.status)]["description"]


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT))["openapi"] == "3.1.0"


@pytest.mark.parametrize("kind", known_codes().values(), ids=known_codes().keys())
def test_every_error_survives_the_way_to_a_client_and_back(kind: type[AtollError]) -> None:
    sent = kind("what happened", hint="what to do", service="orders")
    found = error_of(sent.status, json.dumps(sent.problem()).encode())
    assert type(found) is kind
    assert (found.detail, found.hint, found.fields) == (sent.detail, sent.hint, sent.fields)


def test_every_error_code_belongs_to_one_class() -> None:
    def tree(kind: type[AtollError]) -> list[type[AtollError]]:
        return [kind, *(found for below in kind.__subclasses__() for found in tree(below))]

    codes = [kind.code for kind in tree(AtollError) if kind.__module__ == AtollError.__module__]
    assert len(codes) == len(set(codes))
