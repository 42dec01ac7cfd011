"""A typed root to the project's facts: short forms written out, commands split, environments gathered, defaults given.

Decides nothing about validity of words and references; that is `valid`. Files of variables come through `read`, so that
everything here is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File

from atoll.model.policy import Policy
from atoll.model.project import Project
from atoll.model.route import Route
from atoll.model.service import Service
from atoll.project.finding import Finding, Path


@dataclass
class Facts:
    """What a document comes down to. Findings carry paths of the file, with a route's name in place of its index."""

    name: str
    defaults: Policy = field(default_factory=Policy)
    """What the file says for all routes."""
    services: dict[str, Service] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    """Route name → its index in the file."""
    scraped: dict[str, int] = field(default_factory=dict)
    """Service → index of its item in the file's list of what is scraped."""
    vague: set[str] = field(default_factory=set)
    """Routes of which something was taken out, so that two of them may look alike."""
    off: set[str] = field(default_factory=set)
    """Services whose profiles are not on."""
    findings: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    def project(self) -> Project:
        """The project, for `plan` and `apply`."""
        return Project(name=self.name, services=tuple(self.services.values()), routes=tuple(self.routes))


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a file is read in."""

    folder: File
    """Absolute folder of the project."""
    values: Mapping[str, str]
    """Variables that are known now: `.env`, and above it the environment of atoll."""
    profiles: tuple[str, ...]
    """Those that are on."""
    read: Callable[[File], str]
    """Reads a file of variables; raises OSError or ValueError."""
    complete: Callable[[Path], bool] = lambda _: True
    """Whether the part at a path is as the user wrote it (nothing at fault was taken out)."""
