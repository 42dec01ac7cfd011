"""A project as facts: what `atoll.yaml` (or compose, or a Procfile) comes down to. Applied as a plan, never as a script."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from atoll.model.route import Route
from atoll.model.service import Service


class Project(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wanted services and routes of one project. Facts whose `origin` is this name and that are absent here go."""

    name: str
    services: tuple[Service, ...] = ()
    routes: tuple[Route, ...] = ()


class Verb(StrEnum):
    """What a plan does to one fact."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"


class FieldChange(msgspec.Struct, frozen=True):
    """One value that differs: a dotted path into the fact, the value now and the value wanted (None: absent)."""

    path: str
    before: Any = None
    after: Any = None


class Step(msgspec.Struct, frozen=True):
    """One fact that the plan creates, changes or deletes."""

    verb: Verb
    key: str
    fields: tuple[FieldChange, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """The difference between the facts at `revision` and a project; empty when nothing would change."""

    revision: int
    steps: tuple[Step, ...] = ()
