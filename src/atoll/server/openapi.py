"""The OpenAPI 3.1 document, generated from the endpoint table and the structs. Nothing is written down twice."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from atoll import __version__
from atoll.errors import (
    AtollError,
    BadRequest,
    Conflict,
    Forbidden,
    Overloaded,
    RequestTimeout,
    TooLarge,
    Unauthorized,
)
from atoll.model.answers import Problem
from atoll.model.names import PATTERNS
from atoll.server.control import Control
from atoll.server.endpoint import Endpoint
from atoll.server.exchange import REVISION_HEADER

REF = "#/components/schemas/{name}"
PARAMETER = re.compile(r"{(\w+)}")
JSON = "application/json"
PROBLEM = "application/problem+json"
BODY_ERRORS = (BadRequest, TooLarge, RequestTimeout)


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The description of `endpoints`."""
    kinds = list(dict.fromkeys(kind for one in endpoints for kind in (*_structs(one.body), *_structs(one.answer))))
    schemas, components = msgspec.json.schema_components([*kinds, Problem], ref_template=REF)
    found = dict(zip([*kinds, Problem], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, found)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "atoll control API",
            "version": __version__,
            "description": "Registry, services, routes, watches. Errors are problem+json with a stable `code`.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Endpoint, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^(?:{PATTERNS[name]})$"},
        }
        for name in PARAMETER.findall(one.path)
    ]
    for query in one.query:
        schema: dict[str, Any] = {"type": query.kind}
        if query.repeated:
            schema = {"type": "array", "items": schema}
        parameters.append({"name": query.name, "in": "query", "description": query.summary, "schema": schema})
    if one.conditional:
        said = "Only if the fact was last changed at this revision; otherwise 412."
        parameters.append({"name": "If-Match", "in": "header", "description": said, "schema": {"type": "string"}})
    operation: dict[str, Any] = {
        "operationId": f"{one.handler.__module__.rsplit('.', 1)[-1]}_{one.handler.__name__}",
        "summary": one.summary,
        "parameters": parameters,
        "responses": _responses(one, schemas),
    }
    if one.open:
        operation["security"] = []
    if one.body is not None:
        content = {JSON: {"schema": schemas[one.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(one: Endpoint, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    answers = [schemas[kind] for kind in _structs(one.answer)]
    if not answers:
        content: dict[str, Any] = {one.media: {}}
    else:
        content = {JSON: {"schema": answers[0] if len(answers) == 1 else {"anyOf": answers}}}
    headers = {REVISION_HEADER: {"description": "The store's revision.", "schema": {"type": "integer"}}}
    responses: dict[str, Any] = {
        str(status): {"description": one.summary, "headers": headers, "content": content}
        for status in (one.status, *one.also)
    }
    by_status: dict[int, list[type[AtollError]]] = {}
    for error in errors_of(one):
        by_status.setdefault(error.status, []).append(error)
    for status, errors in sorted(by_status.items()):
        codes = ", ".join(f"`{error.code}`" for error in errors)
        responses[str(status)] = {"description": codes, "content": {PROBLEM: {"schema": schemas[Problem]}}}
    return responses


def errors_of(one: Endpoint) -> tuple[type[AtollError], ...]:
    """Every refusal an endpoint can answer with, those that all have in common included."""
    common: tuple[type[AtollError], ...] = (Forbidden, Overloaded)
    if not one.open:
        common += (Unauthorized,)
    if one.body is not None:
        common += BODY_ERRORS
    if one.conditional:
        common += (Conflict,)
    return tuple(dict.fromkeys((*one.errors, *common)))


def _structs(kind: Any) -> tuple[type, ...]:
    if kind is None:
        return ()
    return get_args(kind) or (kind,)


def describe(endpoints: Sequence[Endpoint]) -> Endpoint:
    """The endpoint that serves the document about `endpoints` and itself."""
    made: list[bytes] = []

    async def openapi(_: Control, __: Request) -> Response:
        """This document."""
        if not made:
            made.append(msgspec.json.encode(document((*endpoints, itself))))
        return Response(made[0], media_type=JSON)

    itself = Endpoint(method="GET", path="/api/v1/openapi.json", summary="This document.", handler=openapi)
    return itself
