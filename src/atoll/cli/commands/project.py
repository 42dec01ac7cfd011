"""`atoll check`, `plan` and `apply`: the project file, the difference to what runs, and its removal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from atoll.cli.facts import V1, plain
from atoll.cli.invocation import Invocation
from atoll.cli.options import command
from atoll.cli.project_file import Loaded, load_usable
from atoll.model.project import Plan, Verb
from atoll.project.render import render_plan

WOULD_CHANGE = 2
"""Exit code of `plan` when something would change."""

_PROFILE = click.option(
    "--profile", "profiles", multiple=True, metavar="NAME", help="Switch a profile on; may be repeated."
)


@command("check", reads=True)
@_PROFILE
@click.option("--schema", is_flag=True, help="Print the JSON Schema of atoll.yaml, for editors, and check nothing.")
def check(invocation: Invocation, profiles: tuple[str, ...], *, schema: bool) -> None:
    """Check the project file and everything it refers to.

    All problems are told at once, each with its place in the file.
    """
    if schema:
        from atoll.project.schema import json_schema

        invocation.show.json(json_schema())
        return
    loaded = load_usable(invocation, profiles)
    project = loaded.project
    services, routes = (sorted(item.name for item in items) for items in (project.services, project.routes))
    if invocation.json:
        warnings = [warning.problem() for warning in loaded.warnings]
        invocation.show.json(
            {
                "file": loaded.file,
                "project": project.name,
                "services": services,
                "routes": routes,
                "external": list(loaded.external),
                "warnings": warnings,
            }
        )
    invocation.talk.note(f"{Path(loaded.file).name} is fine: {_count(services, 'service')}, {_count(routes, 'route')}")


def _count(things: list[Any], noun: str) -> str:
    return f"{len(things)} {noun}" + ("" if len(things) == 1 else "s")


@command("plan", reads=True)
@_PROFILE
def plan(invocation: Invocation, profiles: tuple[str, ...]) -> int:
    """Show what `apply` would change; exit 2 if anything."""
    found = _plan(invocation, _load(invocation, profiles))
    _print(invocation, found)
    return WOULD_CHANGE if found.steps else 0


@command("apply")
@_PROFILE
@click.option("-y", "--yes", is_flag=True, help="Do not ask before something is deleted.")
def apply(invocation: Invocation, profiles: tuple[str, ...], *, yes: bool) -> None:
    """Bring the running platform to what the project file says.

    Only what differs is touched. What was scaled or stopped by hand stays so.
    """
    loaded = _load(invocation, profiles)
    found = _plan(invocation, loaded)
    gone = [step.key for step in found.steps if step.verb is Verb.DELETE]
    if gone:
        invocation.confirm(f"delete {', '.join(gone)}", yes=yes)
    if found.steps:
        found = invocation.api.post_as(f"{V1}/project/apply", loaded.project, Plan)
    _print(invocation, found)
    if found.steps:
        invocation.talk.note(f"applied at revision {found.revision}")


def _load(invocation: Invocation, profiles: tuple[str, ...]) -> Loaded:
    """The project; its programs are looked for only when the platform is on this machine."""
    return load_usable(invocation, profiles, machine=invocation.place.socket is not None)


def _plan(invocation: Invocation, loaded: Loaded) -> Plan:
    return invocation.api.post_as(f"{V1}/project/plan", loaded.project, Plan)


def _print(invocation: Invocation, found: Plan) -> None:
    if invocation.json:
        invocation.show.json(_masked(found))
    else:
        invocation.show.text(render_plan(found))


def _masked(found: Plan) -> Any:
    """The plan for scripts; values of environment variables may be credentials and stay away from logs."""
    document = plain(found)
    for step in document["steps"]:
        for field in step["fields"]:
            if "environment" in field["path"].split("."):
                field["before"], field["after"] = (
                    None if field[side] is None else "***" for side in ("before", "after")
                )
    return document
