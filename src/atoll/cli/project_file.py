"""The project file that the user means, read and checked; its warnings told."""

from __future__ import annotations

from pathlib import Path

from atoll.cli.facts import unknown_service
from atoll.cli.invocation import Invocation
from atoll.errors import InvalidValue
from atoll.model.names import ServiceName
from atoll.project.load import Loaded, load_project
from atoll.project.source import NAMES

__all__ = ["Loaded", "load_usable"]


def load_usable(
    invocation: Invocation,
    profiles: tuple[str, ...] = (),
    services: tuple[ServiceName, ...] = (),
    *,
    machine: bool = True,
) -> Loaded:
    """The project of `-f`, else of the nearest folder upward that has a project file.

    `services` must be in it. With `machine` its programs must be on this machine.

    Raises:
        ProjectInvalid: with every finding.
        InvalidValue: a service is not in it.
    """
    loaded = load_project(_source(invocation), invocation.environ, profiles or None, machine=machine)
    for warning in loaded.warnings:
        invocation.talk.rendered(warning.render(kind="warning"))
    known = sorted(service.name for service in loaded.project.services)
    for name in services:
        if name not in known:
            refused = unknown_service(name, known)
            raise InvalidValue(refused.detail, hint=refused.hint)
    return loaded


def _source(invocation: Invocation) -> Path:
    if invocation.given_file is not None:
        return invocation.given_file
    base = invocation.base.absolute()
    for folder in (base, *base.parents):
        if any((folder / name).is_file() for name in NAMES):
            return folder
    return base
